"""`moonwire serve DIR`: which directories are apps, when they answer and what,
how they fail and come back, and how all of them end."""
import concurrent.futures
import signal
import socket
import subprocess
import time

import pytest

from support.hold import thread_of
from support.lab import (Lab, ask, environment, lines, serve_many,
                         signal_and_wait, write_app)
from support.server import BINARY
from support.wire import FACTOR, HOST, Peer, until

LOOPS = 4

WHO = """
function on_connect(request)
  return { data = { asked = request.path } }
end

function on_message(client, text)
  local c = json.decode(text)
  if c.burn then
    local ends = time.monotonic() + c.burn
    while time.monotonic() < ends do end
  end
  client:send { app = app.name, asked = client.data.asked, path = client.path,
                version = "one", generation = app.generation }
end
"""
BROKEN = "local x = = 1\n"


def who(peer, **command):
    return ask(peer, **command)


def get(server, path):
    """A request of its own."""
    with Peer(server.port) as peer:
        peer.send(("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"
                   % (path, peer.host)).encode())
        return peer.response()


def open_or_status(server, path):
    """-> an open Peer, or the response."""
    peer = Peer(server.port)
    peer.send(peer.request(path))
    response = peer.response()
    if response.status == 101:
        return peer
    peer.close()
    return response


def start(tmp_path, apps, *args):
    """A server that listens; its apps may not have been loaded yet."""
    root = tmp_path / "apps"
    for name, app in apps.items():
        write_app(root / name, **app)
    return Lab(root, "--drain", "0s", "--workers", LOOPS, *args,
               env=environment(), command="serve")


# ---- which directories

def test_what_has_a_name_for_a_path_and_a_main_lua_is_served(tmp_path):
    good = ["a", "Z-9_z", "x" * 64, "_", "-", "0"]
    bad = ["with space", "dot.dot", "ü", "x" * 65, "per%20cent", "a+b"]
    silent = [".hidden"]
    root = tmp_path / "apps"
    for name in [*good, *bad, *silent]:
        write_app(root / name, WHO)
    (root / "no-main").mkdir()
    (root / "main.lua").write_text("-- no app\n")
    (root / "dangling").symlink_to(root / "nowhere")
    (root / "main-is-a-directory" / "main.lua").mkdir(parents=True)
    (root / "main-is-a-link").mkdir()
    (root / "main-is-a-link" / "main.lua").symlink_to(root / "a" / "main.lua")
    with start(tmp_path, {}) as server:
        for name in good:
            until(lambda: get(server, "/%s/" % name).status != 503)
            peer = open_or_status(server, "/%s/" % name)
            assert who(peer)["app"] == name
        told = [r["msg"] for r in lines(server, "is not served")]
        assert len(told) == len(bad) + 2
        for name in [*bad, "main-is-a-directory", "main-is-a-link"]:
            assert any("/%s is not served" % name in text for text in told)
        for name in [*bad, *silent, "no-main", "main.lua", "dangling",
                     "main-is-a-directory", "main-is-a-link", "", "nobody"]:
            if name.isascii() and " " not in name:
                assert get(server, "/%s/" % name).status == 404, name
        assert lines(server, r"· 6 apps, 4 loops, on http://")


def test_a_directory_without_apps_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for directory, why in (("empty", "no directory below it has a main.lua"),
                           ("nowhere", "")):
        done = subprocess.run(
            [BINARY, "serve", str(tmp_path / directory), "--listen",
             HOST + ":0"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert "cannot serve" in done.stderr and why in done.stderr


# ---- paths

def test_an_apps_paths_begin_at_its_own_root(tmp_path):
    app = {"main": WHO, "files": {"public/index.html": "index\n",
                                  "public/sub/index.html": "sub\n",
                                  "public/f.txt": "file\n"}}
    with serve_many(tmp_path, {"a": app, "b": app},
                    ["--workers", LOOPS]) as server:
        for _ in range(4):      # wherever it is accepted
            for path, inner in (("/a/", "/"), ("/a", "/"), ("/a/x/y", "/x/y"),
                                ("/a/?q=1", "/"), ("/a//x", "//x"),
                                ("/b/a/", "/a/")):
                with Peer(server.port).open(path) as peer:
                    told = who(peer)
                    assert (told["asked"], told["path"]) == (inner, inner)
                    assert told["app"] == path[1]
        assert get(server, "/a/").body == b"index\n"
        assert get(server, "/a/f.txt").body == b"file\n"
        assert get(server, "/b/sub/").body == b"sub\n"
        for path, to in (("/a", "./a/"), ("/a?x=1", "./a/?x=1"),
                         ("/b/sub", "./sub/")):
            response = get(server, path)
            assert response.status == 301
            assert response.headers["location"] == to
        for path in ("/", "/c/", "/A/", "/aa/", "/f.txt", "//a/"):
            assert get(server, path).status == 404, path
            assert open_or_status(server, path).status == 404, path


# ---- loading

SLOW = """
local ends = time.monotonic() + %s
while time.monotonic() < ends do end
""" + WHO


def responses(peers, seconds):
    """-> {peer: response} of those who are answered in time."""
    ends = time.monotonic() + seconds
    found = {}
    for peer in peers:
        peer.sock.settimeout(max(0.01, ends - time.monotonic()))
        try:
            found[peer] = peer.response()
        except socket.timeout:
            pass
        peer.sock.settimeout(peer.timeout)
    return found


def test_the_port_is_open_before_the_apps_are_loaded(tmp_path):
    """Two on each loop. Who asks for the second one while the first one loads
    is told so at once, if not by the very loop that loads it."""
    # Within the CPU time that a load may take.
    apps = {name: {"main": SLOW % 0.4} for name in "aecgfb"}
    apps["d"] = apps["h"] = {"main": WHO}   # the fourth loop has time
    with start(tmp_path, apps) as server:
        peers = [Peer(server.port) for _ in range(40)]
        for peer in peers:
            peer.send(peer.request("/e/"))
        early = responses(peers, 0.3)
        assert early
        for peer, response in early.items():
            assert response.status == 503
            assert response.headers["retry-after"] == "1"
            assert b"being loaded" in response.body
            assert peer.finished() == b""
            peer.close()
        late = [peer for peer in peers if peer not in early]
        assert len(responses(late, 20 * FACTOR)) == len(late)

        def is_open():
            other = open_or_status(server, "/e/")
            return isinstance(other, Peer) and other
        with until(is_open) as peer:
            assert who(peer)["app"] == "e"


@pytest.mark.parametrize("what, kind", [
    ({"main": BROKEN}, "error"),
    ({"main": "error('not today')\n"}, "error"),
    ({"main": WHO, "conf": "return { pings = 3 }\n"}, "error"),
    ({"main": "local t = {} for i = 1, 1e9 do t[i] = {} end\n",
      "conf": "return { limits = { memory = '4MB' } }\n"}, "memory"),
])
def test_an_app_that_does_not_load_is_mended_while_others_serve(
        tmp_path, what, kind):
    apps = {"a": {"main": WHO}, "bad": what, "c": {"main": WHO}}
    with serve_many(tmp_path, apps, ["--workers", LOOPS]) as server:
        (told,) = [r for r in server.log if r["level"] == "error"]
        assert (told["app"], told["event"], told["kind"]) == (
            "bad", "load", kind)
        assert "cannot start" in told["msg"]
        for path in ("/bad/", "/bad/x"):
            for response in (get(server, path), open_or_status(server, path)):
                assert response.status == 503
                assert response.headers["retry-after"] == "30"
                assert b"does not load" in response.body
        for name in "ac":
            with Peer(server.port).open("/%s/" % name) as peer:
                assert who(peer)["app"] == name
        mark = server.mark()
        if "conf" in what:
            server.write("bad/app.conf.lua", "return {}\n")
        server.write("bad/main.lua", WHO)
        server.wait_log(lambda r: r.get("app") == "bad"
                        and r["msg"] == "loaded", since=mark)
        with Peer(server.port).open("/bad/") as peer:
            assert who(peer) == {"app": "bad", "asked": "/", "path": "/",
                                 "version": "one", "generation": 1}
        # From now on it is an app like any other.
        server.write("bad/main.lua", WHO.replace('"one"', '"two"'))
        server.wait_log(lambda r: r.get("app") == "bad"
                        and "reloaded: generation 2" in r["msg"], since=mark)


SLOW_AND_WRONG = """
for i = 1, 4000000 do local x = { i } end
error("mended soon")
"""


def test_whenever_an_app_is_mended_it_is_loaded(tmp_path):
    """Also in the last moments before its first load fails, when nobody has
    been told of that yet."""
    main = write_app(tmp_path / "bad", SLOW_AND_WRONG) / "main.lua"
    took = None
    for before in None, 0.12, 0.09, 0.06, 0.03, 0:
        main.write_text(SLOW_AND_WRONG)
        with Lab(tmp_path, "--drain", "0s", "--log-level", "debug",
                 command="serve") as server:
            begun = time.monotonic()
            if before is None:
                server.wait_log(lambda r: "cannot start" in r["msg"])
                took = time.monotonic() - begun
            else:
                time.sleep(max(0, took - before))
                server.write("bad/main.lua", WHO)
                server.wait_log(lambda r: r["msg"] == "loaded", timeout=10)


def test_sighup_reloads_all_and_loads_what_had_failed(tmp_path):
    names = "abcdef"
    apps = {name: {"main": WHO} for name in names}
    apps["f"] = {"main": BROKEN}
    with serve_many(tmp_path, apps,
                    ["--workers", LOOPS, "--no-reload"]) as server:
        peers = {name: Peer(server.port).open("/%s/" % name)
                 for name in names[:-1]}
        for name in names:
            server.write("%s/main.lua" % name, WHO.replace(
                '"one"', '"two"') if name != "e" else BROKEN)
        mark = server.mark()
        signal_and_wait(server, signal.SIGHUP,
                        lambda r: r.get("app") == "a" and "reload" in
                        r.get("event", ""))
        for name in names:
            server.wait_log(lambda r: r.get("app") == name and r.get("event")
                            in ("reload", "load"), since=mark)
        for name, peer in peers.items():
            told = who(peer)
            assert told["version"] == ("one" if name == "e" else "two")
            assert told["generation"] == (1 if name == "e" else 2)
        with Peer(server.port).open("/f/") as peer:
            assert who(peer)["version"] == "two"
        mark = server.mark()
        signal_and_wait(server, signal.SIGHUP,
                        lambda r: "nothing to reload" in r["msg"])
        for name in "abcdf":
            server.wait_log(lambda r: r.get("app") == name
                            and "nothing to reload" in r["msg"], since=mark)


# ---- loops

# What is measured here takes its time.
HOME = 'return { placement = "home", limits = { cpu = "10s" } }\n'


def test_apps_are_spread_over_the_loops(tmp_path):
    names = "abcdefgh"
    apps = {name: {"main": WHO, "conf": HOME} for name in names}
    with serve_many(tmp_path, apps, ["--workers", LOOPS]) as server:
        homes = {}
        for name in names:
            with Peer(server.port).open("/%s/" % name) as peer:
                homes[name] = thread_of(server, lambda: who(peer, burn=0.3))
        threads = list(homes.values())
        assert len(set(threads)) == LOOPS
        assert all(threads.count(thread) == 2 for thread in threads), homes


def test_apps_of_several_loops_work_at_the_same_time(tmp_path):
    """One that is busy holds up those of its own loop at most."""
    apps = {name: {"main": WHO, "conf": HOME} for name in "abcd"}
    with serve_many(tmp_path, apps, ["--workers", LOOPS]) as server:
        peers = [Peer(server.port).open("/%s/" % name) for name in "abcd"]
        peers[0].text('{"burn": 1.5}')
        begun = time.monotonic()
        for peer in peers[1:]:
            who(peer)
        assert time.monotonic() - begun < 1
        peers[0].message()


def test_a_port_in_use_is_noticed_however_many_loops_there_are(tmp_path):
    with start(tmp_path, {"a": {"main": WHO}}) as server:
        for workers in ("1", "4"):
            done = subprocess.run(
                [BINARY, "serve", str(server.dir), "--listen",
                 "%s:%d" % (HOST, server.port), "--workers", workers],
                capture_output=True, text=True, timeout=60)
            assert done.returncode == 1
            assert "address already in use" in done.stderr
        until(lambda: get(server, "/a/").status == 404)     # not disturbed


# ---- the end

def see_out(peer):
    """As rest(), and hangs up."""
    try:
        return peer.rest()
    finally:
        peer.close()


def test_an_app_cannot_write_lines_in_anothers_name(tmp_path):
    main = """
function on_start()
  log.info("hear", { app = "victim", level = "error", msg = "all is lost",
                     event = "restart", ts = "1970", gen = 7, kind = "crash",
                     n = 1 })
end
"""
    with serve_many(tmp_path, {"liar": {"main": main}}) as server:
        line = server.wait_log(lambda r: r.get("n") == 1)
        assert {k: line[k] for k in ("app", "level", "msg", "event", "gen")} == {
            "app": "liar", "level": "info", "msg": "hear", "event": "log",
            "gen": 1}
        assert line["app_"] == "victim" and line["gen_"] == 7
        assert line["kind_"] == "crash" and "kind" not in line
        assert not line["ts"].startswith("1970")


@pytest.mark.parametrize("placement", ["home", "spread", "auto"])
def test_at_the_end_everybody_is_told_1001(tmp_path, placement):
    main = WHO + """
function on_stop(reason) broadcast("bye: " .. reason) end
local n = 0
function on_close(client, code)
  n = n + 1
  log.info("gone " .. n, { code = code })
end
"""
    apps = {name: {"main": main} for name in "abcdef"}
    with serve_many(tmp_path, apps, ["--workers", LOOPS, "--placement",
                                     placement]) as server:
        peers = [Peer(server.port).open("/%s/" % name)
                 for name in "abcdef" for _ in range(12)]
        with concurrent.futures.ThreadPoolExecutor(len(peers)) as pool:
            ends = [pool.submit(see_out, peer) for peer in peers]
            assert server.stop() == 0
            for end in ends:
                frames, how = end.result()
                assert [f.payload for f in frames] == [b"bye: shutdown"]
                assert how == (1001, "server stops")
        gone = lines(server, "^gone 12$")
        assert sorted(r["app"] for r in gone) == list("abcdef")
        assert all(r["code"] == 1001 for r in lines(server, "^gone "))


@pytest.mark.parametrize("runaway", [
    # Before, or after its loop was seen to have nothing left.
    "", "sleep(0.3)"])
def test_a_handler_that_never_ends_does_not_keep_a_server_from_ending(
        tmp_path, runaway):
    main = """
function on_stop()
  task.spawn(function() %s while true do end end)
end
""" % runaway
    # In this order they are dealt over the loops: not loop 0.
    apps = {"a": {"main": WHO}, "b": {"main": main}}
    server = serve_many(tmp_path, apps, ["--workers", 2, "--drain", "1s"])
    try:
        with Peer(server.port).open("/a/"):
            assert server.stop(30 * FACTOR) == 0
        assert not server.noise
    finally:
        server.close()


def test_an_app_that_is_still_loading_does_not_keep_a_server_from_ending(
        tmp_path):
    apps = {name: {"main": SLOW % 0.2} for name in "abcdefgh"}
    with start(tmp_path, apps) as server:
        assert server.stop() == 0

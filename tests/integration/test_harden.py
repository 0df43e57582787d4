"""What the process gives up before it runs anybody's code."""
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import urllib.request

import pytest

from support.lab import IS_ASAN, IS_TSAN, lines, memory
from support.server import BINARY, Server
from support.wire import Peer, until

ECHO = """
function on_message(client, text) client:send(text) end
"""
NOBODY = pwd.getpwnam("nobody")
# A user with a group of its own and, on Debian, none of nobody's.
OTHER = pwd.getpwnam("games")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
with_filter = pytest.mark.skipif(
    not os.path.exists("/proc/sys/kernel/seccomp"), reason="no seccomp here")


@pytest.fixture
def place():
    """A directory that everybody can read, unlike pytest's own."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="moonwire-harden-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def serve(place):
    """serve(*options, owner=, mode=, source=, conf=): a server of an app
    there."""
    servers = []

    def start(*options, owner=None, mode=0o755, source=ECHO, conf="return {}",
              **env):
        app = place / ("app%d" % len(servers))
        app.mkdir()
        (app / "public").mkdir()
        (app / "main.lua").write_text(source)
        (app / "app.conf.lua").write_text(conf)
        (app / "public" / "x.txt").write_text("a file")
        if owner is not None:
            for path in (app, app / "public", app / "main.lua",
                         app / "app.conf.lua", app / "public" / "x.txt"):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        app.chmod(mode)
        servers.append(Server(app, "--drain", "0s", *options, env=env))
        return servers[-1]

    yield start
    for server in servers:
        try:
            assert server.stop() == 0 and not server.noise, server.noise
        finally:
            server.close()


def status(server, name, task=None):
    path = "/proc/%d/status" % server.pid if task is None else (
        "/proc/%d/task/%s/status" % (server.pid, task))
    text = pathlib.Path(path).read_text()
    return re.search(r"^%s:\t(.*)$" % name, text, re.M).group(1).strip()


def uids(server):
    return {int(n) for n in status(server, "Uid").split()}


def gids(server):
    return {int(n) for n in status(server, "Gid").split()}


def groups(server):
    return {int(n) for n in status(server, "Groups").split()}


def assert_powerless(server):
    for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"):
        assert int(status(server, name), 16) == 0, name


def assert_serves(server):
    with Peer(server.port).open() as peer:
        peer.text("hello")
        assert peer.message() == "hello"
    with urllib.request.urlopen(server.url + "x.txt", timeout=10) as answer:
        assert answer.read() == b"a file"


def assert_reloads(server):
    """By itself, because a file changed."""
    mark = server.mark()
    main = server.dir / "main.lua"
    main.write_text("function on_message(client, text) "
                    "client:send('new ' .. text) end")
    server.wait_log(lambda r: r.get("event") == "reload", since=mark)
    with Peer(server.port).open() as peer:
        peer.text("code")
        assert peer.message() == "new code"


# ---- new privileges, and the filter

@with_filter
def test_every_thread_has_the_filter_and_gains_no_privileges(serve):
    server = serve()
    assert_serves(server)
    tasks = os.listdir("/proc/%d/task" % server.pid)
    for task in tasks:
        assert status(server, "NoNewPrivs", task) == "1"
        assert status(server, "Seccomp", task) == "2"
    assert_reloads(server)


@with_filter
def test_it_is_in_place_before_the_first_line_of_an_app_runs(serve):
    # Memory of its own, a timer, dates, random numbers: all that a main chunk
    # can make the process ask of the kernel.
    server = serve(source=ECHO + """
    local t = {}
    for i = 1, 1e5 do t[i] = ("x"):rep(50) .. i end
    log.info("loaded " .. #t .. " " .. os.date("%Y") .. crypto.uuid())
    """)
    first = lines(server, "loaded 100000 20")
    assert first and server.log.index(first[0]) >= 0
    assert_serves(server)


@with_filter
def test_no_loop_holds_what_it_may_not_use_any_more(serve):
    # A ring that libuv was given before the filter would end the process when
    # it is used for the first time: behind the filter there is none.
    server = serve("--workers", "2")
    assert_serves(server)
    held = "/proc/%d/fd" % server.pid
    links = [os.readlink(os.path.join(held, fd)) for fd in os.listdir(held)]
    assert any("eventpoll" in link for link in links)
    assert not any("io_uring" in link for link in links)


@with_filter
def test_memory_and_threads_can_still_be_had(serve):
    server = serve(source="""
    function on_message(client, text)
      local t = {}
      for i = 1, 20 do t[i] = ("x"):rep(1000000) .. i end
      client:send(tostring(#t))
    end""", conf="return { limits = { cpu = '10s' } }")
    with Peer(server.port).open() as peer:
        for _ in range(3):
            peer.text("more")
            assert peer.message() == "20"
    assert memory(server.pid)[0] > 0


def test_no_seccomp_is_said(serve):
    server = serve("--no-seccomp")
    assert lines(server, r"system call is let through: \(--no-seccomp\)$")
    assert status(server, "Seccomp") == "0"
    assert status(server, "NoNewPrivs") == "1"
    assert_serves(server)


def test_new_privileges_are_said(serve):
    server = serve(MOONWIRE_ALLOW_NEW_PRIVS="1")
    assert lines(server, r"system call is let through: and new privileges are "
                         r"possible \(--allow-new-privs\)")
    assert status(server, "Seccomp") == "0"
    assert status(server, "NoNewPrivs") == "0"
    assert_serves(server)


# ---- users

@as_root
def test_who_owns_the_app_is_who_it_runs_as(serve):
    server = serve(owner=OTHER, mode=0o700)
    assert lines(server, r"^runs as games \(started as root\)$")
    assert uids(server) == {OTHER.pw_uid} and gids(server) == {OTHER.pw_gid}
    assert 0 not in groups(server)
    assert_powerless(server)
    assert_serves(server)
    assert_reloads(server)


@as_root
def test_nobody_it_is_where_root_owns_the_app(serve):
    server = serve()
    assert lines(server, r"^runs as nobody \(started as root\)$")
    assert uids(server) == {NOBODY.pw_uid} and gids(server) == {NOBODY.pw_gid}
    assert 0 not in groups(server)
    assert_powerless(server)
    assert_serves(server)
    assert_reloads(server)


@as_root
def test_root_has_no_rights_where_only_root_can_read_the_app(serve):
    server = serve(mode=0o700)
    assert lines(server, "runs as root without its rights, since nobody else "
                         "can read the app; --user NAME is better")
    assert uids(server) == {0}
    assert_powerless(server)
    assert_serves(server)
    assert_reloads(server)


@as_root
def test_an_owner_who_cannot_come_to_the_app_is_not_chosen(place):
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    app = closed / "app"
    app.mkdir()
    (app / "main.lua").write_text(ECHO)
    os.chown(app, OTHER.pw_uid, OTHER.pw_gid)
    with Server(app, "--drain", "0s") as server:
        assert uids(server) == {0}
        assert_powerless(server)
        assert server.stop() == 0


@as_root
@pytest.mark.parametrize("user", ["games", str(OTHER.pw_uid)])
def test_the_user_can_be_chosen(serve, user):
    server = serve("--user", user)
    assert lines(server, "^runs as games ")
    assert uids(server) == {OTHER.pw_uid} and gids(server) == {OTHER.pw_gid}
    assert_powerless(server)
    assert_serves(server)
    assert_reloads(server)


@as_root
def test_a_number_need_not_have_a_name(serve):
    server = serve("--user", "54321")
    assert lines(server, "^runs as user 54321 ")
    assert uids(server) == {54321} and gids(server) == {54321}
    assert groups(server) == {54321}
    assert_powerless(server)
    assert_serves(server)


@as_root
def test_root_can_be_kept(serve):
    server = serve("--keep-root")
    assert lines(server, r"^runs as root with all rights \(--keep-root\)$")
    assert uids(server) == {0}
    assert int(status(server, "CapEff"), 16) != 0
    assert_serves(server)


def low_port():
    """One below 1024 that is free."""
    for port in range(1023, 900, -1):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except PermissionError:
                pytest.skip("low ports cannot be had here")
            except OSError:
                continue
    pytest.skip("no low port is free")
    return None


@as_root
def test_a_low_port_is_opened_and_the_right_to_it_goes(place):
    app = place / "app"
    app.mkdir()
    (app / "public").mkdir()
    (app / "public" / "x.txt").write_text("a file")
    (app / "main.lua").write_text(ECHO)
    with Server(app, "--drain", "0s", port=low_port()) as server:
        assert uids(server) == {NOBODY.pw_uid}
        assert_powerless(server)
        assert_serves(server)
        assert server.stop() == 0


@as_root
def test_somebody_who_cannot_read_the_app_is_told_so(place):
    app = place / "app"
    app.mkdir(mode=0o700)
    (app / "main.lua").write_text(ECHO)
    done = subprocess.run(
        [BINARY, "run", str(app), "--listen", "127.0.0.1:0", "--user",
         "games"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "runs as games" in done.stderr
    assert re.search("cannot start .*[Pp]ermission", done.stderr), done.stderr


@pytest.mark.parametrize("user, says", [
    ("no-such-user-here", "no such user"), ("1x", "no such user")])
def test_a_user_that_cannot_be_had_ends_the_start(tmp_path, user, says):
    (tmp_path / "main.lua").write_text(ECHO)
    done = subprocess.run(
        [BINARY, "run", str(tmp_path), "--listen", "127.0.0.1:0", "--user",
         user], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert says in done.stderr


@as_root
def test_only_root_can_become_somebody_else(place):
    app = place / "app"
    app.mkdir()
    (app / "main.lua").write_text(ECHO)
    binary = place / "moonwire"
    shutil.copy(BINARY, binary)
    binary.chmod(0o755)
    done = subprocess.run(
        [str(binary), "run", str(app), "--listen", "127.0.0.1:0", "--user",
         "games"], capture_output=True, text=True, timeout=30,
        user=NOBODY.pw_uid, group=NOBODY.pw_gid, extra_groups=[])
    assert done.returncode == 1
    assert "only root can become somebody else" in done.stderr


@as_root
@pytest.mark.skipif(IS_ASAN or IS_TSAN, reason="dumpable for its tools")
def test_nobody_of_the_same_name_can_look_into_it(serve):
    server = serve()
    done = subprocess.run(
        ["/bin/cat", "/proc/%d/environ" % server.pid], capture_output=True,
        user=NOBODY.pw_uid, group=NOBODY.pw_gid, extra_groups=[])
    assert done.returncode != 0 and done.stdout == b""


# ---- the rest of a life

def test_a_stop_and_its_signals_work_behind_the_filter(serve):
    server = serve()
    mark = server.mark()
    server.signal(10)  # SIGUSR1
    server.wait_log(lambda r: r["msg"].startswith("counters:"), since=mark)
    with Peer(server.port).open():
        until(lambda: lines(server, "counters"))
    assert server.stop() == 0

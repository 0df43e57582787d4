"""The operator's port: GET /metrics, for this machine alone."""
import re
import socket
import subprocess
import time
import urllib.request

import pytest

from support.lab import IS_TSAN, Lab, counters, write_app
from support.server import BINARY
from support.wire import Peer, until

ECHO = "function on_message(client, text) client:send(text) end"
SERIES = re.compile(
    r'^(?P<name>[a-z_][a-z0-9_]*)(?P<labels>\{[^}]*\})? (?P<value>\S+)$')


def admin_port(server):
    record = server.wait_log(lambda r: "figures on http://" in r["msg"])
    return int(re.search(r":(\d+)/metrics$", record["msg"]).group(1))


def scrape(port):
    """-> {name: value} of the series without labels; checks the format."""
    with urllib.request.urlopen(
            "http://127.0.0.1:%d/metrics" % port, timeout=10) as answer:
        assert answer.headers["Content-Type"] == (
            "text/plain; version=0.0.4; charset=utf-8")
        text = answer.read().decode()
    assert text.endswith("\n")
    figures, types, helps = {}, {}, set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in helps
            helps.add(name)
        elif line.startswith("# TYPE "):
            name, kind = line.split(" ")[2:4]
            assert name in helps and kind in (
                "counter", "gauge", "histogram")
            types[name] = kind
        else:
            found = SERIES.match(line)
            assert found, line
            name = found.group("name")
            family = re.sub("_(bucket|count|sum)$", "", name)
            assert name in types or types.get(family) == "histogram"
            assert name.startswith("moonwire_")
            if not found.group("labels"):
                assert name not in figures
                figures[name] = float(found.group("value"))
    return figures


def ask(port, request):
    """-> the whole answer to raw bytes."""
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(request)
        data = b""
        while True:
            part = s.recv(65536)
            if not part:
                return data.decode()
            data += part


def get(port, path="/metrics", method="GET", host="127.0.0.1"):
    return ask(port, ("%s %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (
        method, path, host)).encode())


@pytest.fixture
def server(serve):
    return serve(ECHO, "--admin", "127.0.0.1:0")


def test_the_figures_count_what_happens(server):
    port = admin_port(server)
    before = scrape(port)
    assert before["moonwire_clients"] == 0
    assert before["moonwire_messages_in_total"] == 0
    with Peer(server.port).open() as peer:
        for text in ("a", "bc", "def"):
            peer.text(text)
        assert peer.messages(3) == ["a", "bc", "def"]
        after = scrape(port)
        assert after["moonwire_clients"] == 1
        assert after["moonwire_messages_in_total"] == 3
        assert after["moonwire_frames_out_total"] == 3
        assert after["moonwire_events_total"] == 3


def test_every_figure_of_the_log_is_there(server):
    port = admin_port(server)
    with Peer(server.port).open() as peer:
        peer.text("x")
        peer.message()
        figures = scrape(port)
        for name, value in counters(server).items():
            assert "moonwire_" + name in figures
        assert figures["moonwire_messages_in_total"] == 1


ENDLESS = "while true do end"
FULL = "local t = {} for i = 1, 1e9 do t[i] = {} end"
DIES = "string.find(string.rep('a', 5000), '.-.-.-.-b')"


@pytest.mark.parametrize("name, text, kind", [
    ("main.lua", ENDLESS, "cpu"),
    ("main.lua", FULL, "memory"),
    ("app.conf.lua", ENDLESS, "cpu"),
    ("main.lua", "error('a mistake')", "error"),
])
def test_a_reload_that_is_ended_is_a_kill(serve, name, text, kind):
    server = serve(ECHO, "--admin", "127.0.0.1:0", conf="return {}")
    port = admin_port(server)
    server.write(name, text)
    server.wait_log(lambda r: r.get("event") == "reload"
                    and r.get("kind") == kind)
    figures = scrape(port)
    assert figures["moonwire_reloads_failed_total"] == 1
    assert figures["moonwire_kills_total"] == (kind != "error")


def test_a_first_load_that_is_ended_is_a_kill(tmp_path):
    for name, text in (("bad", ENDLESS), ("wrong", "error('x')"),
                       ("good", ECHO)):
        write_app(tmp_path / name, text)
    with Lab(tmp_path, "--drain", "0s", "--admin", "127.0.0.1:0",
             command="serve") as server:
        for name in ("bad", "wrong"):
            server.wait_log(lambda r, name=name: r.get("app") == name
                            and r.get("event") == "load")
        assert scrape(admin_port(server))["moonwire_kills_total"] == 1


@pytest.mark.skipif(IS_TSAN, reason="no C function can be stopped there")
def test_a_restart_that_is_ended_is_a_kill(serve):
    server = serve(
        "if app.generation > 1 then %s end\n"
        "function on_message() %s end" % (ENDLESS, DIES),
        "--admin", "127.0.0.1:0", conf="return { limits = { cpu = '20ms',"
        " load_cpu = '50ms' } }")
    port = admin_port(server)
    with Peer(server.port).open() as peer:
        peer.text("die")
        server.wait_log(lambda r: r.get("event") == "restart"
                        and r.get("kind") == "cpu")
        figures = scrape(port)
        assert figures["moonwire_app_deaths_total"] == 1
        assert figures["moonwire_kills_total"] >= 2


def test_it_says_what_is_running(server):
    assert re.search(r'^moonwire_build_info\{version="\d+\.\d+\.\d+"\} 1$',
                     get(admin_port(server)), re.M)


def test_there_is_nothing_else(server):
    port = admin_port(server)
    for path in ("/", "/metrics/", "/metricsx", "/main.lua", "/../metrics"):
        assert get(port, path).startswith("HTTP/1.1 404"), path
    assert get(port, "/metrics?x=1").startswith("HTTP/1.1 200")
    assert get(port, method="POST").startswith("HTTP/1.1 405")
    head = get(port, method="HEAD")
    assert head.startswith("HTTP/1.1 200") and head.endswith("\r\n\r\n")
    assert int(re.search(r"Content-Length: (\d+)", head).group(1)) > 1000
    # The app's port knows nothing of it.
    assert get(server.port).startswith("HTTP/1.1 404")


def test_it_speaks_no_websocket(server):
    with Peer(admin_port(server)) as peer:
        peer.send(peer.request())
        assert peer.response().status == 404


@pytest.mark.parametrize("host, status", [
    ("localhost:9", 200), ("LOCALHOST", 200), ("127.1.2.3:80", 200),
    ("[::1]:9090", 200), ("[::1]", 200), ("evil.example:9090", 403),
    ("127.0.0.1.evil.example", 403), ("10.0.0.1", 403), ("[::2]", 403),
    ("localhost.evil.example:80", 403), ("a" * 500, 403)])
def test_a_page_of_somebody_else_cannot_read_it(server, host, status):
    answer = get(admin_port(server), host=host)
    assert answer.startswith("HTTP/1.1 %d" % status)
    assert ("moonwire_" in answer) == (status == 200)


def test_rude_peers_are_answered_or_left_to_their_time_out(server):
    port = admin_port(server)
    assert ask(port, b"nonsense\r\n\r\n").startswith("HTTP/1.1 501")
    assert ask(port, b"GET /metrics HTTP/1.1\r\n\r\n").startswith(
        "HTTP/1.1 4")
    big = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n"
    assert ask(port, big % (b"x" * 20000)).startswith("HTTP/1.1 431")
    with socket.create_connection(("127.0.0.1", port), 10) as gone:
        gone.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert scrape(port)["moonwire_clients"] == 0


def test_the_port_is_closed_when_the_stop_begins(serve):
    server = serve("function on_stop() sleep(1) end",
                   "--admin", "127.0.0.1:0")
    port = admin_port(server)
    scrape(port)
    idle = socket.create_connection(("127.0.0.1", port), 10)
    server.process.terminate()
    server.wait_log(lambda r: "stopping" in r["msg"])

    def is_closed():
        try:
            socket.create_connection(("127.0.0.1", port), 10).close()
            return False
        except OSError:
            return True

    until(is_closed)
    assert server.process.poll() is None    # on_stop is still at it
    assert server.wait() == 0
    idle.close()


@pytest.mark.parametrize("address", [
    "0.0.0.0:0", ":9090", "[::]:0", "192.0.2.1:80", "example.com:80",
    "127.0.0.1", "126.255.255.255:80", "128.0.0.1:80", "[::2]:1", "127.1:9",
    "localhost.example.com:80"])
def test_other_addresses_are_refused_with_a_reason(tmp_path, address):
    (tmp_path / "main.lua").write_text("")
    done = subprocess.run(
        [BINARY, "run", str(tmp_path), "--admin", address],
        capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "--admin %s: not a HOST:PORT of this machine" % address in (
        done.stderr)


def test_a_port_in_use_is_said(server, tmp_path):
    (tmp_path / "main.lua").write_text("")
    address = "127.0.0.1:%d" % admin_port(server)
    done = subprocess.run(
        [BINARY, "run", str(tmp_path), "--listen", "127.0.0.1:0", "--admin",
         address], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "cannot listen on %s for --admin: address already in use" % (
        address) in done.stderr


def test_a_reader_that_does_not_read_holds_nobody_up(server):
    port = admin_port(server)
    stuck = []
    for _ in range(50):
        s = socket.create_connection(("127.0.0.1", port), 10)
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stuck.append(s)
    with Peer(server.port).open() as peer:
        start = time.monotonic()
        peer.text("x")
        assert peer.message() == "x"
        assert time.monotonic() - start < 5
    for s in stuck:
        s.close()

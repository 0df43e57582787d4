"""Signals: the graceful stop in its stages, the hasty one, HUP and USR1."""
import asyncio
import contextlib
import re
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest
import websockets

from support import wires
from support.lab import IS_TSAN
from support.server import Server
from support.wire import FACTOR

WIRES = [wires.PLAIN, wires.TLS]

ECHO = "function on_message(client, message) client:send(message) end\n"


@pytest.fixture
def serve(tmp_path, wire):
    """serve(source, *options) -> a running server; none may have crashed."""
    servers = []

    def start(source, *options):
        app = tmp_path / ("app%d" % len(servers))
        (app / "public").mkdir(parents=True)
        (app / "main.lua").write_text(source)
        (app / "public/index.html").write_text("<p>here</p>\n")
        servers.append(Server(app, *options))
        return servers[-1]

    yield start
    for server in servers:
        code = server.process.poll()
        server.close()
        assert code in (None, 0, 1), "\n".join(server.noise)


def connect(server):
    return websockets.connect(server.ws_url, **wires.websockets_options())


def dial(server):
    """A bare connection."""
    sock = socket.create_connection(("127.0.0.1", server.port))
    tls = wires.client_context()
    return tls.wrap_socket(sock, server_hostname="localhost") if tls else sock


def read_until(peer, mark):
    """What comes up to `mark`, which may come in many pieces."""
    data = b""
    while mark not in data:
        more = peer.recv(4096)
        assert more, data
        data += more
    return data


def wait_for(server, text):
    return server.wait_log(lambda r: text in r["msg"])


def test_a_server_says_where_it_is_in_one_line(serve):
    server = serve(ECHO)
    (record,) = [r for r in server.log if " on http" in r["msg"]]
    assert re.fullmatch(
        r"moonwire \d+\.\d+\.\d+ · app0(, \d+ loops,)? on https?://127\.0\.0\.1:%d"
        % server.port, record["msg"])
    assert record["level"] == "info"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_at_once_with_0(serve, number):
    server = serve(ECHO)
    server.signal(number)
    begun = time.monotonic()
    assert server.wait() == 0
    assert time.monotonic() - begun < 5


def test_clients_are_closed_with_1001_after_what_was_queued(serve):
    server = serve("""
function on_stop(reason)
  broadcast("goodbye: " .. reason)
end
""", "--drain", "0s")

    async def go():
        clients = [await connect(server) for _ in range(20)]
        server.signal(signal.SIGTERM)
        for client in clients:
            assert await asyncio.wait_for(client.recv(), 10) == (
                "goodbye: shutdown")
            with pytest.raises(websockets.ConnectionClosed):
                await asyncio.wait_for(client.recv(), 10)
            assert client.close_code == 1001

    asyncio.run(go())
    assert server.wait() == 0


def test_closing_is_spread_over_the_drain_time(serve):
    server = serve(ECHO, "--drain", "2s")

    async def go():
        clients = [await connect(server) for _ in range(20)]
        begun = time.monotonic()
        server.signal(signal.SIGTERM)

        async def closed_at(client):
            await client.wait_closed()
            return time.monotonic() - begun

        times = sorted(await asyncio.wait_for(
            asyncio.gather(*map(closed_at, clients)), 20))
        assert times[0] < 1
        assert times[-1] > 1.3
        # No herd: within any quarter of a second a part of them only.
        for t in times:
            assert sum(t <= u < t + 0.25 for u in times) <= 10

    asyncio.run(go())
    assert server.wait() == 0


def test_a_stopping_server_takes_nobody_in(serve):
    server = serve("function on_stop() sleep(1.5) end\n")
    server.signal(signal.SIGTERM)
    wait_for(server, "stopping")
    # Each loop closes its own port, a moment later.
    ends = time.monotonic() + 1
    with pytest.raises(OSError):
        while time.monotonic() < ends:
            socket.create_connection(("127.0.0.1", server.port), 5).close()
            time.sleep(0.02)
    assert server.process.poll() is None  # on_stop is still at it
    assert server.wait() == 0


def test_the_port_is_free_for_the_next_while_the_old_one_drains(serve):
    old = serve(ECHO, "--drain", "3s")

    async def go():
        async with connect(old) as first, \
                connect(old) as second:
            old.signal(signal.SIGTERM)
            await asyncio.wait_for(first.wait_closed(), 10)
            with socket.socket() as next_one:
                next_one.setsockopt(
                    socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                next_one.bind(("127.0.0.1", old.port))
                next_one.listen()
            await second.send("still served")
            assert await asyncio.wait_for(second.recv(), 5) == "still served"

    asyncio.run(go())
    assert old.wait() == 0


def test_an_on_stop_that_never_ends_does_not_hold_the_server(serve):
    server = serve("function on_stop() sleep(600) end\n")
    begun = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert 1.5 < time.monotonic() - begun < 15


def test_an_on_close_that_never_ends_does_not_hold_the_server(serve):
    server = serve("function on_close() sleep(600) end\n", "--drain", "0s")

    async def go():
        async with connect(server) as client:
            server.signal(signal.SIGTERM)
            await asyncio.wait_for(client.wait_closed(), 10)

    asyncio.run(go())
    assert server.wait() == 0


@pytest.mark.skipif(IS_TSAN, reason="no C function can be stopped there")
def test_an_app_that_dies_meanwhile_does_not_hold_the_server(serve):
    """Whose on_close was queued behind the one it died of."""
    server = serve(
        "function on_close()\n"
        "  string.find(string.rep('a', 5000), '.-.-.-.-b')\n"
        "end\n", "--drain", "0s")

    async def go():
        clients = [await connect(server) for _ in range(20)]
        server.signal(signal.SIGTERM)
        for client in clients:
            await asyncio.wait_for(client.wait_closed(), 10)
            assert client.close_code == 1001

    asyncio.run(go())
    begun = time.monotonic()
    assert server.wait() == 0
    assert time.monotonic() - begun < 3
    assert wait_for(server, "could not be stopped")["kind"] == "cpu"


@pytest.mark.skipif(IS_TSAN, reason="no C function can be stopped there")
def test_requests_that_nobody_can_answer_any_more_hear_503(serve):
    server = serve(
        "function on_request(request)\n"
        "  log.info('asked')\n"
        "  string.find(string.rep('a', 5000), '.-.-.-.-b')\n"
        "end\n")
    with dial(server) as one, dial(server) as two:
        for peer in (one, two):
            peer.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(server, "asked")
        server.signal(signal.SIGTERM)
        for peer in (one, two):
            text = read_until(peer, b"he server is stopping")
            assert text.startswith(b"HTTP/1.1 503 "), text
    assert server.wait() == 0


def test_a_request_that_is_thought_about_is_answered(serve):
    """Also where that takes longer than the drain time."""
    server = serve("function on_request(request)\n"
                   "  log.info('asked')\n"
                   "  sleep(1)\n"
                   "  return 'at last'\n"
                   "end\n", "--drain", "0s")
    with dial(server) as peer, dial(server) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in read_until(idle, b"</p>\n")
        peer.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(server, "asked")
        begun = time.monotonic()
        server.signal(signal.SIGTERM)
        assert idle.recv(4096) == b""
        text = read_until(peer, b"at last")
        assert text.startswith(b"HTTP/1.1 200 "), text
    assert server.wait() == 0
    assert time.monotonic() - begun < 3 * FACTOR


def test_a_peer_that_never_answers_the_close_does_not_hold_the_server(serve):
    server = serve(ECHO, "--drain", "0s")
    with dial(server) as peer:
        peer.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert b" 101 " in read_until(peer, b"\r\n\r\n")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


@pytest.mark.parametrize("loops", ["1", "2"])
def test_a_stop_keeps_its_time_whatever_holds_it_up(serve, loops):
    """All at once: an on_stop and on_closes that never end, handlers and tasks
    that wait, a script that uses all the CPU time it may have, over and over, a
    peer that neither reads nor answers. OPERATIONS.md says how long at most."""
    server = serve(
        "function on_message(client, message)\n"
        "  if message == 'spin' then\n"
        "    task.spawn(function() while true do\n"
        "      local t = os.clock() while os.clock() - t < 0.005 do end\n"
        "      sleep(0) end end)\n"
        "  end\n"
        "  for i = 1, 200 do client:send(('x'):rep(1000)) end\n"
        "  sleep(600)\n"
        "end\n"
        "function on_close() sleep(600) end\n"
        "function on_stop() task.spawn(sleep, 600) sleep(600) end\n",
        "--drain", "500ms", "--workers", loops)
    with contextlib.ExitStack() as peers:
        for word in (b"spin", b"wait", b"wait", b"wait"):
            peer = peers.enter_context(dial(server))
            peer.sendall(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            assert b" 101 " in read_until(peer, b"\r\n\r\n")
            peer.sendall(b"\x81\x84\0\0\0\0" + word)
        begun = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        took = time.monotonic() - begun
    # on_stop, the drain time and 6 s, and a second for what is left.
    assert 2 + 0.5 + 6 <= took < 2 + 0.5 + 6 + 1 + 1 * FACTOR, took
    assert wait_for(server, "cutting what is left")


def test_an_idle_http_connection_does_not_hold_the_server(serve):
    server = serve(ECHO, "--drain", "100ms")
    with dial(server) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in read_until(peer, b"</p>\n")
        begun = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert time.monotonic() - begun < 5


def test_a_second_signal_ends_the_server_at_once_with_1(serve):
    server = serve("function on_stop() sleep(600) end\n")
    server.signal(signal.SIGTERM)
    wait_for(server, "stopping")
    begun = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == 1
    assert time.monotonic() - begun < 1.5


def test_hup_reloads_also_where_the_files_are_not_watched(serve):
    server = serve("function on_message(c) c:send('one') end\n",
                   "--no-reload")

    async def ask(client):
        await client.send("?")
        return await asyncio.wait_for(client.recv(), 10)

    async def go():
        async with connect(server) as client:
            assert await ask(client) == "one"
            (server.dir / "main.lua").write_text(
                "function on_message(c) c:send('two') end\n")
            await asyncio.sleep(0.5)
            assert await ask(client) == "one"
            server.signal(signal.SIGHUP)
            for _ in range(100):
                if await ask(client) == "two":
                    break
                await asyncio.sleep(0.05)
            assert await ask(client) == "two"
            server.signal(signal.SIGHUP)
            wait_for(server, "nothing to reload")

    asyncio.run(go())


def test_usr1_logs_the_counters_in_one_line(serve):
    server = serve(ECHO)

    async def go():
        async with connect(server) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
            server.signal(signal.SIGUSR1)
            wait_for(server, "counters:")

    asyncio.run(go())
    assert server.stop() == 0
    (line,) = [r["msg"] for r in server.log if "counters:" in r["msg"]]
    counters = dict(pair.split("=") for pair in line.split(":")[1].split())
    assert counters["clients"] == "1"
    assert counters["messages_in_total"] == "1"
    assert "shed_total" not in counters


def test_a_malformed_handshake_is_one_line_that_says_why(serve):
    server = serve(ECHO)
    with dial(server) as peer:
        peer.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                     b"Connection: Upgrade\r\nSec-WebSocket-Version: 12\r\n"
                     b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        answer = b""
        while chunk := peer.recv(4096):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 426 ")
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in answer
    assert server.stop() == 0
    records = [r for r in server.log if r.get("event") == "handshake"]
    assert len(records) == 1
    assert "426" in records[0]["msg"] and "/x" in records[0]["msg"]
    assert records[0]["err"]


def test_other_methods_are_refused_with_what_is_allowed(serve):
    server = serve(ECHO)
    request = urllib.request.Request(
        server.url, data=b"x", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(
            request, timeout=10, context=wires.client_context())
    assert refused.value.code == 405
    assert refused.value.headers["Allow"] == "GET, HEAD"


def test_a_sigpipe_kills_nobody(serve):
    server = serve(ECHO)
    server.signal(signal.SIGPIPE)

    async def go():
        async with connect(server) as client:
            await client.send("alive")
            assert await client.recv() == "alive"

    asyncio.run(go())

"""on_request: plain HTTP to an app. Bodies of both kinds, keep-alive,
pipelining, HEAD, answers of all kinds, and what is refused."""
import json
import socket
import time
import urllib.request

import pytest

from support import wires
from support.lab import counters
from support.wire import FACTOR, PING, TEXT, Ended, Peer, encode, until

WIRES = [wires.PLAIN, wires.TLS]

APP = """
local notes = {}

function on_request(request)
  local path = request.path
  if path == "/what" then
    return { body = {
      method = request.method, path = path, name = request.query.name,
      body = request:body(), type = request.headers["content-type"],
      ip = request.ip, host = request.host, cookie = request.cookies.id,
      token = request:token() } }
  end
  if path == "/echo" then
    return { headers = { ["Content-Type"] = "application/octet-stream" },
             body = request:body() }
  end
  if path == "/json" then
    local value, err = request:json()
    if value == nil then return { status = 400, body = err } end
    return { body = value }
  end
  if path == "/text" then return "plain words" end
  if path == "/empty" then return {} end
  if path == "/created" then
    return { status = 201, headers = { Location = "/notes/1",
             ["Set-Cookie"] = { "a=1", "b=2" } }, body = "made" }
  end
  if path == "/gone" then return { status = 204 } end
  if path == "/reset" then return { status = 205, body = "words" } end
  if path == "/wait" then sleep(0.2) return "waited" end
  if path == "/big" then return ("0123456789"):rep(300000) end
  if path == "/error" then error("secret detail") end
  if path == "/number" then return 42 end
  if path == "/typo" then return { stats = 200 } end
  if path == "/status" then return { status = 101 } end
  if path == "/crlf" then return { headers = { X = "a\\r\\nY: b" } } end
  if path == "/length" then return { headers = { ["Content-Length"] = "1" } } end
  if path == "/func" then return { body = { f = print } } end
  if path == "/huge" then return ("x"):rep(17 * 1024 * 1024) end
  if path == "/say" then
    broadcast(request:body())
    return "said"
  end
end

function on_message(client, message) client:send(message) end
"""


def ask(peer, path, method="GET", headers=(), body=b""):
    """-> the response; the connection is kept."""
    peer.send(request(path, method, headers, body))
    return peer.response(is_head=method == "HEAD")


def request(path, method="GET", headers=(), body=b""):
    text = "%s %s HTTP/1.1\r\nHost: x\r\n" % (method, path)
    lines = list(headers)
    if body and not any(n.lower() == "transfer-encoding" for n, _ in lines):
        lines.append(("Content-Length", str(len(body))))
    text += "".join("%s: %s\r\n" % line for line in lines) + "\r\n"
    return text.encode() + body


def chunked(*parts, last=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + last


CHUNKED = [("Transfer-Encoding", "chunked")]


@pytest.fixture(scope="module")
def server(tmp_path_factory, wire):
    from conftest import stop_well, write_app
    from support.server import Server
    # Sanitizers make long strings slowly.
    app = write_app(tmp_path_factory.mktemp("requests") / "app", APP,
                    conf="return { limits = { cpu = '10s' } }",
                    files={"index.html": "a page", "text": "a file"})
    server = Server(app, "--drain", "0s", "--max-body", "300KB")
    yield server
    stop_well(server)


# ---- what the app sees

def test_the_app_sees_the_whole_request(server):
    with Peer(server.port) as peer:
        response = ask(peer, "/what?name=a%20b", "PUT", [
            ("Content-Type", "text/x"), ("Cookie", "id=7"),
            ("Authorization", "Bearer t0ken")], b"the body\0\xff"[:8])
        assert response.status == 200
        assert response.headers["content-type"] == "application/json"
        assert json.loads(response.body) == {
            "method": "PUT", "path": "/what", "name": "a b",
            "body": "the body", "type": "text/x", "ip": "127.0.0.1",
            "host": "x", "cookie": "7", "token": "t0ken"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH",
                                    "OPTIONS"])
def test_any_method_reaches_the_app(server, method):
    with Peer(server.port) as peer:
        response = ask(peer, "/what", method)
        assert json.loads(response.body)["method"] == method


def test_files_come_first_and_the_app_has_the_rest(server):
    with Peer(server.port) as peer:
        assert ask(peer, "/").body == b"a page"
        assert ask(peer, "/text").body == b"a file"
        assert ask(peer, "/text", "POST").body == b"plain words"
        assert ask(peer, "/nothing").status == 404
        assert ask(peer, "/empty").status == 200


# ---- bodies

BODIES = [b"x", b"x" * 4096, bytes(range(256)) * 16, b"y" * 300 * 1024]


@pytest.mark.parametrize("body", BODIES, ids=len)
@pytest.mark.parametrize("way", ["length", "chunks", "bytes", "one chunk"])
def test_a_body_comes_whole_however_it_is_sent(server, body, way):
    with Peer(server.port, timeout=60 * FACTOR) as peer:
        if way == "length":
            data = request("/echo", "POST", body=body)
        else:
            step = len(body) if way == "one chunk" else 1000
            data = request("/echo", "POST", CHUNKED, chunked(
                *(body[i:i + step] for i in range(0, len(body), step))))
        if way == "bytes" and len(body) <= 4096:
            peer.drip(data)
        else:
            peer.send(data)
        response = peer.response()
        assert (response.status, response.body) == (200, body)
        # And the connection goes on.
        assert ask(peer, "/echo", "POST", body=b"again").body == b"again"


def test_json_is_read_and_what_is_none_says_where(server):
    with Peer(server.port) as peer:
        response = ask(peer, "/json", "POST", body=b'{"a":[1,2.5,null]}')
        assert json.loads(response.body) == {"a": [1, 2.5, None]}
        response = ask(peer, "/json", "POST", body=b'{"a":}')
        assert response.status == 400 and b"1:6" in response.body
        assert ask(peer, "/json").status == 400


def test_extensions_and_trailers_are_read_over(server):
    with Peer(server.port) as peer:
        data = b"3;a=b\r\nabc\r\n0;x\r\nX-Sum: 1\r\n\r\n"
        assert ask(peer, "/echo", "POST", CHUNKED, data).body == b"abc"
        assert ask(peer, "/text", "POST").status == 200


def test_whoever_expects_100_gets_it_first(server):
    with Peer(server.port) as peer:
        peer.send(request("/echo", "POST", [
            ("Expect", "100-continue"), ("Content-Length", "5")]))
        while b"\r\n\r\n" not in peer.reader.buffer:
            peer._fill()
        assert bytes(peer.reader.buffer) == b"HTTP/1.1 100 Continue\r\n\r\n"
        del peer.reader.buffer[:]
        assert peer.is_silent(0.05)
        peer.send(b"hello")
        assert peer.response().body == b"hello"


REFUSED = {
    "a length over the limit": (
        request("/echo", "POST", [("Content-Length", str(300 * 1024 + 1))]),
        413, "max-body is 307200"),
    "chunks over the limit": (
        request("/echo", "POST", CHUNKED, b"4b001\r\n"), 413, "max-body"),
    "many chunks over the limit": (
        request("/echo", "POST", CHUNKED, chunked(*[b"x" * 4096] * 76)), 413,
        "max-body"),
    "another expectation": (
        request("/echo", "POST", [("Expect", "200-ok")], b"x"), 417,
        "100-continue"),
    "a size that is none": (
        request("/echo", "POST", CHUNKED, b"x\r\n"), 400, "chunk size"),
    "a chunk with a bare LF": (
        request("/echo", "POST", CHUNKED, b"1\nx\n0\n\n"), 400, "chunk size"),
    "a chunk that is too long": (
        request("/echo", "POST", CHUNKED, b"1\r\nxy\r\n0\r\n\r\n"), 400,
        "chunk"),
    "a length and chunks": (
        request("/echo", "POST", CHUNKED + [("Content-Length", "5")],
                b"0\r\n\r\n"), 400, "length of the body"),
    "chunks in HTTP/1.0": (
        b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400, "HTTP/1.0"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_body_is_refused_and_nothing_behind_it_is_read(server, what):
    data, status, says = REFUSED[what]
    mark = server.mark()
    with Peer(server.port) as peer:
        peer.send(data + request("/say", "POST", body=b"smuggled") * 3)
        response = peer.response()
        assert response.status == status, response
        assert response.headers["connection"] == "close"
        assert peer.finished() == b""
    server.wait_log(lambda r: str(status) in r["msg"] and says in r["msg"],
                    since=mark)


@pytest.mark.parametrize("what", [*REFUSED, "a malformed head"])
def test_who_asks_with_head_is_refused_without_content(server, what):
    data, status, _ = REFUSED.get(
        what, (b"POST / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, None))
    with Peer(server.port) as peer:
        peer.send(data.replace(b"POST", b"HEAD", 1))
        response = peer.response(is_head=True)
        assert response.status == status, response
        assert int(response.headers["content-length"]) > 0
        assert response.headers["connection"] == "close"
        assert peer.finished() == b""


def test_no_app_is_asked_about_a_tunnel(server):
    for target in ("/what", "a:443"):
        with Peer(server.port) as peer:
            peer.send(request(target, "CONNECT") + b"\x16\x03\x01")
            response = peer.response()
            assert response.status == 501 and b"tunnel" in response.body
            assert peer.finished() == b""


def test_a_body_that_stops_is_1_kib_in_30_s_or_408(serve):
    server = serve(APP, "--slow-time", "700ms", "--slow-bytes", "100")
    mark = server.mark()
    with Peer(server.port) as peer:
        peer.send(request("/echo", "POST", [("Content-Length", "1000")]))
        begun = time.monotonic()
        for _ in range(1000):
            try:
                peer.send(b"x")
            except OSError:
                break
            if not peer.is_silent(0.1):
                break
        assert peer.response().status == 408
        assert 0.6 < time.monotonic() - begun < 3 * FACTOR
    line = server.wait_log(lambda r: "408" in r["msg"], since=mark)
    assert "slow-bytes is 100, slow-time is 700 ms" in line["msg"]
    with Peer(server.port) as peer:     # slow, but on its way
        peer.send(request("/echo", "POST", [("Content-Length", "600")]))
        peer.drip(b"x" * 600, 30, 0.1)
        assert peer.response().body == b"x" * 600


def test_who_leaves_in_the_midst_of_a_body_leaves_nothing_behind(serve):
    server = serve(APP)
    for leave in (Peer.close, Peer.reset, Peer.half_close):
        with Peer(server.port) as peer:
            peer.send(request("/echo", "POST", [
                ("Content-Length", "100000")], b"x" * 50000))
            leave(peer)
            until(lambda: counters(server).get("connections", 0) == 0)


def test_bodies_where_nobody_asks_for_them_are_refused_as_before(serve):
    server = serve("", files={"index.html": "x"})
    with Peer(server.port) as peer:
        response = ask(peer, "/", "POST", body=b"hello")
        assert response.status == 405
        assert peer.finished() == b""


# ---- connections

def test_requests_of_a_pipeline_are_answered_in_order(server):
    with Peer(server.port) as peer:
        peer.send(request("/wait") +
                  request("/echo", "POST", body=b"second") +
                  request("/text", "POST") + request("/") +
                  request("/echo", "POST", CHUNKED, chunked(b"fif", b"th")) +
                  request("/nothing"))
        assert [peer.response().body for _ in range(6)] == [
            b"waited", b"second", b"plain words", b"a page", b"fifth",
            b"there is nothing here"]


def test_a_kept_connection_becomes_a_websocket(server):
    with Peer(server.port) as peer:
        assert ask(peer, "/echo", "POST", body=b"x").body == b"x"
        peer.open(pipelined=encode(TEXT, b"hello"))
        assert peer.message() == "hello"


# RFC 9110 7.8: a protocol that is not spoken here is asked for in vain, and
# nothing else comes of it. Some HTTP/2 clients ask with each first request.
H2C = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"),
       ("HTTP2-Settings", "AAMAAABkAAQAAP__")]


@pytest.mark.parametrize("placement", ["home", "spread"])
def test_who_asks_for_another_protocol_is_answered_and_goes_on(
        serve, placement):
    server = serve(APP, "--workers", "2", "--placement", placement)
    for _ in range(8):      # on any loop
        with Peer(server.port) as peer:
            peer.send(request("/wait", headers=H2C) +
                      request("/echo", "POST", H2C, b"body") +
                      request("/text", "POST"))
            for body in (b"waited", b"body", b"plain words"):
                response = peer.response()
                assert response.body == body
                assert response.headers["connection"] == "keep-alive"
            peer.open(pipelined=encode(TEXT, b"hello"))
            assert peer.message() == "hello"


def test_connection_close_closes_and_http_1_0_closes(server):
    for data in (request("/text", "POST", [("Connection", "close")]),
                 b"POST /text HTTP/1.0\r\n\r\n"):
        with Peer(server.port) as peer:
            peer.send(data)
            response = peer.response()
            assert response.body == b"plain words"
            assert response.headers["connection"] == "close"
            assert peer.finished() == b""


def test_many_at_once_do_not_disturb_each_other(server):
    peers = [Peer(server.port) for _ in range(30)]
    for i, peer in enumerate(peers):
        peer.send(request("/wait") + request(
            "/echo", "POST", body=b"%d" % i))
    for i, peer in enumerate(peers):
        assert peer.response().body == b"waited"
        assert peer.response().body == b"%d" % i
        peer.close()


def test_a_request_may_speak_to_clients(server):
    with Peer(server.port).open() as client, Peer(server.port) as peer:
        client.frame(PING)
        client.pong()
        assert ask(peer, "/say", "POST", body=b"to all").body == b"said"
        assert client.message() == "to all"


def test_a_client_that_half_closes_still_gets_its_answer(server):
    with Peer(server.port) as peer:
        peer.send(request("/wait", headers=[("Connection", "close")]))
        peer.half_close()
        assert peer.response().body == b"waited"


def test_who_leaves_while_the_app_thinks_is_forgotten(server):
    for leave in (Peer.close, Peer.reset):
        with Peer(server.port) as peer:
            peer.send(request("/wait"))
            time.sleep(0.05)
            leave(peer)
    time.sleep(0.3)
    with Peer(server.port) as peer:
        assert ask(peer, "/text", "POST").status == 200


# ---- answers

def test_head_is_get_without_the_body(server):
    with Peer(server.port) as peer:
        for path, length in (("/what", None), ("/big", 3000000),
                             ("/nothing", None), ("/error", None)):
            head = ask(peer, path, "HEAD")
            get = ask(peer, path)
            assert head.status == get.status
            if length is not None:
                assert int(head.headers["content-length"]) == length
        assert ask(peer, "/text", "POST").body == b"plain words"


def test_answers_have_status_headers_type_and_length(server):
    with Peer(server.port) as peer:
        made = ask(peer, "/created", "POST")
        assert (made.status, made.reason, made.body) == (
            201, "Created", b"made")
        assert made.headers["location"] == "/notes/1"
        assert made.headers["set-cookie"] == "a=1, b=2"
        assert made.headers["content-type"] == "text/plain; charset=utf-8"
        assert made.headers["x-content-type-options"] == "nosniff"
        empty = ask(peer, "/empty")
        assert (empty.status, empty.body) == (200, b"")
        assert empty.headers["content-length"] == "0"
        gone = ask(peer, "/gone", "DELETE")
        assert gone.status == 204 and "content-length" not in gone.headers
        reset = ask(peer, "/reset", "POST")
        assert (reset.status, reset.reason, reset.body) == (
            205, "Reset Content", b"")
        assert reset.headers["content-length"] == "0"
        assert ask(peer, "/empty").status == 200


def test_a_large_answer_comes_whole_to_a_slow_reader_too(server):
    with Peer(server.port, rcvbuf=4096) as peer:
        response = ask(peer, "/big")
        assert response.body == b"0123456789" * 300000
        assert ask(peer, "/text", "POST").body == b"plain words"


@pytest.mark.parametrize("path, says", [
    ("/error", "secret detail"), ("/number", "a table, a string or nil"),
    ("/typo", "unknown field 'stats'; did you mean 'status'?"),
    ("/status", "'status' must be 200 to 599"), ("/crlf", "header 'X'"),
    ("/length", "header 'Content-Length'"), ("/func", "'body'"),
    ("/huge", "limits.response is 16777216")])
def test_an_error_is_500_and_tells_the_log_alone(server, path, says):
    mark = server.mark()
    with Peer(server.port) as peer:
        response = ask(peer, path)
        assert response.status == 500
        assert says.encode() not in response.body
        line = server.wait_log(lambda r: r.get("event") == "on_request",
                               since=mark)
        assert says in line["msg"] + line.get("err", "")
        assert ask(peer, "/empty").status == 200


def test_the_library_of_python_gets_on_with_it(server):
    ask_for = urllib.request.Request(
        server.url + "echo", data=b"from the library", method="POST")
    with urllib.request.urlopen(
            ask_for, timeout=20, context=wires.client_context()) as response:
        assert response.read() == b"from the library"


# ---- reloads, stops

def test_a_reload_gives_and_takes_on_request(serve):
    server = serve("", files={"index.html": "x"})
    with Peer(server.port) as peer:
        assert ask(peer, "/text").status == 404
        for source, status in ((APP, 200), ("", 404)):
            mark = server.mark()
            server.write("main.lua", source)
            server.wait_log(lambda r: r.get("event") == "reload", since=mark)
            assert ask(peer, "/text").status == status


def test_a_request_under_way_sees_a_reload_through(serve):
    server = serve(APP)
    with Peer(server.port) as peer:
        peer.send(request("/wait"))
        time.sleep(0.05)
        mark = server.mark()
        server.write("main.lua", APP.replace("plain words", "new words"))
        server.wait_log(lambda r: r.get("event") == "reload", since=mark)
        assert peer.response().body == b"waited"
        assert ask(peer, "/text").body == b"new words"


@pytest.mark.parametrize("placement", ["home", "spread"])
def test_it_is_the_same_on_every_loop(serve, placement):
    server = serve(APP, "--workers", "3", "--placement", placement)
    for i in range(24):
        with Peer(server.port) as peer:
            body = b"%d" % i * 1000
            assert ask(peer, "/echo", "POST", body=body).body == body
            assert len(ask(peer, "/big").body) == 3000000
            assert ask(peer, "/what", "HEAD").status == 200
            peer.send(request("/wait") + request("/nothing"))
            assert peer.response().body == b"waited"
            assert peer.response().status == 404
            peer.open()
            peer.text("hello")
            assert peer.message() == "hello"

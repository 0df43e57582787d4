"""The opening handshake: what is wrong with it is answered with the right
status, a text that names the fault, and one line in the log; and what
on_connect, origins and limits decide is what the client gets."""
import contextlib
import json
import re
import ssl
import urllib.request

import pytest

from support import wires
from support.lab import counters
from support.wire import TEXT, Ended, Peer, encode, until

WIRES = [wires.PLAIN, wires.TLS]

SAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
SAMPLE_ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def raw(peer, path="/", **how):
    return peer.request(path, **how)


def answered(server, data):
    """Sends bytes as a request -> the response; then the server must end the
    connection in an orderly way unless it said keep-alive."""
    with Peer(server.port) as peer:
        peer.send(data(peer) if callable(data) else data)
        response = peer.response()
        if (response.status != 101 and
                response.headers["connection"] == "close"):
            assert peer.finished() == b""
        return response


def new_records(server, mark):
    """What has been logged since `mark`, up to now."""
    counters(server)    # its line is the last
    return [r for r in server.log[mark:]
            if "counters:" not in r["msg"] and r.get("event") != "stats"]


def text(response):
    return response.body.decode().rstrip("\n")


def request(*args, **how):
    return lambda peer: peer.request(*args, **how)


def swapped(old, new):
    """A right request with one thing replaced in its bytes."""
    def make(peer):
        data = peer.request()
        assert data.count(old) == 1
        return data.replace(old, new)
    return make


def tail(extra):
    """A right request with further lines."""
    return lambda peer: peer.request()[:-2] + extra + b"\r\n"


# ---- malformed

MALFORMED = {
    "another method": (request(method="POST"), 405, "GET"),
    "another method with a dash": (request(method="M-SEARCH"), 405, "GET"),
    "an unknown method": (request(method="BREW"), 501, "method"),
    "a method in lower case": (request(method="get"), 501, "method"),
    "HTTP/1.0": (request(version="HTTP/1.0"), 505, "HTTP/1.1"),
    "HTTP/2": (request(version="HTTP/2.0"), 505, "HTTP/1.1"),
    "HTTP/0.9": (b"GET /\r\n\r\n", 505, "HTTP/0.9"),
    "no version": (b"GET / \r\nHost: x\r\n\r\n", 400, "HTTP/1.1"),
    "another protocol": (request(version="RTSP/1.0"), 400, "HTTP/1.1"),
    "TLS": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400, "not HTTP"),
    "no target": (b"GET  HTTP/1.1\r\nHost: x\r\n\r\n", 400, "target"),
    "two spaces": (request("/ "), 400, "HTTP/1.1"),
    "no Host": (request(drop=["Host"]), 400, "Host"),
    "two Hosts": (tail(b"Host: y\r\n"), 400, "Host"),
    "an empty Host": (request(headers=[("Host", "")]), 400, "Host"),
    "a Host with a path": (request(headers=[("Host", "a/b")]), 400, "Host"),
    "a Host with a space": (request(headers=[("Host", "a b")]), 400, "Host"),
    "no Upgrade": (request(drop=["Upgrade"]), 400, "Upgrade"),
    "another Upgrade": (request(headers=[("Upgrade", "h2c")]), 400,
                        "Upgrade"),
    "no Connection": (request(drop=["Connection"]), 400, "Connection"),
    "another Connection": (request(headers=[("Connection", "keep-alive")]),
                           400, "Connection"),
    "Connection with a near token": (
        request(headers=[("Connection", "upgraded, no-upgrade")]), 400,
        "Connection"),
    "no version header": (request(drop=["Sec-WebSocket-Version"]), 426,
                          "Sec-WebSocket-Version must be 13"),
    "version 8": (request(headers=[("Sec-WebSocket-Version", "8")]), 426,
                  "Sec-WebSocket-Version must be 13"),
    "version 013": (request(headers=[("Sec-WebSocket-Version", "013")]), 426,
                    "Sec-WebSocket-Version"),
    "a list of versions": (
        request(headers=[("Sec-WebSocket-Version", "13, 8")]), 426,
        "Sec-WebSocket-Version"),
    "two versions": (tail(b"Sec-WebSocket-Version: 13\r\n"), 400,
                     "Sec-WebSocket-Version"),
    "no key": (request(drop=["Sec-WebSocket-Key"]), 400,
               "Sec-WebSocket-Key is missing"),
    "an empty key": (request(headers=[("Sec-WebSocket-Key", "")]), 400,
                     "Sec-WebSocket-Key"),
    "a short key": (request(key="dGhlIHNhbXBsZSBub24="), 400,
                    "Sec-WebSocket-Key must be 16 bytes"),
    "a long key": (request(key="dGhlIHNhbXBsZSBub25jZQAA"), 400,
                   "Sec-WebSocket-Key must be 16 bytes"),
    "a key that is not base64": (request(key="dGhlIHNhbXBsZSBub25j*Q=="), 400,
                                 "Sec-WebSocket-Key"),
    "a key with stray bits": (request(key="dGhlIHNhbXBsZSBub25jZR=="), 400,
                              "Sec-WebSocket-Key"),
    "two keys": (tail(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
                 400, "Sec-WebSocket-Key is given more than once"),
    "two origins": (tail(b"Origin: http://a\r\nOrigin: http://a\r\n"), 400,
                    "Origin"),
    "a protocol of two words": (
        tail(b"Sec-WebSocket-Protocol: two words\r\n"), 400, "tokens"),
    "a protocol twice": (
        tail(b"Sec-WebSocket-Protocol: a, a\r\n"), 400, "twice"),
    "65 protocols": (
        tail(b"".join(b"Sec-WebSocket-Protocol: p%d\r\n" % i
                      for i in range(65))), 400, "too many protocols"),
    "an extension that is none": (
        tail(b"Sec-WebSocket-Extensions: a; =b\r\n"), 400,
        "Sec-WebSocket-Extensions"),
    "a Host with two ports": (request(headers=[("Host", "a:1:2")]), 400,
                              "Host"),
    "a body": (tail(b"Content-Length: 5\r\n"), 400, "body"),
    "a chunked body": (tail(b"Transfer-Encoding: chunked\r\n"), 400, "body"),
    "a length told twice": (
        tail(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400,
        "length of the body"),
    "two lengths": (tail(b"Content-Length: 0\r\nContent-Length: 0\r\n"), 400,
                    "length of the body"),
    "a length that is none": (tail(b"Content-Length: +1\r\n"), 400,
                              "Content-Length"),
    "an unknown coding": (tail(b"Transfer-Encoding: gzip\r\n"), 501,
                          "Transfer-Encoding"),
    "a head of 17 KiB": (tail(b"X: " + b"x" * 17 * 1024 + b"\r\n"), 431,
                         "head is too long"),
    "101 headers": (tail(b"".join(b"X-%d: x\r\n" % i for i in range(96))),
                    431, "too many headers"),
    "a target of 9 KiB": (request("/" + "x" * 9000), 414, "too long"),
    "bare LF": (lambda p: p.request().replace(b"\r\n", b"\n"), 400,
                "HTTP/1.1"),
    "a bare LF in a value": (tail(b"X: a\nY: b\r\n"), 400, "control"),
    "a bare CR": (tail(b"X: a\rb\r\n"), 400, "CR without a LF"),
    "a NUL in a value": (tail(b"X: a\0b\r\n"), 400, "control character"),
    "a NUL in the target": (swapped(b"GET /", b"GET /\0"), 400, "target"),
    "an encoded NUL in the target": (request("/a%00b"), 400, "NUL"),
    "a bad escape in the target": (request("/%zz"), 400, "%"),
    "a fragment in the target": (request("/a#b"), 400, "target"),
    "a target that is no path": (request("chat"), 400, "target"),
    "an umlaut in the target": (request("/\xfc"), 400, "target"),
    "obs-fold": (tail(b"X: a\r\n b\r\n"), 400, "begins with a space"),
    "a space before the colon": (tail(b"X : a\r\n"), 400, "header name"),
    "a header without a colon": (tail(b"hello\r\n"), 400, "header name"),
    "a header without a name": (tail(b": a\r\n"), 400, "header name"),
    "another host in the target": (request("http://elsewhere/"), 400,
                                   "Host differs"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_request_is_answered_and_logged_once(echo, what):
    data, status, says = MALFORMED[what]
    mark = echo.mark()
    response = answered(echo, data)
    assert response.status == status, response
    assert says in text(response), response
    assert response.headers["connection"] == (
        "Upgrade, close" if status == 426 else "close")
    assert response.headers["content-type"].startswith("text/plain")
    (record,) = new_records(echo, mark)
    assert str(status) in record["msg"], record
    assert says in record["msg"] + record.get("err", ""), record


def test_426_says_which_version_is_spoken_and_405_which_method(echo):
    old = answered(echo, request(headers=[("Sec-WebSocket-Version", "8")]))
    assert old.headers["sec-websocket-version"] == "13"
    assert old.headers["upgrade"] == "websocket"    # RFC 9110 15.5.22
    post = answered(echo, request(method="POST"))
    assert post.headers["allow"] == "GET"


def test_a_refused_request_counts_once(echo):
    before = counters(echo).get("handshakes_refused_total", 0)
    answered(echo, request(headers=[("Sec-WebSocket-Version", "8")]))
    answered(echo, request(version="HTTP/2.0"))
    answered(echo, request("/", headers=[("Origin", "http://evil.example")]))
    assert counters(echo)["handshakes_refused_total"] == before + 3


def test_what_follows_a_bad_head_is_not_taken_for_a_request(echo):
    with Peer(echo.port) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n" +
                  b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
        assert peer.response().status == 400
        assert peer.finished() == b""


# ---- well-formed, though unusual

WELL_FORMED = {
    "plain": request(),
    "lists of tokens": request(headers=[
        ("Upgrade", "h2c, WebSocket"), ("Connection", "keep-alive, UPGRADE")]),
    "two Connection headers": tail(b"Connection: close\r\n"),
    "names in capitals": lambda p: re.sub(
        rb"(?m)^[\w-]+:", lambda m: m.group(0).upper(), p.request()),
    "names in lower case": lambda p: re.sub(
        rb"(?m)^[\w-]+:", lambda m: m.group(0).lower(), p.request()),
    "no space behind the colon": lambda p: p.request().replace(b": ", b":"),
    "spaces around the value": lambda p: re.sub(
        rb": ([^\r]*)", rb": \t  \1 \t ", p.request()),
    "an empty line before": lambda p: b"\r\n" + p.request(),
    "an empty body": tail(b"Content-Length: 0\r\n"),
    "absolute-form": lambda p: p.request("http://%s/x?y=1" % p.host),
    "absolute-form of another scheme": lambda p: p.request(
        "WS://%s/x" % p.host),
    "an extension that is not spoken": tail(
        b"Sec-WebSocket-Extensions: permessage-lzma; "
        b"client_max_window_bits\r\n"),
    "a protocol that nobody chose": tail(
        b"Sec-WebSocket-Protocol: chat, superchat\r\n"),
    "a value beyond ASCII": tail(b"X: \xc3\xbc\xff\r\n"),
    "a head of 15 KiB": tail(b"X: " + b"x" * 15 * 1024 + b"\r\n"),
    "100 headers": tail(b"".join(b"X-%d: x\r\n" % i for i in range(95))),
    "its own origin": lambda p: p.request(
        headers=[("Origin", "http://" + p.host)]),
}


@pytest.mark.parametrize("what", WELL_FORMED)
def test_what_is_unusual_but_right_is_accepted(echo, what):
    with Peer(echo.port) as peer:
        peer.send(WELL_FORMED[what](peer))
        response = peer.response()
        assert response.status == 101, response
        assert response.headers["upgrade"].lower() == "websocket"
        assert response.headers["connection"].lower() == "upgrade"
        assert "sec-websocket-extensions" not in response.headers
        assert "sec-websocket-protocol" not in response.headers
        peer.text("hello")
        assert peer.message() == "hello"


def test_the_key_of_the_rfc_gets_the_answer_of_the_rfc(echo):
    response = answered(echo, request(key=SAMPLE_KEY))
    assert response.headers["sec-websocket-accept"] == SAMPLE_ACCEPT


# ---- on_connect

def test_on_connect_sees_the_request(serve):
    server = serve("""
function on_connect(request)
  log.info("asked", {
    what = request.method .. " " .. request.path, name = request.query.name,
    flag = request.query.flag, agent = request.headers["user-agent"],
    both = request.headers["x-two"], cookie = request.cookies.id,
    ip = request.ip, origin = request.origin, host = request.host,
    protocols = table.concat(request.protocols, "|") })
  return true
end
function on_open(client) client:send(client.path) end
""")
    with Peer(server.port) as peer:
        origin = "http://" + peer.host
        peer.open("/a%20b/%C3%BC?name=A+%26%20B&flag&x=%zz", headers=[
            ("User-Agent", "test"), ("X-Two", "1"), ("x-two", "2"),
            ("Cookie", "a=b; id=42; id=43"), ("Origin", origin),
            ("Sec-WebSocket-Protocol", "chat,  v2"),
            ("Sec-WebSocket-Protocol", "v3")])
        assert peer.message() == "/a b/ü"
        line = server.wait_log(lambda r: r["msg"] == "asked")
        seen = {k: line[k] for k in (
            "what", "name", "flag", "agent", "both", "cookie", "ip", "origin",
            "host", "protocols")}
        assert seen == {
            "what": "GET /a b/ü", "name": "A & B", "flag": "",
            "agent": "test", "both": "1, 2", "cookie": "42",
            "ip": "127.0.0.1", "origin": origin, "host": peer.host,
            "protocols": "chat|v2|v3"}


REFUSING = """
function on_connect(request)
  local how = request.path
  if how == "/nil" then return nil end
  if how == "/false" then return false end
  if how == "/nothing" then return end
  if how == "/status" then return nil, 401 end
  if how == "/reason" then return nil, 429, "slow down, please \\u{fc}" end
  if how == "/await" then sleep(0.02) return nil, 404, "no such room" end
  if how == "/error" then error("secret detail") end
  if how == "/status200" then return nil, 200, "x" end
  if how == "/number" then return 42 end
  if how == "/typo" then return { usr = "x" } end
  if how == "/user" then return { user = 42, rooms = "lobby" } end
  if how == "/longuser" then return { user = ("x"):rep(129) } end
  if how == "/protocol" then return { protocol = "chess" } end
  if how == "/crlf" then return { headers = { ["X-A"] = "a\\r\\nX-B: b" } } end
  if how == "/key" then return { headers = { ["Sec-WebSocket-Accept"] = "x" } } end
  if how == "/length" then return { headers = { ["Content-Length"] = "5" } } end
  if how == "/name" then return { headers = { ["X A"] = "a" } } end
  if how == "/big" then return { headers = { ["X-A"] = ("x"):rep(5000) } } end
  if how == "/data" then return { data = "x" } end
  return true
end
function on_open(client) log.info("open") end
function on_close(client) log.info("close") end
"""


@pytest.mark.parametrize("path, status, says", [
    ("/nil", 403, "Forbidden"),
    ("/false", 403, "Forbidden"),
    ("/nothing", 403, "Forbidden"),
    ("/status", 401, "Unauthorized"),
    ("/reason", 429, "slow down, please ü"),
    ("/await", 404, "no such room"),
])
def test_a_refusal_of_on_connect_has_its_status_and_reason(
        serve, path, status, says):
    server = serve(REFUSING)
    response = answered(server, request(path))
    assert (response.status, text(response)) == (status, says)
    assert response.headers["connection"] == "close"
    assert not [r for r in server.log if r["msg"] in ("open", "close")]


ON_CONNECT_ERRORS = {
    "/error": "secret detail",
    "/status200": "400 to 599",
    "/number": "on_connect must return a table, true, or nil",
    "/typo": "unknown field 'usr'; did you mean 'user'?",
    "/user": "'rooms' must be a table",
    "/longuser": "'user' must be 1 to 128 bytes",
    "/protocol": "did not offer the protocol 'chess'",
    "/crlf": "header 'X-A'",
    "/key": "header 'Sec-WebSocket-Accept'",
    "/length": "header 'Content-Length'",
    "/name": "header 'X A'",
    "/big": "4096 bytes",
    "/data": "'data' must be a table",
}


def test_an_error_in_on_connect_is_500_and_tells_the_log_alone(serve):
    server = serve(REFUSING)
    for path, says in ON_CONNECT_ERRORS.items():
        mark = server.mark()
        response = answered(server, request(path))
        assert response.status == 500, (path, response)
        assert says not in text(response)
        (record,) = new_records(server, mark)
        assert says in record["msg"], (path, record)
        assert (record["event"], record["kind"]) == ("on_connect", "error")
        assert record["level"] == "error"
    # And the app goes on.
    with Peer(server.port).open("/fine"):
        server.wait_log(lambda r: r["msg"] == "open")


def test_on_connect_gives_a_client_its_name_data_rooms_and_protocol(serve):
    server = serve("""
function on_connect(request)
  return { user = "ann", data = { n = 7 }, rooms = { "a", "b" },
           protocol = "v3",
           headers = { ["X-One"] = "1",
                       ["Set-Cookie"] = { "a=1; Path=/", "b=2" } } }
end
function on_open(client)
  local rooms = client:rooms()
  table.sort(rooms)
  client:send { user = client.user, n = client.data.n, protocol = client.protocol,
                rooms = rooms }
end
""")
    with Peer(server.port) as peer:
        peer.send(peer.request(headers=[
            ("Sec-WebSocket-Protocol", "v1, v2"),
            ("Sec-WebSocket-Protocol", "v3, v4")]))
        response = peer.response()
        assert response.status == 101
        assert response.headers["sec-websocket-protocol"] == "v3"
        assert response.headers["x-one"] == "1"
        assert response.headers["set-cookie"] == "a=1; Path=/, b=2"
        assert json.loads(peer.message()) == {
            "user": "ann", "n": 7, "protocol": "v3", "rooms": ["a", "b"]}


def test_set_cookie_headers_are_lines_of_their_own(serve):
    server = serve("""
function on_connect()
  return { headers = { ["Set-Cookie"] = { "a=1", "b=2" } } }
end
""")
    with Peer(server.port) as peer:
        peer.send(peer.request())
        while b"\r\n\r\n" not in peer.reader.buffer:
            peer._fill()
        head = bytes(peer.reader.buffer)
        assert head.count(b"\r\nSet-Cookie: ") == 2
        assert b"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n" in head


def take_leave(peer):
    """With a close_notify, where there is TLS."""
    if wires.is_tls():
        peer.sock.settimeout(0)
        with contextlib.suppress(ssl.SSLWantReadError):
            peer.sock.unwrap()
    peer.close()


def test_a_client_that_leaves_while_on_connect_thinks_was_never_there(serve):
    server = serve("""
function on_connect(request)
  if request.path == "/slow" then
    log.info("thinking")
    sleep(0.3)
    log.info("decided")
  end
  return { data = { x = 1 }, rooms = { "a" }, user = "u" }
end
function on_open(client) log.info("open " .. client.path) end
function on_close(client) log.info("close " .. client.path) end
function on_message(client) client:send { n = clients.count() } end
""")
    early = encode(TEXT, b"early")      # see test_half_close.py for the rest
    for leave, words in ((Peer.reset, b""), (Peer.close, b""),
                         (Peer.half_close, b""), (take_leave, b""),
                         (Peer.reset, early)):
        mark = server.mark()
        with Peer(server.port) as peer:
            peer.send(peer.request("/slow") + words)
            server.wait_log(lambda r: r["msg"] == "thinking", since=mark)
            leave(peer)
            server.wait_log(lambda r: r["msg"] == "decided", since=mark)
        with Peer(server.port).open("/other") as other:
            other.text("?")
            assert other.message() == '{"n":1}'
        server.wait_log(lambda r: r["msg"] == "close /other", since=mark)
        assert "open /slow" not in [r["msg"] for r in server.log[mark:]]
        assert "close /slow" not in [r["msg"] for r in server.log[mark:]]


def test_frames_wait_while_on_connect_thinks(serve):
    server = serve("""
function on_connect(request) sleep(0.1) return true end
function on_open(client) client:send("open") end
function on_message(client, message) client:send(message) end
""")
    with Peer(server.port) as peer:
        peer.send(peer.request() + encode(TEXT, b"1"))
        peer.drip(encode(TEXT, b"2") + encode(TEXT, b"3" * 70000), 8192)
        assert peer.response().status == 101
        assert peer.messages(4) == ["open", "1", "2", "3" * 70000]


# ---- origins

ORIGINS = """return {
  origins = { "https://chat.example.com", "*.example.org", "http://localhost:5173" },
}
"""


def test_pages_of_other_hosts_are_refused_with_origin_and_setting(echo):
    mark = echo.mark()
    response = answered(echo, request(
        headers=[("Origin", "https://evil.example:444")]))
    assert response.status == 403
    said = text(response)
    assert '"https://evil.example:444"' in said
    assert "origins" in said and "app.conf.lua" in said
    (record,) = new_records(echo, mark)
    assert "https://evil.example:444" in record["msg"]
    assert "origins" in record["msg"]


def test_the_origins_setting_allows_what_it_lists(serve):
    server = serve("", conf=ORIGINS)
    for origin in ("https://chat.example.com", "https://chat.example.com:443",
                   "HTTPS://CHAT.EXAMPLE.COM", "http://a.example.org",
                   "https://a.b.example.org", "http://localhost:5173"):
        with Peer(server.port) as peer:
            peer.open(headers=[("Origin", origin)])
    with Peer(server.port) as peer:     # the host itself
        peer.open(headers=[("Origin", "http://" + peer.host)])
    with Peer(server.port) as peer:     # no browser
        peer.open()
    for origin in ("http://chat.example.com", "https://example.com",
                   "https://chat.example.com.evil.example", "null", "",
                   "https://notexample.org", "http://localhost:5174",
                   "https://chat.example.com:8443"):
        response = answered(server, request(headers=[("Origin", origin)]))
        assert response.status == 403, origin
        said = text(response)
        for part in ('"%s"' % origin, "the host itself",
                     "https://chat.example.com", "*.example.org",
                     "http://localhost:5173", "origins", "app.conf.lua"):
            assert part in said, (part, said)


def test_a_star_allows_every_origin(serve):
    server = serve("", conf='return { origins = { "*" } }')
    for origin in ("https://anywhere.example", "null"):
        with Peer(server.port) as peer:
            peer.open(headers=[("Origin", origin)])


# ---- limits

def test_the_limit_of_clients_refuses_with_503_and_ends_with_a_leave(serve):
    server = serve(
        "function on_close() log.info('left') end",
        conf="return { limits = { clients = 2 } }")
    with Peer(server.port).open() as first, Peer(server.port).open():
        mark = server.mark()
        response = answered(server, request())
        assert response.status == 503
        assert "full" in text(response)
        assert int(response.headers["retry-after"]) > 0
        (record,) = new_records(server, mark)
        assert "limits.clients is 2" in record["msg"]
        first.goodbye()
        server.wait_log(lambda r: r["msg"] == "left", since=mark)
        until(lambda: answered(server, request()).status == 101)


def test_clients_being_decided_on_count_against_the_limit(serve):
    server = serve("""
function on_connect() log.info("thinking") sleep(0.2) return true end
""", conf="return { limits = { clients = 1 } }")
    with Peer(server.port) as first:
        first.send(first.request())
        server.wait_log(lambda r: r["msg"] == "thinking")
        assert answered(server, request()).status == 503
        assert first.response().status == 101


# ---- beside it

def test_a_websocket_request_upgrades_on_any_path(echo):
    for path in ("/", "/index.html", "/a/b/c?d", "/..%2f..", "//", "/%20"):
        with Peer(echo.port) as peer:
            peer.open(path)
            peer.text(path)
            assert peer.message() == path


def test_bad_handshakes_leave_others_alone(echo):
    with Peer(echo.port).open() as polite:
        for data, status, _ in list(MALFORMED.values())[::5]:
            assert answered(echo, data).status == status
            polite.text("here")
            assert polite.message() == "here"
    assert urllib.request.urlopen(
        echo.url, timeout=20, context=wires.client_context()).status == 200


def test_a_peer_that_sends_nothing_and_leaves_is_no_event(echo):
    counters(echo)      # the tests before may have lines under way
    mark = echo.mark()
    for leave in (Peer.close, Peer.reset):
        leave(Peer(echo.port))
    with Peer(echo.port) as peer:
        peer.half_close()
        assert peer.finished() == b""
    with Peer(echo.port) as peer:
        peer.send(peer.request()[:40])
        peer.half_close()
        with pytest.raises(Ended):
            while True:
                peer._fill()
    assert new_records(echo, mark) == []

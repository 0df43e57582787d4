"""Who the client is when a proxy is in between: PROXY headers and
X-Forwarded-* of proxies that are trusted, and of nobody else."""
import contextlib
import socket
import ssl
import struct

import pytest

from support import wires
from support.lab import counters
from support.wire import Ended, Peer, until

WIRES = wires.ALL

TELLS = """
function on_connect(request)
  return { data = { said = request.ip .. " " .. tostring(request.host) } }
end
function on_open(client) client:send(client.ip .. " " .. client.data.said) end
function on_message(client, message) client:send(message) end
"""
TRUST = ["--trust-proxy", "127.0.0.1,10.0.0.0/8"]
V2 = b"\r\n\r\n\0\r\nQUIT\n"


def v2(source="192.0.2.9", command=1, tlvs=b""):
    body = socket.inet_aton(source) + socket.inet_aton("198.51.100.1")
    body += struct.pack("!HH", 1234, 443) + tlvs
    return V2 + bytes([0x20 | command, 0x11]) + struct.pack("!H", len(body)) + body


def cut(header, way):
    return [bytes([b]) for b in header] if way == "bytes" else [header]


def told(server, headers=(), before=b"", way="whole"):
    """-> (client.ip, request.ip, request.host)."""
    with Peer(server.port, front=cut(before, way)) as peer:
        data = peer.request(headers=list(headers))
        if way == "bytes":
            peer.drip(data)
        else:
            peer.send(data)
        response = peer.response()
        assert response.status == 101, response
        return tuple(peer.message().replace(peer.host, "HOST").split(" "))


# ---- X-Forwarded-For

@pytest.mark.parametrize("value, client", [
    ("192.0.2.1", "192.0.2.1"),
    ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
    ("6.6.6.6, 192.0.2.1, 10.1.1.1", "192.0.2.1"),
    ("[2001:db8::7]:5555", "2001:db8::7"),
    ("nonsense", "127.0.0.1"),
    ("192.0.2.1, nonsense", "127.0.0.1"),
])
def test_a_trusted_proxy_is_believed_as_far_as_it_is(serve, value, client):
    server = serve(TELLS, *TRUST)
    assert told(server, [("X-Forwarded-For", value)]) == (
        client, client, "HOST")


def test_nobody_else_is_believed(serve):
    for options in ([], ["--trust-proxy", "10.0.0.0/8,::1"]):
        server = serve(TELLS, *options)
        assert told(server, [("X-Forwarded-For", "192.0.2.1"),
                             ("X-Forwarded-Host", "evil.example")]) == (
            "127.0.0.1", "127.0.0.1", "HOST")
        for header in (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", v2()):
            with Peer(server.port) as peer:
                peer.send(header + peer.request())
                assert peer.response().status in (400, 501)
            if wires.is_tls():
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    Peer(server.port, front=[header])


def test_each_request_of_a_kept_connection_has_its_own_client(serve):
    server = serve(TELLS, *TRUST, files={"index.html": "here"})
    with Peer(server.port) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n"
                  b"X-Forwarded-For: 192.0.2.1\r\n\r\n")
        assert peer.response().status == 200
        peer.send(peer.request(headers=[("X-Forwarded-For", "192.0.2.2")]))
        assert peer.response().status == 101
        assert peer.message().startswith("192.0.2.2 192.0.2.2 ")
    with Peer(server.port) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n"
                  b"X-Forwarded-For: 192.0.2.1\r\n\r\n" + peer.request())
        assert peer.response().status == 200
        assert peer.response().status == 101
        assert peer.message().startswith("127.0.0.1 127.0.0.1 ")


def test_a_bad_head_is_not_laid_to_the_client_before_it(serve):
    server = serve(TELLS, *TRUST, files={"index.html": "here"})
    mark = server.mark()
    with Peer(server.port) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n"
                  b"X-Forwarded-For: 192.0.2.1\r\n\r\nGET / HTTP/1.1\n")
        assert peer.response().status == 200
        assert peer.response().status == 400
    line = server.wait_log(lambda r: "400" in r["msg"], since=mark)
    assert "127.0.0.1" in line["msg"] and "192.0.2.1" not in line["msg"]


def test_the_log_names_who_is_behind_the_proxy(serve):
    server = serve(TELLS, *TRUST)
    with Peer(server.port) as peer:
        peer.open(headers=[("X-Forwarded-For", "192.0.2.77")])
        peer.message()
        peer.frame(3)
        assert peer.closed()[0] == 1002
    server.wait_log(lambda r: "client 192.0.2.77 closed" in r["msg"])


# ---- the origin behind a proxy

def test_the_host_that_a_trusted_proxy_names_is_the_pages_own(serve):
    server = serve(TELLS, *TRUST)
    origin = ("Origin", "https://chat.example")
    with Peer(server.port) as peer:
        peer.send(peer.request(headers=[origin]))
        assert peer.response().status == 403
    assert told(server, [origin, ("X-Forwarded-Host", "chat.example")])[2] == (
        "chat.example")
    for host in ("other.example", "chat.example, chat.example",
                 "chat.example:8443", "chat.example/"):
        with Peer(server.port) as peer:
            peer.send(peer.request(headers=[
                origin, ("X-Forwarded-Host", host)]))
            assert peer.response().status == 403, host
    with Peer(server.port) as peer:     # what the inner Host says is no more
        peer.send(peer.request(headers=[
            ("Origin", "http://" + peer.host),
            ("X-Forwarded-Host", "chat.example")]))
        assert peer.response().status == 403


# ---- PROXY headers

PROXY = [*TRUST, "--proxy-protocol"]


@pytest.mark.parametrize("way", ["whole", "bytes"])
@pytest.mark.parametrize("header, client", [
    (b"PROXY TCP4 192.0.2.9 198.51.100.1 1234 443\r\n", "192.0.2.9"),
    (b"PROXY TCP6 2001:db8::9 2001:db8::1 1234 443\r\n", "2001:db8::9"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    (v2(), "192.0.2.9"),
    (v2(tlvs=b"\x04\x00\x05noop!"), "192.0.2.9"),
    (v2(command=0), "127.0.0.1"),
])
def test_a_proxy_header_says_who_the_client_is(serve, header, client, way):
    server = serve(TELLS, *PROXY)
    assert told(server, before=header, way=way) == (client, client, "HOST")


def test_who_is_named_by_a_proxy_header_is_believed_only_if_trusted(serve):
    server = serve(TELLS, *PROXY)
    forwarded = [("X-Forwarded-For", "192.0.2.1")]
    assert told(server, forwarded, before=v2("203.0.113.5"))[0] == (
        "203.0.113.5")
    assert told(server, forwarded, before=v2("10.1.2.3"))[0] == "192.0.2.1"
    assert told(server, forwarded, before=v2(command=0))[0] == "192.0.2.1"


def test_a_proxy_header_holds_for_the_whole_connection(serve):
    server = serve(TELLS, *PROXY, files={"index.html": "here"})
    with Peer(server.port, front=[v2("192.0.2.9")]) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        assert [peer.response().status for _ in range(2)] == [200, 200]
        peer.open()
        assert peer.message().startswith("192.0.2.9 ")


@pytest.mark.parametrize("bad, says", [
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PROXY"),
    (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n", "port"),
    (b"PROXY TCP9 1.2.3.4 1.2.3.4 1 2\r\n", "family"),
    (b"PROXY UNKNOWN " + b"x" * 100, "107 bytes"),
    (V2 + b"\x21\x11\xff\xff", "too long"),
    (V2 + b"\x31", "version"),
])
def test_a_wrong_proxy_header_is_answered_with_400(serve, bad, says):
    server = serve(TELLS, *PROXY)
    mark = server.mark()
    with Peer(server.port, tls=False) as peer:
        peer.send(bad)
        if wires.is_tls():      # nobody there speaks HTTP yet
            with contextlib.suppress(Ended):
                assert peer.finished() == b""
        else:
            response = peer.response()
            assert response.status == 400 and says in response.body.decode()
            assert peer.finished() == b""
    word = "cut off" if wires.is_tls() else "answered with 400"
    server.wait_log(lambda r: word in r["msg"] and says in r["msg"],
                    since=mark)


def test_a_proxy_header_that_never_ends_has_the_time_of_a_head(serve):
    server = serve(TELLS, *PROXY, "--head-time", "300ms")
    mark = server.mark()
    with Peer(server.port, tls=False) as peer:
        peer.send(b"PROXY TCP4 192.0.2.1")
        assert peer.finished() == b""
    server.wait_log(lambda r: "head-time (300 ms)" in r["msg"], since=mark)
    until(lambda: counters(server).get("connections", 0) == 0)

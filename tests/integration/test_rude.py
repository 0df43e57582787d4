"""Peers that are too many, too fast or too slow, and the limits they meet: each
has its setting, its word in the log and its number."""
import ssl
import time

import pytest

from support import wires
from support.lab import counters, lines
from support.wire import (BINARY, CLOSE, CONT, FACTOR, PING, PONG, TEXT, Ended,
                          Peer, encode, until)

WIRES = [wires.PLAIN, wires.TLS]

ECHO = """
function on_message(client, message) client:send(message) end
function on_close(client, code) log.info("closed", { code = code }) end
"""


def turned_away(server):
    """-> the status of somebody new, or what else became of them."""
    try:
        with Peer(server.port) as peer:
            peer.send(peer.request())
            return peer.response().status
    except (Ended, OSError):
        return "reset"


# ---- too many of one address

def test_an_address_has_so_many_connections_and_no_more(serve):
    server = serve(ECHO, "--address-connections", "3")
    peers = [Peer(server.port).open() for _ in range(3)]
    mark = server.mark()
    assert turned_away(server) in (429, "reset")
    line = server.wait_log(lambda r: "turned away" in r["msg"], since=mark)
    for word in ("127.0.0.1", "3 are there", "address-connections is 3"):
        assert word in line["msg"], line
    assert counters(server)["turned_away_total"] == 1
    peers[0].goodbye()
    peers[0].close()
    until(lambda: turned_away(server) == 101)
    for peer in peers[1:]:
        peer.text("here")
        assert peer.message() == "here"


def test_who_is_turned_away_is_told_429(serve):
    if wires.is_tls():
        pytest.skip("nobody shakes hands to say no")
    server = serve(ECHO, "--address-connections", "1")
    with Peer(server.port).open():
        with Peer(server.port) as peer:     # says nothing: no reset
            assert peer.response().status == 429
            assert peer.finished() == b""


def test_an_address_has_so_many_new_connections_a_second(serve):
    server = serve(ECHO, "--address-rate", "5/10")
    answers = [turned_away(server) for _ in range(20)]
    assert answers[:10] == [101] * 10
    assert set(answers[11:]) <= {429, "reset"}
    server.wait_log(
        lambda r: "address-rate is 5 per second, 10 at once" in r["msg"])
    time.sleep(0.5)
    assert turned_away(server) == 101


def test_those_behind_a_proxy_are_counted_each_for_themselves(serve):
    server = serve(ECHO, "--address-connections", "2", "--trust-proxy",
                   "127.0.0.1")

    def come(client):
        peer = Peer(server.port)
        peer.send(peer.request(headers=[("X-Forwarded-For", client)]))
        return peer, peer.response()

    here = []
    for client in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"):
        for _ in range(2 if "." in client else 1):
            peer, response = come(client)
            assert response.status == 101
            here.append(peer)
    mark = server.mark()
    for client in ("192.0.2.1", "2001:db8::ffff"):   # one /64 is one owner
        peer, response = come(client)
        assert response.status == 429 and b"too many" in response.body
        assert peer.finished() == b""
        server.wait_log(lambda r: client in r["msg"] and "address-connections"
                        in r["msg"], since=mark)
    here[0].reset()
    until(lambda: come("192.0.2.1")[1].status == 101)


def test_those_behind_a_proxy_header_are_counted_too(serve):
    server = serve(ECHO, "--address-connections", "1", "--trust-proxy",
                   "127.0.0.1", "--proxy-protocol")

    def come(client):
        return Peer(server.port, front=[
            b"PROXY TCP4 %s 192.0.2.100 1 2\r\n" % client])

    with come(b"192.0.2.1").open():
        mark = server.mark()
        if wires.is_tls():      # in front of which nobody can be told
            word = "turned away"
            with pytest.raises((ssl.SSLError, ConnectionError)):
                come(b"192.0.2.1")
        else:
            word = "answered with 429"
            with come(b"192.0.2.1") as second:
                second.send(second.request())
                assert second.response().status == 429
        server.wait_log(lambda r: "192.0.2.1 " + word in r["msg"], since=mark)
        with come(b"192.0.2.2").open() as third:
            third.text("here")
            assert third.message() == "here"


# ---- too fast

RATE = 'return { rate = { messages = "%s"%s } }'


def test_a_rate_is_a_brake_and_nothing_is_lost(serve):
    server = serve(ECHO, conf='return { rate = { messages = 100, burst = 50 } }')
    with Peer(server.port).open() as peer, \
            Peer(server.port).open() as other:
        begun = time.monotonic()
        peer.send(b"".join(encode(TEXT, b"%d" % i) for i in range(150)))
        other.text("here")
        assert other.message() == "here"
        assert time.monotonic() - begun < 0.7
        assert peer.messages(150) == [str(i) for i in range(150)]
        assert 0.8 < time.monotonic() - begun < 3 * FACTOR
    assert counters(server)["rate_pauses_total"] > 0


def test_bytes_have_a_rate_too(serve):
    server = serve(ECHO, conf='return { rate = { bytes = "100KB" } }')
    with Peer(server.port).open() as peer:
        begun = time.monotonic()
        for _ in range(5):
            peer.binary(b"x" * 100000)
        for _ in range(5):
            assert len(peer.message()) == 100000
        assert 1.5 < time.monotonic() - begun < 5 * FACTOR


FLOODS = {
    "texts": encode(TEXT, b"x"),
    "empty texts": encode(TEXT),
    "pings": encode(PING, b"p"),
    "pongs": encode(PONG),
    "tiny fragments": encode(TEXT, b"a", fin=False) +
    encode(CONT, b"b", fin=False) * 30 + encode(CONT),
    "pings between fragments": encode(TEXT, b"a", fin=False) +
    encode(PING) * 30 + encode(CONT),
}


def flood_until_closed(server, data, first=b""):
    """What the Close says that ends it; it takes about a second."""
    with Peer(server.port).open() as peer:
        peer.answers_pings = False
        peer.send(first)
        peer.sock.settimeout(0.2)
        begun = time.monotonic()
        closed = None
        while closed is None and time.monotonic() - begun < 20 * FACTOR:
            try:
                peer.send(data)
            except OSError:
                pass
            try:
                while closed is None:
                    frame = peer.next_frame()
                    if frame.opcode == CLOSE:
                        closed = frame.payload
            except (TimeoutError, OSError):
                pass
            except Ended:
                break
        assert time.monotonic() - begun > 0.8
        return closed


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_is_held_back_and_then_closed_with_1008(serve, what):
    server = serve(ECHO, "--rate-patience", "1s",
                   conf='return { rate = { messages = 200, burst = 100 } }')
    mark = server.mark()
    data = FLOODS[what] * (2000 // FLOODS[what].count(b"\x37") + 1)
    assert flood_until_closed(server, data) == b"\x03\xf0rate limit"
    line = server.wait_log(lambda r: "1008" in r["msg"], since=mark)
    for word in ("127.0.0.1", "rate.messages of 200 per second (100 at once)"):
        assert word in line["msg"], line
    now = counters(server)
    assert now["floods_closed_total"] == 1
    # In about a second, not more than the rate and the burst.
    assert now.get("messages_in_total", 0) < 100 + 200 * 4 * FACTOR


def test_fragments_count_as_they_come_not_when_their_message_ends(serve):
    """Of 33 bytes each, so that there may be any number of them."""
    server = serve(ECHO, "--rate-patience", "1s",
                   conf='return { rate = { messages = 200, burst = 100 } }')
    closed = flood_until_closed(server, encode(CONT, b"f" * 33, fin=False) * 200,
                                first=encode(BINARY, b"f", fin=False))
    assert closed == b"\x03\xf0rate limit"
    assert counters(server)["floods_closed_total"] == 1


def test_who_keeps_to_the_rate_is_never_closed(serve):
    server = serve(ECHO, "--rate-patience", "300ms",
                   conf='return { rate = { messages = 100, burst = 20 } }')
    with Peer(server.port).open() as peer:
        for round in range(4):
            for i in range(30):     # over the burst, but not for long
                peer.text("%d" % i)
            assert peer.messages(30) == [str(i) for i in range(30)]
            time.sleep(0.4)
        assert peer.goodbye() == (1000, "")


def test_a_flood_over_the_rate_of_its_address_is_closed_too(serve):
    server = serve(ECHO, "--rate-patience", "1s",
                   "--address-messages", "200/100")
    mark = server.mark()
    closed = flood_until_closed(server, encode(PING) * 2000)
    assert closed == b"\x03\xf0rate limit"
    line = server.wait_log(lambda r: "1008" in r["msg"], since=mark)
    assert "address-messages of 200 per second (100 at once)" in line["msg"]
    assert counters(server)["floods_closed_total"] == 1


def test_all_clients_of_an_address_share_its_rate(serve):
    server = serve(ECHO, "--address-messages", "100/50")
    with Peer(server.port).open() as a, Peer(server.port).open() as b:
        begun = time.monotonic()
        for peer in (a, b):
            peer.send(b"".join(encode(TEXT, b"%d" % i) for i in range(100)))
        for peer in (a, b):
            assert peer.messages(100) == [str(i) for i in range(100)]
        assert 1.2 < time.monotonic() - begun < 5 * FACTOR


def test_a_ping_flood_of_one_who_does_not_read_costs_little(serve):
    server = serve(ECHO)
    with Peer(server.port, rcvbuf=4096).open() as peer:
        peer.sock.settimeout(0.5)
        try:
            for _ in range(200):
                peer.send(encode(PING, b"p" * 125) * 100)
        except TimeoutError:
            pass
        with Peer(server.port).open() as other:
            other.text("here")
            assert other.message() == "here"
        peer.sock.settimeout(5 * FACTOR)
        assert peer.next_frame().opcode == PONG


def test_a_reload_changes_the_rate_of_those_who_are_there(serve):
    server = serve(ECHO)
    with Peer(server.port).open() as peer:
        peer.send(encode(TEXT, b"x") * 300)
        peer.messages(300)
        mark = server.mark()
        server.write("app.conf.lua",
                     "return { rate = { messages = 50, burst = 10 } }")
        server.wait_log(lambda r: r.get("event") == "reload", since=mark)
        begun = time.monotonic()
        peer.send(encode(TEXT, b"x") * 50)
        peer.messages(50)
        assert time.monotonic() - begun > 0.5


# ---- too slow

def drip(peer, data, pause=0.1):
    """One byte after the other until the server says something."""
    for i in range(len(data)):
        try:
            peer.send(data[i:i + 1])
        except OSError:
            return
        if not peer.is_silent(pause):
            return


SLOW = ["--slow-time", "1s", "--slow-bytes", "100"]


@pytest.mark.parametrize("data", [
    encode(TEXT, b"x" * 1000), encode(PING, b"x" * 100),
    encode(BINARY, b"", fin=False) + encode(CONT, b"", fin=False) * 200])
def test_a_message_at_ten_bytes_a_second_is_closed_with_1008(serve, data):
    server = serve(ECHO, *SLOW)
    mark = server.mark()
    with Peer(server.port).open() as peer:
        begun = time.monotonic()
        drip(peer, data)
        assert peer.closed() == (1008, "a message came too slowly")
        assert 0.9 < time.monotonic() - begun < 4 * FACTOR
    line = server.wait_log(lambda r: "1008" in r["msg"], since=mark)
    for word in ("127.0.0.1", "slow-bytes (100)", "slow-time (1000 ms)"):
        assert word in line["msg"]
    assert counters(server)["slow_input_closed_total"] == 1


def test_a_message_that_comes_slowly_but_comes_is_fine(serve):
    server = serve(ECHO, *SLOW)
    with Peer(server.port).open() as peer:
        data = encode(TEXT, b"x" * 1000)
        peer.drip(data, 40, 0.1)        # 400 bytes a second, for 2.5 s
        assert peer.message() == "x" * 1000
        for _ in range(12):             # and small ones, none of them slow
            peer.drip(encode(TEXT, b"y"), 4, 0.05)
            assert peer.message() == "y"


def test_time_in_which_the_server_does_not_read_is_not_the_clients(serve):
    server = serve("""
function on_message(client, message)
  if message == "wait" then sleep(2.5) end
  client:send(message)
end
""", *SLOW)
    with Peer(server.port).open() as peer:
        peer.send(encode(TEXT, b"wait") + encode(TEXT, b"m") * 100 +
                  encode(TEXT, b"x" * 20)[:-1])
        time.sleep(2)
        peer.send(encode(TEXT, b"x" * 20)[-1:])
        assert peer.messages(102) == ["wait"] + ["m"] * 100 + ["x" * 20]


def test_slow_time_0_waits_for_ever(serve):
    server = serve(ECHO, "--slow-time", "0", conf='return { ping = "100ms" }')
    with Peer(server.port).open() as peer:
        data = encode(TEXT, b"x" * 20)
        for i in range(len(data)):
            peer.send(data[i:i + 1])
            peer.is_silent(0.05)
        assert peer.message() == "x" * 20


def test_a_slow_head_has_the_time_that_is_set(serve):
    server = serve(ECHO, "--head-time", "500ms")
    mark = server.mark()
    with Peer(server.port) as peer:
        begun = time.monotonic()
        drip(peer, peer.request(), 0.05)
        assert peer.response().status == 408
        assert 0.4 < time.monotonic() - begun < 2 * FACTOR
    server.wait_log(lambda r: "408" in r["msg"] and "head-time is 500 ms" in
                    r["msg"], since=mark)


# What has not come as far as a head: it cannot be answered, only logged.
@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01\x02"])
def test_who_asks_for_nothing_is_cut_off_and_the_log_says_why(serve, begun):
    server = serve(ECHO, "--head-time", "500ms")
    if begun and not server.is_tls:
        pytest.skip("a piece of a TLS handshake, without TLS")
    mark = server.mark()
    with Peer(server.port, tls=False) as peer:
        peer.send(begun)
        begun_at = time.monotonic()
        assert peer.finished() == b""
        assert 0.4 < time.monotonic() - begun_at < 2 * FACTOR
    server.wait_log(lambda r: "127.0.0.1 cut off" in r["msg"] and
                    "head-time (500 ms)" in r["msg"], since=mark)


def test_who_does_not_take_an_answer_is_cut_off_and_the_log_says_why(serve):
    server = serve(ECHO, "--idle-time", "500ms",
                   files={"big": "x" * (8 << 20)})
    mark = server.mark()
    with Peer(server.port, rcvbuf=4096) as peer:
        peer.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_log(lambda r: "127.0.0.1 cut off" in r["msg"] and
                        "idle-time (500 ms)" in r["msg"], since=mark)


@pytest.mark.parametrize("extra, says", [
    (b"X: " + b"x" * 2000, "max-head is 2048"),
    (b"\r\n".join(b"X-%d: x" % i for i in range(20)), "max-headers is 20")])
def test_a_head_has_the_size_that_is_set(serve, extra, says):
    server = serve(ECHO, "--max-head", "2KB", "--max-headers", "20")
    mark = server.mark()
    with Peer(server.port) as peer:
        peer.send(peer.request()[:-2] + extra + b"\r\n\r\n")
        assert peer.response().status == 431
    server.wait_log(lambda r: "431" in r["msg"] and says in r["msg"],
                    since=mark)


def test_an_idle_connection_is_kept_as_long_as_is_set(serve):
    server = serve(ECHO, "--idle-time", "400ms", files={"index.html": "x"})
    with Peer(server.port) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.response().status == 200
        begun = time.monotonic()
        assert peer.finished() == b""
        assert 0.3 < time.monotonic() - begun < 2 * FACTOR


def test_closes_without_a_fin_leave_nothing_behind(serve):
    server = serve(ECHO, conf='return { ping = "100ms" }')
    for _ in range(50):
        peer = Peer(server.port).open()
        peer.send(encode(TEXT, b"x", length=100))
        peer.reset()
    until(lambda: counters(server).get("connections", 0) == 0)

"""Peers that end their side and go on listening, and peers that end in the
midst of anything.

A FIN says that nothing more will come. What came whole before it is delivered
and answered, if its handlers do not wait for something; what had been queued
before that leaves, a Close included; then the server ends its side, too. The
app hears 1006, unless there was a Close (RFC 6455 7.1.5)."""
import json

import pytest

from support import wires
from support.lab import IS_TINY, counters, not_tiny
from support.wire import (CLOSE, CONT, PING, PONG, TEXT, Ended, Peer,
                          close_payload, encode, until)

WIRES = wires.ALL

PLACES = {"home": ("--workers", "1"),
          "far": ("--workers", "2", "--placement", "spread")}

COUNTS = """
local open, closed, codes = 0, 0, {}
function on_open(client)
  if client.path ~= "/ask" then open = open + 1 end
end
function on_close(client, code)
  if client.path == "/ask" then return end
  closed = closed + 1
  codes[tostring(code)] = (codes[tostring(code)] or 0) + 1
end
local function count(client)
  client:send { open = open, closed = closed, codes = codes }
end
"""
ECHO = COUNTS + """
function on_message(client, message)
  if message == "count" then return count(client) end
  client:send(message)
end
"""
# How on_connect decides: not at all, at once, after a while.
DECIDES = {
    "nobody asks": "",
    "at once": "function on_connect() return true end\n",
    "later": "function on_connect() sleep(0.05) return true end\n",
}


@pytest.fixture(params=PLACES)
def place(request):
    return PLACES[request.param]


def told(server, closed):
    """What the app has counted, when so many have gone, but for who asks."""
    def ask():
        with Peer(server.port).open("/ask") as peer:
            peer.text("count")
            counts = json.loads(peer.message())
            assert peer.goodbye() == (1000, "")
        return counts if counts["closed"] >= closed else None

    until(lambda: counters(server).get("connections", 0) == 0)
    counts = until(ask)
    assert counts["open"] == counts["closed"] == closed
    return counts["codes"]


def frames_of(peer):
    """-> (frames, how it ended) without a word of ours."""
    frames = []
    while True:
        try:
            frames.append(peer.next_frame())
        except Ended as end:
            return frames, "reset" if end.reset else "fin"


def words(n):
    return b"".join(encode(TEXT, b"%d" % i) for i in range(n))


# ---- behind the request

@pytest.mark.parametrize("how", DECIDES)
def test_request_words_and_fin_in_one_go_are_answered(serve, place, how):
    server = serve(ECHO + DECIDES[how], *place)
    for _ in range(4):
        with Peer(server.port) as peer:
            peer.send(peer.request() + words(20))
            peer.half_close()
            assert peer.response().status == 101
            frames, end = frames_of(peer)
            assert [f.payload for f in frames] == [
                b"%d" % i for i in range(20)]
            assert end == "fin"
    assert told(server, 4) == {"1006": 4}


@pytest.mark.parametrize("how", DECIDES)
def test_a_close_behind_them_is_answered_too(serve, place, how):
    server = serve(ECHO + DECIDES[how], *place)
    with Peer(server.port) as peer:
        peer.send(peer.request() + words(5) +
                  encode(CLOSE, close_payload(4000)))
        peer.half_close()
        assert peer.response().status == 101
        frames, end = frames_of(peer)
        assert [f.payload for f in frames] == [
            b"0", b"1", b"2", b"3", b"4", close_payload(4000)]
        assert end == "fin"


def test_who_is_refused_hears_so_behind_its_fin(serve, place):
    server = serve("function on_connect() sleep(0.1) return nil, 403, 'no' end",
                   *place)
    with Peer(server.port) as peer:
        peer.send(peer.request() + words(5))
        peer.half_close()
        response = peer.response()
        assert response.status == 403 and response.body == b"no\n"


# ---- at any byte

@pytest.mark.parametrize("how", ["at once", "later"])
def test_a_fin_at_any_byte_answers_what_was_whole(serve, place, how):
    server = serve(ECHO + DECIDES[how], *place)
    said = [encode(TEXT, b"one"), encode(PING, b"two"),
            encode(TEXT, b"th", fin=False), encode(CONT, b"ree"),
            encode(CLOSE, close_payload(4001))]
    want = [(TEXT, b"one"), (PONG, b"two"), None, (TEXT, b"three"),
            (CLOSE, close_payload(4001))]
    data = b"".join(said)
    ends = [sum(map(len, said[:i + 1])) for i in range(len(said))]
    for at in range(len(data) + 1):
        with Peer(server.port) as peer:
            head = peer.request()
            if at % 2:      # with the request, or behind the 101
                peer.send(head + data[:at])
                peer.half_close()
                assert peer.response().status == 101
            else:
                peer.send(head)
                assert peer.response().status == 101
                peer.send(data[:at])
                peer.half_close()
            frames, end = frames_of(peer)
            assert end == "fin", at
            whole = [w for w, e in zip(want, ends) if e <= at and w]
            assert sorted((f.opcode, f.payload) for f in frames) == sorted(
                whole), at
    assert told(server, len(data) + 1) == {"1006": len(data), "4001": 1}


@pytest.mark.parametrize("leave", [Peer.half_close, Peer.close, Peer.reset])
def test_an_end_at_any_byte_of_the_handshake_is_no_client(serve, leave):
    server = serve(ECHO)
    with Peer(server.port) as peer:
        n = len(peer.request())
    for at in range(0, n, 3 if not IS_TINY else 20):
        with Peer(server.port) as peer:
            peer.send(peer.request()[:at])
            leave(peer)
            if leave is Peer.half_close:
                assert peer.finished() == b""
    assert told(server, 0) == {}


# ---- behind a backlog

BUSY = COUNTS + """
function on_message(client, message)
  if message == "count" then return count(client) end
  local ends = os.clock() + 0.002
  while os.clock() < ends do end
  client:send(message)
end
"""


@pytest.mark.parametrize("last", ["fin", "close"])
def test_what_an_app_has_not_come_to_yet_is_answered(serve, place, last):
    """Others come and go meanwhile, and the inbox is full more than once."""
    server = serve(BUSY, *place)
    count = 300
    with Peer(server.port).open() as peer, Peer(server.port).open() as other:
        peer.send(words(count) + (
            encode(CLOSE, close_payload(4000)) if last == "close" else b""))
        peer.half_close()
        for i in range(5):
            other.text("here %d" % i)
            assert other.message() == "here %d" % i
        frames, end = frames_of(peer)
        got = [f.payload for f in frames]
        if last == "close":
            assert got.pop() == close_payload(4000)
        assert got == [b"%d" % i for i in range(count)]
        assert end == "fin"
    assert told(server, 2) == {
        "1006": 2} if last == "fin" else {"1006": 1, "4000": 1}


def test_what_has_been_queued_leaves_behind_a_fin(serve, place):
    """Also when it is we who close: all of it, and the Close."""
    size = 2000 if IS_TINY else 400_000
    server = serve("""
function on_message(client, message)
  client:send(("x"):rep(%d))
  client:send("last")
  if message == "close" then client:close(4007, "so long") end
end
""" % size, *place)
    for word in ("go", "close"):
        with Peer(server.port, rcvbuf=4096).open() as peer:
            peer.text(word)
            peer.half_close()
            frames, end = frames_of(peer)
            assert end == "fin"
            assert [len(f.payload) for f in frames[:2]] == [size, 4]
            if word == "close":
                assert frames[2].payload == close_payload(4007, "so long")
            assert len(frames) == (3 if word == "close" else 2)
    until(lambda: counters(server).get("connections", 0) == 0)


def test_a_handler_that_waits_is_not_waited_for(serve, place):
    server = serve(COUNTS + """
function on_message(client, message)
  if message == "count" then return count(client) end
  client:send("begun")
  sleep(0.5)
  log.info("done", { sent = tostring(client:send("done")) })
end
""", *place)
    with Peer(server.port).open() as peer:
        peer.text("go")
        assert peer.message() == "begun"
        peer.half_close()
        assert frames_of(peer) == ([], "fin")
    line = server.wait_log(lambda r: r["msg"] == "done")
    assert line["sent"] == "nil"
    assert told(server, 1) == {"1006": 1}


@not_tiny       # where an RST overtakes what has not been read
def test_who_listens_no_more_ends_behind_its_words(serve, place):
    """It has gone for good: what it said is heard, and that it has gone."""
    server = serve(BUSY + """
local heard = 0
local before = on_message
function on_message(client, message)
  if message ~= "count" then heard = heard + 1 end
  before(client, message)
end
function on_stop() log.info("heard " .. heard) end
""", *place)
    for leave in (Peer.close, Peer.reset):
        with Peer(server.port).open() as peer:
            peer.send(words(100))
            leave(peer)
    assert told(server, 2) == {"1006": 2}
    server.stop()
    line = server.wait_log(lambda r: r["msg"].startswith("heard "))
    assert int(line["msg"].split()[1]) >= 100   # an RST may take some along

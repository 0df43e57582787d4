"""Peers that go on as if nothing had ended: behind our Close, behind their own,
and behind a violation. All of it is read over, at the cost of its headers; it
takes no memory and nobody's turn, and ends when `closing` is over, whatever
comes."""
import os
import statistics
import threading
import time

import pytest

from support import wires
from support.lab import IS_ASAN, IS_TINY, counters, forget_peak, memory
from support.wire import (BINARY, CLOSE, CONT, FACTOR, PING, PONG, TEXT, Ended,
                          Peer, close_payload, encode, until)

WIRES = wires.ALL

APP = """
function on_message(client, message)
  if message == "close" then client:close(4001) else client:send(message) end
end
"""
CLOSING_S = 1.0
CONF = 'return { closing = "1s" }'
MIB = 1 << 20
PART = 64 << 10


def packed(payload):
    import zlib
    z = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (z.compress(payload) + z.flush(zlib.Z_SYNC_FLUSH))[:-4]


def many(*frames):
    block = b"".join(frames)
    return block * max(1, PART // len(block))


FLOODS = {
    "pings": lambda: many(encode(PING)),
    "long pings": lambda: many(encode(PING, b"x" * 125)),
    "pongs": lambda: many(encode(PONG)),
    "empty texts": lambda: many(encode(TEXT)),
    "texts that are none": lambda: many(encode(TEXT, b"\xff" * 50)),
    "big messages": lambda: encode(BINARY, bytes(1000 << 10)),
    "a message without end": lambda: many(encode(TEXT, b"x" * 999, fin=False),
                                          encode(CONT, b"x"), encode(PING)),
    # About 60 MiB in 64 KiB.
    "bombs": lambda: many(encode(
        TEXT, packed(b"a" * 1000 * 1000), rsv=4 if wires.is_packed() else 0)),
    "noise": lambda: os.urandom(PART),
}


class Flood(threading.Thread):
    """Writes until it is cut off; -> ended: when that was. Two threads may
    use one socket, but not one TLS session, so with TLS nobody reads."""

    def __init__(self, peer, block):
        super().__init__(daemon=True)
        self.peer, self.block, self.ended = peer, block, None
        peer.sock.settimeout(20 * FACTOR)
        self.start()
        if not wires.is_tls():
            threading.Thread(target=self.read, daemon=True).start()

    def run(self):
        try:
            while True:
                self.peer.send(self.block)
        except OSError:
            self.ended = time.monotonic()

    def read(self):
        try:
            while self.peer.sock.recv(1 << 16):
                pass
        except OSError:
            pass


def flood(server, peer, block, other, begun):
    """-> seconds from `begun` until it was cut off, what `other` waited for
    its answers meanwhile (median), and the memory that it all took."""
    mark = server.mark()
    forget_peak(server.pid)
    before, _ = memory(server.pid)
    thread = Flood(peer, block)
    took = []
    while thread.is_alive() or len(took) < 3:
        since = time.monotonic()
        other.text("here")
        assert other.message() == "here"
        took.append(time.monotonic() - since)
        time.sleep(0.01)
    server.wait_log(lambda r: "closing (1000 ms)" in r["msg"], since=mark)
    until(lambda: counters(server)["connections"] == 1)
    return (thread.ended - begun, statistics.median(took),
            memory(server.pid)[1] - before)


def check(seconds, median, grown):
    assert CLOSING_S - 0.1 < seconds < CLOSING_S + 0.7 * FACTOR
    if not IS_TINY:     # where a turn reads seven bytes, and takes its time
        assert median < 0.02 * FACTOR
    if not IS_ASAN:     # which keeps what is freed
        assert grown < 4 * MIB


@pytest.mark.parametrize("what", [w for w in FLOODS if w != "noise"])
def test_a_flood_behind_our_close_ends_with_the_close_time(serve, what):
    server = serve(APP, "--workers", "1", conf=CONF)
    with Peer(server.port).open() as other, Peer(server.port).open() as peer:
        peer.text("close")
        begun = time.monotonic()
        assert peer.next_frame().payload == close_payload(4001)
        check(*flood(server, peer, FLOODS[what](), other, begun))


@pytest.mark.parametrize("first", ["their Close", "a violation"])
def test_a_flood_behind_the_end_ends_with_the_close_time(serve, first):
    server = serve(APP, "--workers", "1", conf=CONF)
    with Peer(server.port).open() as other, Peer(server.port).open() as peer:
        begun = time.monotonic()
        if first == "a violation":
            peer.frame(3)
        else:
            peer.frame(CLOSE, close_payload(1000))
        check(*flood(server, peer, FLOODS["noise"](), other, begun))


def test_who_answers_late_has_no_second_close_time(serve):
    server = serve(APP, "--workers", "1", conf=CONF)
    with Peer(server.port).open() as other, Peer(server.port).open() as peer:
        peer.text("close")
        begun = time.monotonic()
        assert peer.next_frame().payload == close_payload(4001)
        time.sleep(0.7 * CLOSING_S)
        peer.frame(CLOSE, close_payload(4001))
        seconds, *_ = flood(server, peer, FLOODS["noise"](), other, begun)
        assert seconds < CLOSING_S + 0.4 * FACTOR


def test_a_message_in_the_midst_of_which_we_close_is_let_go(serve):
    """What has come of it is given back soon, not when the peer ends."""
    server = serve("""
function on_message(client) clients.get(1):close(4001) client:send("done") end
""", "--workers", "1", conf="""
return { closing = "20s", message = { max = "32MB" } }""")
    size = (MIB if IS_TINY else 24 * MIB)
    with Peer(server.port).open() as peer, Peer(server.port).open() as other:
        before, _ = memory(server.pid)
        peer.send(encode(BINARY, os.urandom(size), fin=False))
        peer.frame(PING)
        peer.pong()
        held = memory(server.pid)[0] - before
        other.text("close the first")
        assert other.message() == "done"
        assert peer.next_frame().opcode == CLOSE
        if not IS_ASAN and not IS_TINY:   # which keeps what is freed
            assert held > size
            until(lambda: memory(server.pid)[0] - before < 4 * MIB,
                  seconds=5, what="for its memory to go back")
        peer.send(encode(CONT, b"end") + encode(PING, b"?"))
        assert peer.pong() == b"?"
        assert peer.goodbye(4001) == "fin"

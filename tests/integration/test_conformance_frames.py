"""The protocol by the book, first half: what the Autobahn TestSuite names in
its sections 1 to 5 (framing, pings and pongs, reserved bits, opcodes,
fragmentation), with the strict outcome of each and no other.

Every case runs three times: in one write, frame by frame, byte by byte. What
the server says must be the same. docs/CONFORMANCE.md names these tests.
"""
import pytest

from conftest import stop_well, write_app
from support import wires
from support.lab import not_tiny
from support.server import Server
from support.wire import (BINARY, CLOSE, CONT, PING, PONG, TEXT, Peer,
                          close_payload, encode)

WIRES = wires.ALL

ECHO = """
function on_message(client, message, is_binary)
  client:send(message, { binary = is_binary })
end
"""

WAYS = ["whole", "frames", "bytes"]


@pytest.fixture(scope="module")
def server(tmp_path_factory, wire):
    app = write_app(tmp_path_factory.mktemp("book") / "app", ECHO)
    server = Server(app, "--drain", "0s")
    yield server
    stop_well(server)


def send(peer, frames, way):
    """Frames (bytes each) out; a server that has ended already is no error
    here, since what it said is what counts."""
    try:
        if way == "whole":
            peer.send(b"".join(frames))
        elif way == "frames":
            for frame in frames:
                peer.send(frame)
        else:
            peer.drip(b"".join(frames))
    except OSError:
        pass


def heard(server, frames, way):
    """-> [(opcode, payload)] of all that comes back, a Close frame last:
    (CLOSE, code), or "fin" or "reset" where there was none. The frames end in
    a Close or in a fault, so the server's FIN waits for nothing of ours."""
    with Peer(server.port).open() as peer:
        peer.answers_pings = False
        send(peer, frames, way)
        back, how = peer.rest(answers_close=False)
        assert not peer.was_reset
        end = (CLOSE, how[0]) if isinstance(how, tuple) else how
        return [(f.opcode, f.payload) for f in back] + [end]


def goodbye(code=1000):
    return encode(CLOSE, close_payload(code))


def fragments(opcode, *parts):
    last = len(parts) - 1
    return [encode(opcode if i == 0 else CONT, part, fin=i == last)
            for i, part in enumerate(parts)]


# ---- 1: framing

SIZES = [0, 125, 126, 127, 128, 65535, 65536]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode, byte", [(TEXT, b"*"), (BINARY, b"\xfe")])
def test_1_messages_of_each_length_come_back(server, opcode, byte, size):
    data = byte * size
    assert heard(server, [encode(opcode, data), goodbye()], "whole") == [
        (opcode, data), (CLOSE, 1000)]


@pytest.mark.parametrize("opcode, byte", [(TEXT, b"*"), (BINARY, b"\xfe")])
def test_1_a_message_in_chops_of_997_bytes_comes_back(server, opcode, byte):
    with Peer(server.port).open() as peer:
        peer.drip(encode(opcode, byte * 65536), 997)
        frame = peer.next_frame()
        assert (frame.opcode, frame.payload) == (opcode, byte * 65536)
        assert peer.goodbye() == (1000, "")


@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff",
                                  b"\x01\x02\x03\x04"])
def test_1_any_mask_is_taken_off(server, mask):
    assert heard(server, [encode(TEXT, b"hello", mask=mask), goodbye()],
                 "whole") == [(TEXT, b"hello"), (CLOSE, 1000)]


# ---- 2: pings and pongs

@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("payload", [
    b"", b"Hello, world!", b"\0\xff\xfe\xfd\xfc\xfb\0\xff", b"\xfe" * 125])
def test_2_a_ping_is_answered_with_its_payload(server, payload, way):
    assert heard(server, [encode(PING, payload), goodbye()], way) == [
        (PONG, payload), (CLOSE, 1000)]


@pytest.mark.parametrize("way", WAYS)
def test_2_a_ping_of_126_bytes_is_1002(server, way):
    assert heard(server, [encode(PING, b"\xfe" * 126)], way) == [(CLOSE, 1002)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("payload", [b"", b"unsolicited"])
def test_2_a_pong_that_nobody_asked_for_is_no_event(server, payload, way):
    assert heard(server, [encode(PONG, payload), encode(PING, b"and on"),
                          goodbye()], way) == [
        (PONG, b"and on"), (CLOSE, 1000)]


@not_tiny       # where it lags at once, and gets the newest alone
@pytest.mark.parametrize("way", WAYS)
def test_2_ten_pings_are_answered_in_order(server, way):
    payloads = [b"payload-%d" % i for i in range(10)]
    assert heard(server, [encode(PING, p) for p in payloads] + [goodbye()],
                 way) == [*((PONG, p) for p in payloads), (CLOSE, 1000)]


@not_tiny
@pytest.mark.parametrize("way", WAYS)
def test_2_pings_among_messages_are_each_answered(server, way):
    """Also where answers of both kinds leave in one go."""
    frames, pongs = [], []
    for i in range(25):
        frames += [encode(TEXT, b"text %d" % i), encode(PING, b"ping %d" % i),
                   encode(PING), encode(BINARY, b"x" * i)]
        pongs += [b"ping %d" % i, b""]
    back = heard(server, frames + [goodbye()], way)
    assert back.pop() == (CLOSE, 1000)
    assert [p for op, p in back if op == PONG] == pongs
    assert [p for op, p in back if op == TEXT] == [
        b"text %d" % i for i in range(25)]
    assert len(back) == 100


# ---- 3: reserved bits

@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_3_a_reserved_bit_is_1002_and_nothing_behind_it_is_heard(
        server, opcode, rsv, way):
    if rsv == 4 and opcode in (TEXT, BINARY) and wires.is_packed():
        pytest.skip("that says that the message is compressed")
    payload = close_payload(1000) if opcode == CLOSE else b"Hello"
    assert heard(server, [encode(TEXT, b"before"),
                          encode(opcode, payload, rsv=rsv), encode(PING)],
                 way) == [(TEXT, b"before"), (CLOSE, 1002)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rsv", range(1, 8))
def test_3_a_reserved_bit_on_a_continuation_is_1002(server, rsv, way):
    assert heard(server, [encode(TEXT, b"a", fin=False),
                          encode(CONT, b"b", rsv=rsv)], way) == [
        (CLOSE, 1002)]


# ---- 4: opcodes

@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("payload", [b"", b"reserved opcode payload"])
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_4_a_reserved_opcode_is_1002_behind_what_came_before(
        server, opcode, payload, way):
    assert heard(server, [encode(TEXT, b"Hello"), encode(opcode, payload),
                          encode(PING)], way) == [
        (TEXT, b"Hello"), (CLOSE, 1002)]


# ---- 5: fragmentation

@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_5_a_control_frame_in_two_fragments_is_1002(server, opcode, way):
    assert heard(server, fragments(opcode, b"frag", b"ment"), way) == [
        (CLOSE, 1002)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("parts", [
    (b"fragment1", b"fragment2"), (b"", b"", b""), (b"", b"middle", b""),
    tuple(b"%d" % i for i in range(50))])
def test_5_fragments_come_back_as_one_message(server, parts, opcode, way):
    assert heard(server, fragments(opcode, *parts) + [goodbye()], way) == [
        (opcode, b"".join(parts)), (CLOSE, 1000)]


@pytest.mark.parametrize("way", WAYS)
def test_5_a_ping_between_fragments_is_answered_before_the_message(
        server, way):
    first, last = fragments(TEXT, b"fragment1", b"fragment2")
    assert heard(server, [first, encode(PING, b"ping"), last, goodbye()],
                 way) == [(PONG, b"ping"), (TEXT, b"fragment1fragment2"),
                          (CLOSE, 1000)]


@pytest.mark.parametrize("way", WAYS)
def test_5_pings_between_five_fragments_are_each_answered(server, way):
    parts = fragments(TEXT, *(b"fragment%d" % i for i in range(1, 6)))
    frames = []
    for i, part in enumerate(parts):
        frames += [part, encode(PING, b"pongme %d!" % i)]
    assert heard(server, frames[:-1] + [goodbye()], way) == [
        *((PONG, b"pongme %d!" % i) for i in range(4)),
        (TEXT, b"".join(b"fragment%d" % i for i in range(1, 6))),
        (CLOSE, 1000)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_5_a_continuation_of_nothing_is_1002(server, opcode, fin, way):
    assert heard(server, [encode(CONT, b"non-continuation", fin=fin),
                          encode(opcode, b"Hello")], way) == [(CLOSE, 1002)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fin", [True, False])
def test_5_a_continuation_behind_the_last_fragment_is_1002(server, fin, way):
    assert heard(server, fragments(TEXT, b"fragment1", b"fragment2") +
                 [encode(CONT, b"fragment3", fin=fin),
                  encode(TEXT, b"fragment4")], way) == [
        (TEXT, b"fragment1fragment2"), (CLOSE, 1002)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("second", [TEXT, BINARY])
@pytest.mark.parametrize("first", [TEXT, BINARY])
def test_5_a_message_inside_a_fragmented_one_is_1002(
        server, first, second, fin, way):
    assert heard(server, [encode(first, b"fragment1", fin=False),
                          encode(second, b"fragment2", fin=fin)], way) == [
        (CLOSE, 1002)]


@pytest.mark.parametrize("way", WAYS)
def test_5_a_close_between_fragments_is_echoed_and_the_message_dropped(
        server, way):
    first, last = fragments(TEXT, b"fragment1", b"fragment2")
    assert heard(server, [first, goodbye(1001), last], way) == [
        (CLOSE, 1001)]


# ---- what Autobahn leaves out

@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_an_unmasked_frame_is_1002(server, opcode, way):
    payload = close_payload(1000) if opcode == CLOSE else b"x"
    assert heard(server, [encode(TEXT, b"before"),
                          encode(opcode, payload, mask=None)], way) == [
        (TEXT, b"before"), (CLOSE, 1002)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size, length_bytes", [
    (0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65535, 8)])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_length_that_is_not_minimal_is_1002(
        server, opcode, size, length_bytes, way):
    assert heard(server, [encode(TEXT, b"before"),
                          encode(opcode, b"", length=size,
                                 length_bytes=length_bytes)], way) == [
        (TEXT, b"before"), (CLOSE, 1002)]


@pytest.mark.parametrize("way", WAYS)
def test_a_length_with_the_top_bit_is_1002(server, way):
    assert heard(server, [encode(BINARY, b"", length=1 << 63,
                                 length_bytes=8)], way) == [(CLOSE, 1002)]


def test_no_frame_of_the_server_is_masked_or_longer_than_it_must_be(server):
    """The reader of support/wire.py refuses any that is."""
    with Peer(server.port).open() as peer:
        for size in SIZES:
            peer.text("x" * size)
            assert peer.message() == "x" * size
        assert peer.goodbye(1000, "x" * 123) == (1000, "")

"""The protocol by the book, second half: what the Autobahn TestSuite names in
its sections 6 (UTF-8, failed at the first wrong byte), 7 (closes), 9 (large
messages, many messages) and 10 (odd pieces). docs/CONFORMANCE.md names these
tests."""
import pytest

from conftest import stop_well, write_app
from support import wires
from support.lab import not_tiny
from support.server import Server
from support.wire import (BINARY, CLOSE, CONT, FACTOR, MASK, PING, PONG, TEXT,
                          Peer, close_payload, encode, masked)
from test_conformance_frames import (ECHO, WAYS, fragments, goodbye, heard)

WIRES = [wires.PLAIN, wires.TLS]

KOSME = "κόσμε".encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory, wire):
    app = write_app(tmp_path_factory.mktemp("book") / "app", ECHO,
                    'return { message = { max = "16MB" },\n'
                    '  outbox = { hard = "64MB", soft = 65536 } }')
    server = Server(app, "--drain", "0s")
    yield server
    stop_well(server)


# ---- 6: texts are UTF-8

@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("parts", [(b"",), (b"", b"", b""),
                                   (b"", b"middle frame payload", b"")])
def test_6_empty_texts_and_fragments_come_back(server, parts, way):
    assert heard(server, fragments(TEXT, *parts) + [goodbye()], way) == [
        (TEXT, b"".join(parts)), (CLOSE, 1000)]


VALID = {
    "mixed": "Hello-µ@ßöäüàá-UTF-8!!".encode(),
    "kosme": KOSME,
    "NUL": b"\0",
    "first of two bytes": b"\xc2\x80",
    "first of three bytes": b"\xe0\xa0\x80",
    "first of four bytes": b"\xf0\x90\x80\x80",
    "last of one byte": b"\x7f",
    "last of two bytes": b"\xdf\xbf",
    "last of three bytes": b"\xef\xbf\xbf",
    "last of all": b"\xf4\x8f\xbf\xbf",
    "before the surrogates": b"\xed\x9f\xbf",
    "behind the surrogates": b"\xee\x80\x80",
    "the replacement character": b"\xef\xbf\xbd",
    **{"no character %x" % c: chr(c).encode()
       for plane in range(0x11) for c in (plane << 16 | 0xfffe,
                                          plane << 16 | 0xffff)},
}


@pytest.mark.parametrize("what", VALID)
def test_6_any_right_text_comes_back_however_it_is_cut(server, what):
    data = VALID[what]
    one_by_one = fragments(TEXT, *(data[i:i + 1] for i in range(len(data))))
    for frames, way in (([encode(TEXT, data)], "whole"),
                        ([encode(TEXT, data)], "bytes"),
                        (one_by_one, "frames"),
                        (fragments(TEXT, data[:1], data[1:]), "whole")):
        assert heard(server, frames + [goodbye()], way) == [
            (TEXT, data), (CLOSE, 1000)]


# What is wrong, and at which of its bytes: nothing that follows could make it
# right.
INVALID = {
    "the suite's own": (KOSME + b"\xed\xa0\x80edited",
                        len(KOSME) + 1),
    "five bytes": (b"\xf8\x88\x80\x80\x80", 0),
    "six bytes": (b"\xfc\x84\x80\x80\x80\x80", 0),
    "the last of four bytes": (b"\xf7\xbf\xbf\xbf", 0),
    "beyond U+10FFFF": (b"\xf4\x90\x80\x80", 1),
    "a continuation": (b"\x80", 0),
    "the last continuation": (b"\xbf", 0),
    "two continuations": (b"\x80\xbf", 0),
    "all continuations": (bytes(range(0x80, 0xc0)), 0),
    "first bytes with spaces": (b"\xc2 \xc3 ", 1),
    "three bytes and a space": (b"\xe1\x80 ", 2),
    "four bytes and a space": (b"\xf1\x80\x80 ", 3),
    "0xfe": (b"\xfe", 0),
    "0xff": (b"ab\xff", 2),
    "overlong slash in two": (b"\xc0\xaf", 0),
    "overlong slash in three": (b"\xe0\x80\xaf", 1),
    "overlong slash in four": (b"\xf0\x80\x80\xaf", 1),
    "the last overlong in two": (b"\xc1\xbf", 0),
    "the last overlong in three": (b"\xe0\x9f\xbf", 1),
    "the last overlong in four": (b"\xf0\x8f\xbf\xbf", 1),
    "overlong NUL": (b"\xc0\x80", 0),
    "the first surrogate": (b"\xed\xa0\x80", 1),
    "the last surrogate": (b"\xed\xbf\xbf", 1),
    "a pair of surrogates": (b"\xed\xa0\x80\xed\xb0\x80", 1),
}


@pytest.mark.parametrize("what", INVALID)
def test_6_a_wrong_text_is_1007_however_it_is_cut(server, what):
    data, _ = INVALID[what]
    one_by_one = fragments(TEXT, *(data[i:i + 1] for i in range(len(data))))
    for frames, way in (([encode(TEXT, data)], "whole"),
                        ([encode(TEXT, data)], "bytes"),
                        (one_by_one, "frames"), (one_by_one, "bytes")):
        assert heard(server, [encode(TEXT, b"before")] + frames, way) == [
            (TEXT, b"before"), (CLOSE, 1007)]


@pytest.mark.parametrize("what", INVALID)
def test_6_a_wrong_text_fails_at_its_first_wrong_byte(server, what):
    """Nothing behind that byte is ever sent, neither of the frame nor of the
    message."""
    data, wrong_at = INVALID[what]
    for fin in (True, False):
        with Peer(server.port).open() as peer:
            body = masked(data, MASK)
            peer.send(encode(TEXT, b"", length=4000, fin=fin) +
                      body[:wrong_at])
            assert peer.is_silent(0.01)
            peer.send(body[wrong_at:wrong_at + 1])
            assert peer.closed()[0] == 1007


@pytest.mark.parametrize("what", INVALID)
def test_6_a_wrong_text_fails_in_the_first_fragment_that_holds_it(
        server, what):
    data, wrong_at = INVALID[what]
    with Peer(server.port).open() as peer:
        peer.send(encode(TEXT, data[:wrong_at], fin=False) +
                  encode(CONT, b"", fin=False))
        assert peer.is_silent(0.01)
        peer.send(encode(CONT, data[wrong_at:wrong_at + 1], fin=False))
        assert peer.closed()[0] == 1007


@pytest.mark.parametrize("data", [b"\xc2", b"\xe0\xa0", b"\xf0\x90\x80",
                                  b"a\xe2\x82", KOSME[:-1]])
def test_6_a_text_that_ends_inside_a_character_is_1007(server, data):
    for frames in ([encode(TEXT, data)], fragments(TEXT, data, b""),
                   fragments(TEXT, data[:-1], data[-1:])):
        assert heard(server, frames, "whole") == [(CLOSE, 1007)]


@pytest.mark.parametrize("way", WAYS)
def test_6_bytes_are_not_judged_as_text(server, way):
    data = b"".join(wrong for wrong, _ in INVALID.values())
    assert heard(server, fragments(BINARY, data[:7], data[7:]) + [goodbye()],
                 way) == [(BINARY, data), (CLOSE, 1000)]


# ---- 7: closes

@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("behind", [
    [], [goodbye(1001)], [encode(PING)], [encode(TEXT, b"behind")],
    [encode(CONT, b"behind")], [encode(3)], [encode(TEXT, b"\xff")]])
def test_7_nothing_behind_a_close_is_heard(server, behind, way):
    assert heard(server, [encode(TEXT, b"Hello World!"), goodbye(), *behind],
                 way) == [(TEXT, b"Hello World!"), (CLOSE, 1000)]


@not_tiny
def test_7_a_large_message_then_a_close_then_a_ping(server):
    data = b"BAsd7&jh23" * 26214
    assert heard(server, [encode(TEXT, data), goodbye(), encode(PING)],
                 "whole") == [(TEXT, data), (CLOSE, 1000)]


@pytest.mark.parametrize("way", WAYS)
def test_7_a_close_without_a_code_is_answered_without_one(server, way):
    assert heard(server, [encode(CLOSE)], way) == [(CLOSE, 1005)]


@pytest.mark.parametrize("way", WAYS)
def test_7_half_a_close_code_is_1002(server, way):
    assert heard(server, [encode(CLOSE, b"\x03")], way) == [(CLOSE, 1002)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("reason", [b"Hello World!", b"*" * 123,
                                    KOSME * 11])
def test_7_a_close_with_a_reason_is_answered_with_its_code(
        server, reason, way):
    payload = close_payload(1000) + reason
    assert heard(server, [encode(CLOSE, payload)], way) == [(CLOSE, 1000)]


@pytest.mark.parametrize("way", WAYS)
def test_7_a_close_reason_of_124_bytes_is_1002(server, way):
    payload = close_payload(1000) + b"*" * 124
    assert heard(server, [encode(CLOSE, payload)], way) == [(CLOSE, 1002)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", INVALID)
def test_7_a_close_reason_that_is_no_text_is_1007(server, what, way):
    payload = close_payload(1000) + INVALID[what][0]
    assert heard(server, [encode(CLOSE, payload)], way) == [(CLOSE, 1007)]


@pytest.mark.parametrize("code", [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
    3000, 3999, 4000, 4999])
def test_7_a_close_code_that_may_be_sent_is_echoed(server, code):
    assert heard(server, [goodbye(code)], "whole") == [(CLOSE, code)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("code", [
    0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_7_a_close_code_that_may_not_be_sent_is_1002(server, code, way):
    assert heard(server, [goodbye(code)], way) == [(CLOSE, 1002)]


ENDS = {"a Close": (encode(CLOSE, close_payload(1000)), 1000),
        "a wrong opcode": (encode(3), 1002),
        "a wrong text": (encode(TEXT, b"\xff"), 1007),
        "a message that is too big": (encode(BINARY, length=1 << 40), 1009)}


@not_tiny
@pytest.mark.parametrize("what", ENDS)
def test_7_a_megabyte_behind_the_end_does_not_reset_it(server, what):
    """Closing a socket with bytes unread sends an RST, which may overtake the
    Close frame and the answers before it."""
    end, code = ENDS[what]
    with Peer(server.port).open() as peer:
        try:
            peer.send(encode(TEXT, b"before") + end + b"\x00" * (1 << 20))
        except OSError:
            pass
        assert peer.message() == "before"
        frames, how = peer.rest(answers_close=False)
        assert how[0] == code and not frames and not peer.was_reset


# ---- 9: limits and performance

KIB, MIB = 1 << 10, 1 << 20


def echoed(server, opcode, frames, data):
    with Peer(server.port, timeout=60 * FACTOR).open() as peer:
        for frame in frames:
            peer.send(frame)
        frame = peer.next_frame()
        assert (frame.opcode, frame.payload == data) == (opcode, True)
        assert peer.goodbye() == (1000, "")


@not_tiny
@pytest.mark.parametrize("size", [64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB,
                                  16 * MIB])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_9_a_large_message_comes_back(server, opcode, size):
    data = b"*" * size
    echoed(server, opcode, [encode(opcode, data)], data)


@not_tiny
@pytest.mark.parametrize("piece", [64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB,
                                   256 * KIB, MIB, 4 * MIB])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_9_four_mebibytes_in_fragments_come_back(server, opcode, piece):
    data = b"*" * (4 * MIB)
    one = encode(CONT, data[:piece], fin=False)
    count = len(data) // piece
    frames = [encode(opcode, data[:piece], fin=count == 1)]
    if count > 1:
        frames += [one * (count - 2), encode(CONT, data[:piece])]
    echoed(server, opcode, frames, data)


@not_tiny
@pytest.mark.parametrize("chop", [64, 128, 256, 512, KIB, 2 * KIB])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_9_a_mebibyte_in_chops_comes_back(server, opcode, chop):
    data = b"*" * MIB
    frame = encode(opcode, data)
    echoed(server, opcode, [frame[i:i + chop]
                            for i in range(0, len(frame), chop)], data)


@pytest.mark.parametrize("size", [0, 16, 64, 256, KIB, 4 * KIB])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_9_a_thousand_messages_come_back_one_by_one(server, opcode, size):
    data = b"*" * size
    frame = encode(opcode, data)
    with Peer(server.port).open() as peer:
        for _ in range(100 if FACTOR > 1 else 1000):
            peer.send(frame)
            back = peer.next_frame()
            assert (back.opcode, back.payload) == (opcode, data)


@not_tiny
def test_9_a_message_over_the_limit_is_1009_from_its_header(server):
    for frames in ([encode(BINARY, b"", length=16 * MIB + 1)],
                   [encode(TEXT, b"*" * MIB, fin=False),
                    encode(CONT, b"", length=15 * MIB + 1)]):
        assert heard(server, [encode(PING, b"p")] + frames, "whole") == [
            (PONG, b"p"), (CLOSE, 1009)]


# ---- 10: odd pieces

@pytest.mark.parametrize("piece", [1300, 997, 125, 126])
def test_10_a_message_in_pieces_of_a_library_comes_back(server, piece):
    data = b"*" * 65536
    parts = [data[i:i + piece] for i in range(0, len(data), piece)]
    echoed(server, TEXT, fragments(TEXT, *parts), data)

"""Frames that break RFC 6455: each is answered with the right close code at
the first wrong byte, what came whole before it is answered first, the end is a
FIN, on_close sees the code, the log has one line, and nobody else notices."""
import json

import pytest

from conftest import stop_well
from support import wires
from support.lab import counters
from support.server import Server
from support.wire import (BINARY, CLOSE, CONT, PING, PONG, TEXT, Peer,
                          close_payload, encode, masked)

WIRES = wires.ALL

MASK = b"\x01\x02\x03\x04"

TELLING = """
function on_message(client, message, is_binary)
  client:send(message, { binary = is_binary })
end
function on_close(client, code, reason)
  broadcast({ code, reason })
end
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory, wire):
    app = tmp_path_factory.mktemp("telling") / "app"
    app.mkdir()
    (app / "main.lua").write_text(TELLING)
    server = Server(app, "--drain", "0s")
    yield server
    stop_well(server)


def new_records(server, mark):
    counters(server)
    return [r for r in server.log[mark:]
            if "counters:" not in r["msg"] and r.get("event") != "stats"]


def close(code, reason=b""):
    return encode(CLOSE, code.to_bytes(2, "big") + reason)


def opened(opcode=TEXT, payload=b"begun"):
    """A fragmented message that goes on."""
    return encode(opcode, payload, fin=False)


def header(first, second, rest=b""):
    return bytes([first, second]) + rest


# name: (bytes, code, a word of the reason)
VIOLATIONS = {
    "unmasked text": (encode(TEXT, b"x", mask=None), 1002, "masked"),
    "unmasked and empty": (encode(TEXT, b"", mask=None), 1002, "masked"),
    "unmasked close": (encode(CLOSE, b"", mask=None), 1002, "masked"),
    "unmasked continuation": (
        opened() + encode(CONT, b"x", mask=None), 1002, "masked"),
    "RSV1": (encode(TEXT, b"x", rsv=4), 1002, "RSV1"),
    "RSV2": (encode(TEXT, b"x", rsv=2), 1002, "reserved bit"),
    "RSV3": (encode(BINARY, b"x", rsv=1), 1002, "reserved bit"),
    "all RSV": (encode(TEXT, b"x", rsv=7), 1002, "RSV1"),
    "RSV1 on a ping": (encode(PING, b"x", rsv=4), 1002, "RSV1"),
    "RSV1 on a continuation": (
        opened() + encode(CONT, b"x", rsv=4), 1002, "RSV1"),
    "RSV1 on a close": (encode(CLOSE, close_payload(1000), rsv=4), 1002,
                        "RSV1"),
    **{"opcode %d" % op: (encode(op, b"x"), 1002, "opcode")
       for op in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "an opcode before its second byte": (header(0x83, 0x80)[:1], 1002,
                                         "opcode"),
    "a reserved bit before its second byte": (b"\x91", 1002, "reserved bit"),
    "125 in two bytes": (encode(TEXT, b"x" * 125, length_bytes=2), 1002,
                         "minimal"),
    "0 in two bytes": (encode(TEXT, b"", length_bytes=2), 1002, "minimal"),
    "0 in eight bytes": (encode(BINARY, b"", length_bytes=8), 1002,
                         "minimal"),
    "126 in eight bytes": (encode(TEXT, b"x" * 126, length_bytes=8), 1002,
                           "minimal"),
    "65,535 in eight bytes, before the payload": (
        encode(BINARY, b"", length_bytes=8, length=65535), 1002, "minimal"),
    "a length with the top bit": (
        header(0x82, 0xff, (2**63 + 5).to_bytes(8, "big")), 1002, "top bit"),
    "a length with all bits": (header(0x82, 0xff, b"\xff" * 8), 1002,
                               "top bit"),
    "a fragmented ping": (encode(PING, b"x", fin=False), 1002, "fragmented"),
    "a fragmented pong": (encode(PONG, b"x", fin=False), 1002, "fragmented"),
    "a fragmented close": (encode(CLOSE, b"", fin=False), 1002,
                           "fragmented"),
    "a ping of 126 bytes": (encode(PING, b"x" * 126), 1002, "125"),
    "a pong of 65,536 bytes, before its length": (header(0x8a, 0xff), 1002,
                                                  "125"),
    "a close of 126 bytes": (close(1000, b"x" * 124), 1002, "125"),
    "a text inside a text": (opened() + encode(TEXT, b"x"), 1002, "inside"),
    "bytes inside a text": (opened() + encode(BINARY, b"x"), 1002, "inside"),
    "a fragment inside a text": (opened() + opened(BINARY), 1002, "inside"),
    "a text behind a ping inside a text": (
        opened() + encode(PING) + encode(TEXT, b"x"), 1002, "inside"),
    "a continuation of nothing": (encode(CONT, b"x"), 1002, "continuation"),
    "a continuation of nothing that goes on": (
        encode(CONT, b"", fin=False), 1002, "continuation"),
    "a lone continuation byte": (encode(TEXT, b"a\x80b"), 1007, "UTF-8"),
    "an overlong slash": (encode(TEXT, b"\xc0\xaf"), 1007, "UTF-8"),
    "a surrogate": (encode(TEXT, b"\xed\xa0\x80"), 1007, "UTF-8"),
    "beyond U+10FFFF": (encode(TEXT, b"\xf4\x90\x80\x80"), 1007, "UTF-8"),
    "a text that ends inside a character": (
        encode(TEXT, "a€".encode()[:-1]), 1007, "inside a character"),
    "a fragmented text that ends inside a character": (
        opened(TEXT, b"\xe2") + encode(CONT, b"\x82", fin=False) +
        encode(CONT, b""), 1007, "inside a character"),
    "a character broken by a fragment": (
        opened(TEXT, b"\xe2\x82") + encode(CONT, b"x", fin=False), 1007,
        "UTF-8"),
    "half a close code": (encode(CLOSE, b"\x03"), 1002, "half a code"),
    **{"close code %d" % code: (close(code), 1002, "close code")
       for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000,
                    2999, 5000, 65535)},
    "a close reason that is not UTF-8": (close(1000, b"ok \xff"), 1007,
                                         "reason"),
    "a close reason cut inside a character": (
        close(1000, "€".encode()[:2]), 1007, "reason"),
}


# Where RSV1 has a meaning.
PACKED = {
    "RSV1": (encode(TEXT, b"\x07", rsv=4), 1007, "inflated"),
    "all RSV": (encode(TEXT, b"x", rsv=7), 1002, "reserved bit"),
}


def violation(what):
    return wires.is_packed() and PACKED.get(what) or VIOLATIONS[what]


@pytest.mark.parametrize("what", VIOLATIONS)
def test_a_violation_is_closed_with_its_code_and_logged_once(server, what):
    data, code, says = violation(what)
    mark = server.mark()
    with Peer(server.port).open() as bystander, \
            Peer(server.port).open() as peer:
        # What came whole before it, in the same write, is answered.
        peer.send(encode(TEXT, b"one") + encode(BINARY, b"two") + data)
        frames, how = peer.rest(answers_close=False)
        pongs = data.count(b"\x89\x80")
        assert [f.payload for f in frames if f.opcode == PONG] == [b""] * pongs
        assert [f.payload for f in frames if f.opcode != PONG] == [
            b"one", b"two"]
        assert how[0] == code, how
        assert says in how[1], how
        assert not peer.was_reset
        # What its on_close saw; and the others go on.
        assert json.loads(bystander.message()) == list(how)
        bystander.text("here")
        assert bystander.message() == "here"
        bystander.goodbye()
    (line,) = new_records(server, mark)
    assert str(code) in line["msg"] and says in line["msg"], line
    assert "127.0.0.1" in line["msg"]


@pytest.mark.parametrize("what", VIOLATIONS)
def test_a_violation_is_the_same_byte_by_byte(server, what):
    data, code, says = violation(what)
    with Peer(server.port).open() as peer:
        for i in range(len(data)):
            try:
                peer.send(data[i:i + 1])
            except OSError:
                break   # it was told already
        frames, how = peer.rest()
        assert how[0] == code and says in how[1], how
        assert all(f.opcode == PONG for f in frames)


def test_a_violation_that_comes_with_the_handshake(server):
    with Peer(server.port) as peer:
        peer.open(pipelined=encode(TEXT, b"one") + encode(TEXT, b"\xff"))
        assert peer.message() == "one"
        assert peer.closed()[0] == 1007


def test_a_violation_behind_messages_that_wait_for_on_open(serve):
    server = serve("""
function on_open(client) client:send("open") end
function on_message(client, message) client:send(message) end
function on_close(client, code) log.info("closed", { code = code }) end
""")
    for bad, code in ((encode(TEXT, b"\xff"), 1007),
                      (encode(3, b""), 1002), (close(4000), 4000),
                      (encode(BINARY, b"", length=2**40), 1009)):
        mark = server.mark()
        with Peer(server.port) as peer:
            peer.open(pipelined=encode(TEXT, b"1") + encode(TEXT, b"2") + bad)
            frames, how = peer.rest()
            assert [f.payload for f in frames] == [b"open", b"1", b"2"]
            assert how[0] == code
        line = server.wait_log(lambda r: r["msg"] == "closed", since=mark)
        assert line["code"] == code


@pytest.mark.parametrize("bad, code", [
    (encode(TEXT, b"\xff"), 1007), (close(4000, b"bye"), 4000)])
def test_an_app_that_lags_answers_all_before_the_end(serve, bad, code):
    """More messages than one turn has time for: the end waits for them."""
    server = serve("""
function on_message(client, message)
  local x = 0
  for i = 1, 20000 do x = x + i end      -- about 100 us
  client:send(message)
end
function on_close(client, code) log.info("closed", { code = code }) end
""")
    for count in (40, 63, 64, 65, 500):
        texts = [b"%d" % i for i in range(count)]
        mark = server.mark()
        with Peer(server.port).open() as peer:
            peer.send(b"".join(encode(TEXT, t) for t in texts) + bad)
            frames, how = peer.rest()
            assert [f.payload for f in frames] == texts
            assert how[0] == code and not peer.was_reset
        line = server.wait_log(lambda r: r["msg"] == "closed", since=mark)
        assert line["code"] == code


def test_a_handler_that_awaits_does_not_hold_up_the_end(serve):
    server = serve("""
function on_message(client, message)
  client:send("begun")
  while not client.closed do sleep(0.05) end
end
""")
    with Peer(server.port).open() as peer:
        peer.text("1")
        assert peer.message() == "begun"
        peer.send(encode(TEXT, b"2") + encode(TEXT, b"\xff"))
        assert peer.closed()[0] == 1007


# ---- the first wrong byte

@pytest.mark.parametrize("text, wrong_at", [
    (b"hello \xff world", 6),
    (b"\xc0", 0),                   # overlong, whatever follows
    (b"\xe0\x9f", 1),
    (b"\xed\xa0", 1),
    (b"\xf0\x8f", 1),
    (b"\xf4\x90", 1),
    (b"\xf5", 0),
    ("κόσμε".encode() + b"\xf4\x90\x80\x80", 11),
    (b"\xe2\x82A", 2),
])
def test_bad_utf8_fails_at_its_byte_in_a_frame_that_is_not_complete(
        server, text, wrong_at):
    with Peer(server.port).open() as peer:
        head = encode(TEXT, b"", length=1000, mask=MASK)
        body = masked(text, MASK)
        peer.send(head + body[:wrong_at])
        assert peer.is_silent(0.02)
        peer.send(body[wrong_at:wrong_at + 1])
        assert peer.closed()[0] == 1007


def test_bad_utf8_fails_in_a_fragment_that_is_not_the_last(server):
    with Peer(server.port).open() as peer:
        peer.send(opened(TEXT, b"fine so far") + opened(CONT, b"") +
                  encode(CONT, b"\xff", fin=False))
        assert peer.closed()[0] == 1007


def test_bytes_are_never_judged_as_text(server):
    with Peer(server.port).open() as peer:
        peer.binary(b"\xff\xc0\x80")
        assert peer.message() == b"\xff\xc0\x80"


def test_a_character_may_be_split_over_fragments_and_reads(server):
    text = "aé€🚀" * 3
    data = text.encode()
    with Peer(server.port).open() as peer:
        for cut in range(len(data) + 1):
            peer.send(encode(TEXT, data[:cut], fin=False) +
                      encode(PING, b"p") + encode(CONT, data[cut:]))
            assert peer.pong() == b"p"
            assert peer.message() == text
        for i, byte in enumerate(data):
            peer.send(encode(TEXT if i == 0 else CONT, bytes([byte]),
                             fin=i == len(data) - 1))
        assert peer.message() == text


# ---- behind the end

def test_what_follows_a_close_is_not_answered(server):
    with Peer(server.port).open() as peer:
        peer.send(encode(TEXT, b"before") + close(1000) +
                  encode(TEXT, b"behind") + encode(PING, b"p") +
                  encode(3, b"") + close(4999))
        frames, how = peer.rest()
        # The app tells everybody how others went, who may be late.
        said = [f.payload for f in frames if not f.payload.startswith(b"[")]
        assert said == [b"before"]
        assert how[0] == 1000


def test_what_follows_a_violation_is_not_answered(server):
    mark = server.mark()
    with Peer(server.port).open() as peer:
        peer.send(encode(3, b"") + encode(TEXT, b"behind") +
                  encode(TEXT, b"\xff") + b"\xff" * 100000)
        assert peer.closed()[0] == 1002
    assert len(new_records(server, mark)) == 1


def test_a_continuation_behind_the_last_one(server):
    with Peer(server.port).open() as peer:
        peer.send(opened() + encode(CONT, b" and done") + encode(CONT, b"x"))
        assert peer.message() == "begun and done"
        assert peer.closed()[0] == 1002


def test_a_message_that_a_close_interrupts_is_dropped(server):
    with Peer(server.port).open() as peer:
        peer.send(opened() + close(1001))
        assert peer.closed()[0] == 1001


def test_many_at_once_all_get_their_code(server):
    peers = []
    for what in VIOLATIONS:
        peer = Peer(server.port).open()
        peers.append((peer, *violation(what)[:2]))
    for peer, data, _ in peers:
        peer.send(data)
    for peer, _, code in peers:
        _, how = peer.rest()
        assert how[0] == code
        peer.close()

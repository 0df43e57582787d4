"""The protocol by the book, third part: permessage-deflate as the sections 12
and 13 of the Autobahn TestSuite name it. 12: messages of many sizes and kinds,
whole and in fragments; 13: the same under each set of parameters, offered in
lists as well. What comes back is the message, compressed as was agreed on.

How parameters are answered stands in tests/unit/proto/test_deflate_offer.c,
damaged and hostile data in tests/vectors/deflate.txt and test_deflate.py.
"""
import json
import os
import random

import pytest

from conftest import stop_well, write_app
from support import wires
from support.lab import not_tiny
from support.packed import parse_answer
from support.server import Server
from support.wire import (BINARY, CLOSE, CONT, PING, PONG, TEXT, Peer,
                          close_payload, encode)

WIRES = [wires.PLAIN, wires.TLS]
pytestmark = not_tiny

MAIN = """
function on_message(client, message, is_binary)
  client:send(message, { binary = is_binary })
end
"""
NAME = "permessage-deflate"
SERVER_NONE, CLIENT_NONE = ("server_no_context_takeover",
                            "client_no_context_takeover")

# Of section 13; what the server has to make of each, where the app keeps
# contexts. "/" stands for further offers, of which none is better.
OFFERS = {
    "": {},
    "client_max_window_bits": {},
    SERVER_NONE + "; client_max_window_bits": {SERVER_NONE: None},
    CLIENT_NONE: {CLIENT_NONE: None},
    SERVER_NONE + "; " + CLIENT_NONE: {SERVER_NONE: None, CLIENT_NONE: None},
    **{"client_max_window_bits; server_max_window_bits=%d" % bits:
       {"server_max_window_bits": bits} for bits in range(8, 16)},
    **{"client_max_window_bits=%d" % bits: {"client_max_window_bits": bits}
       for bits in range(9, 15)},
    "client_max_window_bits=15": {},
    "client_max_window_bits; server_max_window_bits=9; " + SERVER_NONE:
        {"server_max_window_bits": 9, SERVER_NONE: None},
    "client_max_window_bits=10; server_max_window_bits=11; %s; %s"
    % (SERVER_NONE, CLIENT_NONE): {
        "client_max_window_bits": 10, "server_max_window_bits": 11,
        SERVER_NONE: None, CLIENT_NONE: None},
    "what_ever, %s; server_max_window_bits=9, %s" % (NAME, NAME):
        {"server_max_window_bits": 9},
    "server_max_window_bits=99, %s; %s, %s" % (NAME, SERVER_NONE, NAME):
        {SERVER_NONE: None},
}

SIZES = [0, 1, 16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072]


def serve_echo(tmp_path_factory, context):
    app = write_app(tmp_path_factory.mktemp("deflate") / "app", MAIN,
                    'return { compress = { threshold = 0, context = "%s" } }'
                    % context)
    return Server(app, "--drain", "0s")


@pytest.fixture(scope="module")
def keeping(tmp_path_factory, wire):
    server = serve_echo(tmp_path_factory, "both")
    yield server
    stop_well(server)


@pytest.fixture(scope="module")
def sharing(tmp_path_factory, wire):
    server = serve_echo(tmp_path_factory, "none")
    yield server
    stop_well(server)


def words(size):
    """Text that compresses as text does, with characters of all lengths."""
    dice = random.Random(size)
    text, n = [], 0
    while n < size:
        word = dice.choice(["all ", "work ", "naïve ", "€ ", "🚀", "and no "])
        text.append(word)
        n += len(word.encode())
    return "".join(text).encode()[:size].decode("utf-8", "ignore").encode()


def objects(size):
    out = [{"id": i, "name": "user%d" % i, "on": i % 2 == 0}
           for i in range(size // 40 + 1)]
    return json.dumps(out).encode()[:size]


def noise(size):
    return os.urandom(size)


def zeros(size):
    return bytes(size)


KINDS = {"text": (TEXT, words), "json": (TEXT, objects),
         "noise": (BINARY, noise), "zeros": (BINARY, zeros)}


def come(server, offer=NAME + "; client_max_window_bits"):
    return Peer(server.port, offer=offer).open()


def fragments(peer, opcode, data, size):
    """A compressed message in frames of `size` compressed bytes."""
    packed = peer.reader.codec.pack(data)
    parts = [packed[i:i + size] for i in range(0, len(packed), size)]
    return [encode(opcode if i == 0 else CONT, part, rsv=4 if i == 0 else 0,
                   fin=i == len(parts) - 1) for i, part in enumerate(parts)]


def check(peer, opcode, data):
    back = peer.message()
    assert (back.encode() if opcode == TEXT else back) == data


# ---- 12: sizes and kinds

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_12_messages_of_each_size_come_back(keeping, sharing, kind, size):
    opcode, make = KINDS[kind]
    for server in (keeping, sharing):
        with come(server) as peer:
            data = make(size)
            at_once = 10 if size < 50000 else 1     # else it lags
            for _ in range(0, 10, at_once):
                for _ in range(at_once):
                    peer.frame(opcode, data)
                for _ in range(at_once):
                    check(peer, opcode, data)
            if size > 64 and kind != "noise":
                assert peer.reader.packed == 10
            assert peer.goodbye()[0] == 1000


@pytest.mark.parametrize("cut", [1, 7, 256, 1024, 32768])
@pytest.mark.parametrize("kind", KINDS)
def test_12_messages_in_fragments_come_back(keeping, kind, cut):
    opcode, make = KINDS[kind]
    with come(keeping) as peer:
        for size in (1000, 30000):
            if cut < 32 and size > 1000:
                continue    # so many are refused
            data = make(size)
            frames = fragments(peer, opcode, data, cut)
            # A ping between them is plain, and answered there.
            frames.insert(len(frames) // 2, encode(PING, b"in between"))
            peer.send(b"".join(frames))
            first = peer.next_frame()
            assert (first.opcode, first.payload) == (PONG, b"in between")
            check(peer, opcode, data)
        assert peer.goodbye()[0] == 1000


def test_12_a_thousand_small_ones_come_back(keeping, sharing):
    for server in (keeping, sharing):
        with come(server) as peer:
            sent = [words(i % 300) for i in range(1000)]
            for at in range(0, 1000, 50):
                for data in sent[at:at + 50]:
                    peer.frame(TEXT, data)
                for data in sent[at:at + 50]:
                    check(peer, TEXT, data)
            assert peer.goodbye()[0] == 1000


def test_12_plain_and_compressed_messages_take_turns(keeping):
    with come(keeping) as peer:
        for i in range(40):
            peer.sends_packed = i % 3 != 0
            data = words(500 + i)
            peer.frame(TEXT, data)
            check(peer, TEXT, data)


# ---- 13: parameters

@pytest.mark.parametrize("offer", OFFERS)
def test_13_what_is_offered_is_agreed_on_and_kept(keeping, offer):
    with come(keeping, NAME + ("; " + offer if offer else "")) as peer:
        assert parse_answer(peer.agreed) == OFFERS[offer]
        for size in (0, 16, 1024, 8192, 65536):
            for kind, (opcode, make) in KINDS.items():
                data = make(size)
                peer.frame(opcode, data)
                check(peer, opcode, data)
        assert peer.goodbye()[0] == 1000


@pytest.mark.parametrize("offer", OFFERS)
def test_13_a_violation_has_its_code_whatever_was_agreed_on(keeping, offer):
    offer = NAME + ("; " + offer if offer else "")
    for bad, code in ((encode(TEXT, b"\xff\xff\xff", rsv=4), 1007),
                      (encode(TEXT, b"a", rsv=2), 1002),
                      (encode(PING, b"a", rsv=4), 1002),
                      (encode(CLOSE, close_payload(1000), rsv=4), 1002)):
        with come(keeping, offer) as peer:
            peer.frame(TEXT, b"before")
            peer.send(bad + encode(TEXT, b"behind"))
            check(peer, TEXT, b"before")
            assert peer.closed()[0] == code


@pytest.mark.parametrize("offer", [NAME, NAME + "; client_max_window_bits=9"])
def test_13_text_fails_at_its_first_wrong_byte_when_inflated(keeping, offer):
    """In a frame that is not complete, behind half a kilobyte of text."""
    with come(keeping, offer) as peer:
        packed = peer.reader.codec.pack(words(500) + b"\xf4\x90" + b"x" * 5000)
        frame = encode(TEXT, packed, rsv=4, length=len(packed) + 1000)
        peer.send(frame)
        assert peer.closed()[0] == 1007

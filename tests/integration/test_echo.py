"""apps/echo through an independent client (python3-websockets), and through
bytes as they may come in: whole, in pieces, many at once."""
import asyncio
import random

import pytest
import websockets

from support import wires
from support.wire import (BINARY, CLOSE, CONT, FACTOR, PING, PONG, TEXT, Peer,
                          close_payload, encode)

WIRES = wires.ALL

MIB = 1024 * 1024
EDGES = [0, 1, 2, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537, 131072,
         MIB - 1, MIB]
PATIENCE = 20 * FACTOR


def connect(server, path="", **how):
    how = {**wires.websockets_options(), "ping_interval": None, **how}
    return websockets.connect(
        server.ws_url + path, max_size=None, open_timeout=PATIENCE,
        close_timeout=PATIENCE, **how)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 4 * PATIENCE))


def letters(n):
    """A text whose every part can be told from every other."""
    return "".join("%07x " % i for i in range(n // 8 + 1))[:n]


# ---- sizes

@pytest.mark.parametrize("size", EDGES)
def test_text_of_every_length_encoding_comes_back(echo, size):
    async def go():
        async with connect(echo) as client:
            await client.send(letters(size))
            assert await client.recv() == letters(size)

    run(go())


@pytest.mark.parametrize("size", EDGES)
def test_bytes_of_every_length_encoding_come_back(echo, size):
    data = random.Random(size).randbytes(size)

    async def go():
        async with connect(echo) as client:
            await client.send(data)
            assert await client.recv() == data

    run(go())


def test_one_byte_over_a_mebibyte_is_closed_with_1009(echo):
    async def go():
        async with connect(echo) as client:
            await client.send("first")
            assert await client.recv() == "first"
            await client.send(bytes(MIB + 1))
            with pytest.raises(websockets.ConnectionClosed):
                await client.recv()
            assert client.close_code == 1009
            assert "too big" in client.close_reason

    run(go())


def test_fragments_that_sum_to_over_a_mebibyte_are_closed_with_1009(echo):
    with Peer(echo.port).open() as peer:
        peer.frame(BINARY, bytes(MIB), fin=False)
        peer.frame(CONT, b"", fin=False)
        peer.frame(CONT, b"x")
        assert peer.closed()[0] == 1009


def test_too_big_is_told_from_the_header_alone(echo):
    with Peer(echo.port).open() as peer:
        peer.frame(BINARY, b"", length=MIB + 1)     # and not one byte of it
        assert peer.closed()[0] == 1009
    with Peer(echo.port).open() as peer:
        peer.frame(BINARY, b"", length=2**63 - 1)
        assert peer.closed()[0] == 1009


def test_the_setting_moves_the_bound(serve):
    server = serve(
        "function on_message(c, m, b) c:send(m, { binary = b }) end",
        conf='return { message = { max = "2MB" } }')
    with Peer(server.port).open() as peer:
        peer.binary(bytes(2 * MIB))
        assert len(peer.message()) == 2 * MIB
        peer.binary(bytes(2 * MIB + 1))
        assert peer.closed()[0] == 1009


def test_text_stays_text_and_bytes_stay_bytes(echo):
    async def go():
        async with connect(echo) as client:
            for message in ["", b"", "ä€🚀\0", "ä€🚀\0".encode(),
                            b"\xff\xfe\0", "\ufffd"]:
                await client.send(message)
                answer = await client.recv()
                assert answer == message and type(answer) is type(message)

    run(go())


# ---- fragments

def test_fragments_of_the_library_come_back_as_one_message(echo):
    async def go():
        async with connect(echo) as client:
            parts = ["one ", "", "tw", "o ", "ü" * 70000, ""]
            await client.send(parts)
            assert await client.recv() == "".join(parts)
            pieces = [b"a" * 126, b"", b"b" * 65536]
            await client.send(pieces)
            assert await client.recv() == b"".join(pieces)

    run(go())


@pytest.mark.parametrize("size", [1, 7, 125, 126, 4096])
def test_fragments_of_any_size_come_back_as_one_message(echo, size):
    text = letters(size * 50)
    data = text.encode()
    with Peer(echo.port).open() as peer:
        chunks = [data[i:i + size] for i in range(0, len(data), size)]
        for i, chunk in enumerate(chunks):
            peer.frame(TEXT if i == 0 else CONT, chunk,
                       fin=i == len(chunks) - 1)
        assert peer.message() == text


def test_control_frames_between_fragments_are_answered_at_once(echo):
    with Peer(echo.port).open() as peer:
        peer.frame(TEXT, b"one ", fin=False)
        peer.frame(PING, b"in between")
        assert peer.pong() == b"in between"
        peer.frame(CONT, b"two")
        assert peer.message() == "one two"


def test_a_message_may_have_1024_fragments_and_no_more(echo):
    with Peer(echo.port).open() as peer:
        peer.frame(TEXT, b"x", fin=False)
        peer.send(encode(CONT, b"x", fin=False) * 1022 + encode(CONT, b"x"))
        assert peer.message() == "x" * 1024
        peer.frame(TEXT, b"x", fin=False)
        peer.send(encode(CONT, b"x", fin=False) * 1024)
        code, reason = peer.closed()
        assert code == 1009 and "fragments" in reason


# ---- pings and closes

def test_a_ping_is_answered_with_its_payload(echo):
    async def go():
        async with connect(echo) as client:
            for payload in ["", "x", b"\0\xff" * 62, "p" * 125]:
                await asyncio.wait_for(await client.ping(payload), PATIENCE)
            waiters = [await client.ping(str(i)) for i in range(50)]
            await asyncio.wait_for(asyncio.gather(*waiters), PATIENCE)

    run(go())


def test_a_pong_that_nobody_asked_for_is_read_over(echo):
    async def go():
        async with connect(echo) as client:
            await client.pong("hello")
            await client.send("still here")
            assert await client.recv() == "still here"

    run(go())


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009,
                                  1010, 1011, 1012, 1013, 1014, 3000, 3999,
                                  4000, 4999])
def test_the_clients_close_code_comes_back(echo, code):
    with Peer(echo.port).open() as peer:
        assert peer.goodbye(code, "why ü")[0] == code
        assert not peer.was_reset


def test_a_close_without_a_code_comes_back_without_one(echo):
    with Peer(echo.port).open() as peer:
        peer.frame(CLOSE)
        frame = peer.next_frame()
        assert (frame.opcode, frame.payload) == (CLOSE, b"")
        assert peer.finished() == b""


def test_the_library_sees_the_close_of_an_app(serve):
    server = serve("""
function on_message(client, message)
  client:close(tonumber(message), "as you wish ü")
end
""")

    async def go(code):
        async with connect(server) as client:
            await client.send(str(code))
            await client.wait_closed()
            assert client.close_code == code
            assert client.close_reason == "as you wish ü"

    for code in (1000, 1001, 1003, 1008, 1011, 3000, 4000, 4999):
        run(go(code))


def test_an_app_sees_how_the_library_closes(serve):
    server = serve("""
function on_close(client, code, reason)
  log.info("gone", { code = code, reason = reason })
end
""")

    async def go(code, reason):
        client = await connect(server)
        seen = server.mark()
        await client.close(code, reason)
        assert client.close_code == code
        line = server.wait_log(lambda r: "gone" in r["msg"], since=seen)
        assert (line["code"], line["reason"]) == (code, reason), line

    for code, reason in ((1000, ""), (1001, "tab"), (4321, "wählerisch")):
        run(go(code, reason))


# ---- how the bytes arrive

def test_a_hundred_messages_in_one_write_come_back_in_order(echo):
    with Peer(echo.port).open() as peer:
        texts = ["%d " % i + "x" * (i * 7 % 300) for i in range(100)]
        peer.send(b"".join(encode(TEXT, t.encode()) for t in texts))
        assert peer.messages(100) == texts


def test_thousands_of_pipelined_messages_lose_nothing(echo):
    with Peer(echo.port).open() as peer:
        for _ in range(5):
            peer.send(b"".join(encode(TEXT, b"%d" % i) for i in range(2000)))
            assert peer.messages(2000) == [str(i) for i in range(2000)]


def test_a_handshake_and_frames_byte_by_byte(echo):
    with Peer(echo.port) as peer:
        raw = (peer.request("/drip") + encode(TEXT, b"first") +
               encode(BINARY, b"x" * 130) + encode(TEXT, b"a", fin=False) +
               encode(PING, b"p") + encode(CONT, "€".encode()) +
               encode(CLOSE, close_payload(4001, "done")))
        peer.drip(raw)
        assert peer.response().status == 101
        frames, how = peer.rest()
        assert how[0] == 4001 and not peer.was_reset
        # A pong may go ahead of data that is queued.
        assert [f.payload for f in frames if f.opcode == PONG] == [b"p"]
        assert [f.payload for f in frames if f.opcode != PONG] == [
            b"first", b"x" * 130, "a€".encode()]


@pytest.mark.parametrize("size", [2, 3, 5, 13, 4093])
def test_frames_in_pieces_of_any_size(echo, size):
    texts = [letters(n) for n in (0, 5, 125, 126, 1000, 65536)]
    raw = b"".join(encode(TEXT, t.encode()) for t in texts)
    if size < 13:
        raw, texts = raw[:len(raw) - 65536 - 14], texts[:-1]
    with Peer(echo.port).open() as peer:
        peer.drip(raw, size)
        assert peer.messages(len(texts)) == texts


def test_frames_that_come_with_the_handshake_are_not_lost(echo):
    with Peer(echo.port) as peer:
        peer.open(pipelined=encode(TEXT, b"early") + encode(PING, b"p") +
                  encode(BINARY, b"b" * 70000))
        frames = [peer.next_frame() for _ in range(3)]
        assert [f.payload for f in frames if f.opcode == PONG] == [b"p"]
        assert [f.payload for f in frames if f.opcode < CLOSE] == [
            b"early", b"b" * 70000]


def test_on_open_ends_before_a_message_that_came_with_the_handshake(serve):
    server = serve("""
function on_open(client) sleep(0.05) client:send("open") end
function on_message(client, message) client:send(message) end
""")
    with Peer(server.port) as peer:
        peer.open(pipelined=encode(TEXT, b"1") + encode(TEXT, b"2"))
        assert peer.messages(3) == ["open", "1", "2"]


def test_a_hundred_clients_of_the_library_at_once(echo):
    async def one(i):
        async with connect(echo) as client:
            for k in range(5):
                text = "%d/%d" % (i, k) * (i + 1)
                await client.send(text)
                assert await client.recv() == text

    async def go():
        await asyncio.gather(*(one(i) for i in range(100)))

    run(go())

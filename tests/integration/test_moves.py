"""Connections that are to go to another loop, and die on the way.

A WebSocket moves to the loop it shall live on when its request is complete,
with whatever was read behind it. Here clients send frames along with their
handshake, all of it in pieces, and die at every stage: within the head, right
behind it, while on_connect thinks, at the verdict, after the 101; by FIN, by
RST, or by saying nothing any more. Among them are some who mean well, and get
all their answers in order. Afterwards nothing is left of anybody: no
descriptor, no client, no memory, and no on_open without its on_close.

MOONWIRE_SEED repeats the dice.
"""
import asyncio
import contextlib
import json
import os
import random
import socket
import struct

import pytest

from support import packed, wires
from support.lab import (IS_ASAN, IS_TINY, IS_TSAN, counters, memory,
                         serve_many)
from support.stress import seeded
from support.wire import (CLOSE, FACTOR, HOST, TEXT, FrameReader, Peer,
                          close_payload, encode, parse_close, until)

WIRES = wires.ALL

MIB = 1 << 20
PLACEMENTS = ["home", "spread", "auto"]
NAMES = "abcd"                  # one on each loop
CLIENTS = 40 if IS_TINY else 80 if IS_TSAN else 200
ROUNDS = 3 if IS_TINY or IS_TSAN else 6
SIZES = [0, 1, 10, 125, 126] if IS_TINY else [0, 1, 10, 126, 5000, 70_000]
WAIT_S = 20 * FACTOR
OFFER = "Sec-WebSocket-Extensions: %s\r\n" % wires.OFFER
AGREED = {"client_no_context_takeover": None}

APP = """
local opened, closed, wrong = {}, 0, nil

function on_connect(request)
  local q = request.query
  if q.think then sleep(tonumber(q.think)) end
  if q.refuse then return nil, 403, "not you" end
  return { data = { n = 0 }, rooms = { "all" } }
end

function on_open(client)
  if opened[client.id] then wrong = "opened twice" end
  opened[client.id] = true
  client:send("hello")
end

local function report(client)
  local n = 0
  for id in pairs(opened) do n = n + 1 end
  client:send { open = n, count = clients.count(), closed = closed,
                wrong = wrong }
end

function on_message(client, text)
  if text == "{}" then return report(client) end
  local n = tonumber(text:match("^%d+"))
  if n ~= client.data.n + 1 then wrong = "out of order" end
  if not opened[client.id] then wrong = "heard before on_open" end
  client.data.n = n
  client:send("ack " .. n)
end

function on_close(client)
  if not opened[client.id] then wrong = "closed and not open" end
  opened[client.id] = nil
  closed = closed + 1
end

-- So that something is always on its way to everybody.
timer.every(0.02, function() room("all"):broadcast("tick") end)
"""


def start(tmp_path, placement):
    app = {"main": APP, "files": {"public/f.txt": "file of %s\n" % placement}}
    return serve_many(tmp_path, {name: app for name in NAMES},
                      ["--workers", len(NAMES), "--placement", placement])


def pieces(dice, data):
    """As they may come: whole, in a few, or byte by byte at some place."""
    cuts = set()
    how = dice.random()
    if how < 0.3:
        cuts = {dice.randint(0, len(data)) for _ in range(dice.randint(1, 8))}
    elif how < 0.45:
        at = dice.randint(0, len(data))
        cuts = set(range(max(0, at - 6), min(len(data), at + 6)))
    ends = sorted(cuts | {len(data)})
    return [data[a:b] for a, b in zip([0, *ends], ends) if a < b]


def words(dice, count):
    """Messages 1 to `count`; some of them compressed, where that has been
    offered and will be agreed on."""
    def frame(n):
        text = b"%d %s" % (n, b"x" * dice.choice(SIZES))
        if wires.is_packed() and dice.random() < 0.5:
            return encode(TEXT, packed.Codec(AGREED).pack(text), rsv=4)
        return encode(TEXT, text)
    return b"".join(frame(n) for n in range(1, count + 1))


class Caller:
    """One client: what it says, and how far it comes."""

    def __init__(self, dice, port):
        self.dice, self.port = dice, port
        self.words = dice.choice([0, 1, 1, 2, 5, 20])
        self.think = dice.choice([0, 0, 0.001, 0.02, 0.05])
        self.is_refused = False

    def request(self):
        query = []
        if self.think:
            query.append("think=%s" % self.think)
        if self.is_refused:
            query.append("refuse=1")
        return ("GET /%s/?%s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"
                % (self.dice.choice(NAMES), "&".join(query), HOST, self.port,
                   OFFER if wires.is_packed() else "")).encode()

    def frames(self):
        return words(self.dice, self.words)

    async def say(self, data):
        for piece in pieces(self.dice, data):
            if self.writer.is_closing():
                break
            self.writer.write(piece)
            if self.dice.random() < 0.5:
                await asyncio.sleep(self.dice.choice([0, 0, 0.001, 0.01]))

    async def die(self):
        end = self.dice.choice(["fin", "rst", "half", "silence"])
        if end == "rst":
            self.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
        elif end == "half":
            with contextlib.suppress(OSError):
                # Past TLS, if there is any.
                self.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.1)
        elif end == "silence":
            await asyncio.sleep(0.3)

    # ---- the stages

    async def dies_within_its_head(self, head, frames):
        await self.say(head[:self.dice.randint(1, len(head) - 1)])
        await self.die()

    async def dies_behind_its_head(self, head, frames):
        await self.say(head + frames[:self.dice.randint(0, len(frames))])
        await self.die()

    async def dies_while_it_is_thought_about(self, head, frames):
        await self.say(head + frames)
        await asyncio.sleep(self.dice.uniform(0, self.think))
        await self.die()

    async def dies_at_the_verdict(self, head, frames):
        await self.say(head + frames)
        await asyncio.sleep(self.think + self.dice.uniform(-0.002, 0.002))
        await self.die()

    async def dies_after_the_101(self, head, frames):
        await self.say(head + frames)
        await self.status()
        if self.dice.random() < 0.5:
            await self.reader.read(self.dice.randint(1, 100))
        await self.die()

    async def is_turned_away(self, head, frames):
        await self.say(head + frames)
        assert await self.status() == b"403"
        with contextlib.suppress(ConnectionResetError):
            await self.reader.read()        # what it said is not read any more

    async def lives(self, head, frames):
        saying = asyncio.create_task(self.say(head + frames))
        assert await self.status() == b"101"
        await saying
        reader, acked, has_hello = FrameReader(), 0, False
        while not has_hello or acked < self.words:
            frame = await self.frame(reader)
            if frame.payload == b"hello":
                has_hello = True
            elif frame.payload != b"tick":
                acked += 1
                assert has_hello and frame.payload == b"ack %d" % acked
        self.writer.write(encode(CLOSE, close_payload(4000, "bye")))
        while (frame := await self.frame(reader)).opcode != CLOSE:
            assert frame.payload == b"tick"
        assert parse_close(frame.payload) == (4000, "")
        assert await self.reader.read() == b""

    async def status(self):
        head = await self.reader.readuntil(b"\r\n\r\n")
        return head.split(b" ", 2)[1]

    async def frame(self, reader):
        while (frame := reader.take()) is None:
            data = await self.reader.read(1 << 16)
            assert data, "it was cut off"
            reader.feed(data)
        return frame

    async def run(self):
        stage = self.dice.choice([
            "dies_within_its_head", "dies_behind_its_head",
            "dies_while_it_is_thought_about", "dies_at_the_verdict",
            "dies_after_the_101", "is_turned_away", "lives"])
        self.is_refused = stage == "is_turned_away"
        self.reader, self.writer = await asyncio.open_connection(
            HOST, self.port, limit=1 << 20, ssl=wires.client_context(),
            server_hostname="localhost" if wires.is_tls() else None)
        try:
            await asyncio.wait_for(
                getattr(self, stage)(self.request(), self.frames()), WAIT_S)
        except TimeoutError:
            raise AssertionError("%s: in vain (%d words, thinks %s)" % (
                stage, self.words, self.think)) from None
        finally:
            self.writer.close()


async def fire(dice, port, callers=CLIENTS):
    """All of them, starting within a short time."""
    async def one():
        caller = Caller(random.Random(dice.random()), port)
        await asyncio.sleep(caller.dice.uniform(0, 0.2))
        await caller.run()
    await asyncio.gather(*(one() for _ in range(callers)))


def descriptors(server):
    return len(os.listdir("/proc/%d/fd" % server.pid))


def report(peer):
    """-> what the app says of itself, behind what else is still to come."""
    peer.text("{}")
    while not (text := peer.message()).startswith("{"):
        assert text in ("hello", "tick", "ack 1"), text
    return json.loads(text)


def check_nothing_is_left(server, watchers, wanted_descriptors):
    until(lambda: counters(server).get("connections") == len(watchers),
          what="for the last connection to end")
    assert counters(server)["clients"] == len(watchers)
    for peer in watchers:
        until(lambda: report(peer)["open"] == 1)
        told = report(peer)
        assert told["count"] == 1 and "wrong" not in told, told
    assert descriptors(server) == wanted_descriptors


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_who_dies_on_the_way_leaves_nothing_behind(tmp_path, placement):
    dice = seeded()
    with start(tmp_path, placement) as server:
        watchers = [Peer(server.port).open("/%s/" % name) for name in NAMES]
        wanted = descriptors(server)
        sizes = []
        for _ in range(ROUNDS):
            asyncio.run(fire(dice, server.port))
            check_nothing_is_left(server, watchers, wanted)
            sizes.append(memory(server.pid)[0])
        print([size // 1024 for size in sizes], counters(server))
        # From the second round on there is nothing new to be had.
        share = 4 if IS_ASAN or IS_TSAN else 1
        assert sizes[-1] - sizes[1] < 4 * MIB * share, sizes
        count = counters(server)
        for name in ("handler_errors_total", "protocol_errors_total"):
            assert name not in count
        assert count["connections_moved_total"] > CLIENTS / 4
        assert not [r for r in server.log if r["level"] == "error"]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_server_may_stop_while_they_are_on_the_way(tmp_path, placement):
    dice = seeded()

    async def go(server):
        callers = [asyncio.create_task(fire(dice, server.port, 1))
                   for _ in range(CLIENTS)]
        await asyncio.sleep(dice.uniform(0.05, 0.2))
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        # How it ends for each of them is not the point; that it ends is.
        await asyncio.wait_for(
            asyncio.gather(*callers, return_exceptions=True), 3 * WAIT_S)
        assert await stopping == 0

    with start(tmp_path, placement) as server:
        asyncio.run(go(server))
        assert not [r for r in server.log if r["level"] == "error"]


# ---- one connection, several requests

def get(peer, path):
    return ("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (path, peer.host)).encode()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_connection_that_fetched_files_becomes_a_websocket(
        tmp_path, placement):
    with start(tmp_path, placement) as server:
        for name in NAMES:              # each at home elsewhere
            peer = Peer(server.port)
            for other in NAMES:
                peer.send(get(peer, "/%s/f.txt" % other))
                assert peer.response().body == b"file of %s\n" % (
                    placement.encode())
            peer.send(get(peer, "/nobody/"))
            assert peer.response().status == 404
            peer.open("/%s/" % name, pipelined=encode(TEXT, b"1 x"))
            assert report(peer)["open"] == 1
            assert peer.goodbye(1000) == (1000, "")
            peer.close()
        until(lambda: "connections" not in counters(server))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_requests_and_frames_of_one_packet_are_all_answered_in_order(
        tmp_path, placement):
    """Files of several apps, a WebSocket, and messages, sent at once and cut
    anywhere."""
    dice = seeded()
    count = 3 if IS_TINY else 30
    with start(tmp_path, placement) as server:
        for _ in range(10 if IS_TINY else 40):
            with Peer(server.port) as peer:
                data = b"".join(
                    get(peer, "/%s/f.txt" % dice.choice(NAMES))
                    for _ in range(dice.randint(0, 3)))
                files = data.count(b"GET ")
                data += peer.request("/%s/?think=0.001" % dice.choice(NAMES))
                data += words(dice, count)
                for piece in pieces(dice, data):
                    peer.send(piece)
                for _ in range(files):
                    assert peer.response().status == 200
                assert peer.response().status == 101
                heard = []
                while len(heard) <= count:
                    message = peer.message()
                    heard += [] if message == "tick" else [message]
                assert heard == ["hello"] + [
                    "ack %d" % n for n in range(1, count + 1)]
                assert peer.goodbye(1000) == (1000, "")
        until(lambda: "connections" not in counters(server))


def test_a_connection_that_is_refused_by_an_app_elsewhere_is_ended(tmp_path):
    with start(tmp_path, "spread") as server:
        for i in range(8):
            peer = Peer(server.port)
            peer.send(peer.request("/%s/?refuse=1" % NAMES[i % 4]))
            response = peer.response()
            assert response.status == 403 and b"not you" in response.body
            assert peer.finished() == b""
            peer.close()
        until(lambda: "connections" not in counters(server))

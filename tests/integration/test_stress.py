"""Five hundred clients at once, and none of them behaves.

Handlers, tasks and timers broadcast in several rooms while clients come, talk,
change rooms, stall, and go: with a Close, with a FIN, by RST, in the middle of
a frame. Twice a new version of the app takes over, once a broken one does not.

What holds all the while:
  - every stream is well-formed (FrameReader is strict);
  - a scribe who is in all such rooms hears each sender's numbers 1, 2, 3...;
  - what any member hears of a room is what the scribe heard, in that order,
    nothing missing, nothing twice, from its joining to its leaving (in rooms
    whose policy drops: in order, and nothing twice);
  - answers to a client come in the order of its messages, also across a
    version's end, and client.data has counted them;
  - a keeper is told each on_open and on_close: they pair up exactly.

MOONWIRE_SEED repeats a run's dice (not its timing); it is printed.
MOONWIRE_STRESS_S stretches it.
"""
import asyncio
import os
import random
import signal
import socket
import struct
import time

from support.lab import IS_TINY, IS_TSAN, counters, serve
from support.wire import (BINARY, CLOSE, FACTOR, HOST, PING, PONG, TEXT,
                          FrameReader, close_payload, encode, parse_close)

# 500 at once; fewer where the server is slow, and fewer words where its
# buffers are tiny.
STEADY, DROPPERS, OTHERS = ((35, 5, 20) if IS_TINY else (120, 10, 80)
                            if IS_TSAN else (350, 10, 240))
AT_ONCE = 50 if IS_TINY else 150 if IS_TSAN else 500
PADS = [0, 10, 30] if IS_TINY else [0, 10, 100, 300, 2000]
RUN_S = float(os.environ.get("MOONWIRE_STRESS_S", "12"))
ROOMS = ["r%d" % i for i in range(8)]
LOSSY = ["drop1", "drop2"]
GENERATION = 10_000_000     # (generation, number in it) as one integer

CONF = """return {
  outbox = { hard = "64KB", soft = 100, soft_for = "500ms" }, ping = "1s",
  env = { TINY = "%s" },
}
""" % ("yes" if IS_TINY else "no")

MAIN = """
-- version %d
local TINY = env.TINY == "yes"
local STRICT = { "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7" }
local ROOMS = { "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7",
                "drop1", "drop2", "*" }
rooms.define("drop*", { slow = "drop_oldest" })

local number = {}                   -- room -> broadcasts of this generation
local stopped = false

-- Atomic: what is numbered here is broadcast here.
local function cast(sender, seq, names, except, pad)
  local at = {}
  for i, name in ipairs(names) do
    number[name] = (number[name] or 0) + 1
    at[i] = name .. "=" .. number[name]
  end
  local text = table.concat({ "B", app.generation, sender, seq,
    except and except.id or 0, table.concat(at, ","), ("p"):rep(pad) }, " ")
  if names[1] == "*" then
    broadcast(text, { rooms = STRICT })
  elseif #names == 1 then
    room(names[1]):broadcast(text, { except = except })
  else
    broadcast(text, { rooms = names, except = except })
  end
end

for i, name in ipairs(ROOMS) do
  local n, who = 0, "timer" .. app.generation .. "." .. i
  local often, pad = 0.1 + i * 0.013, TINY and i or 40 * i
  if name == "*" then often, pad = 0.7, 10 end
  if name:find("^drop") then often, pad = 0.02, TINY and 20 or 2000 end
  timer.every(often, function()
    if stopped then return end
    n = n + 1
    if i %% 3 == 0 then sleep(0.005) end
    cast(who, n, { name }, nil, pad)
  end)
end

local function keeper(text) broadcast(text, { user = "keeper" }) end

function on_connect(request)
  local q = request.query
  if q.think then sleep(tonumber(q.think)) end
  local names = {}
  for name in (q.rooms or ""):gmatch("[^,]+") do names[#names + 1] = name end
  return { user = q.user ~= "" and q.user or nil, data = { said = 0 }, rooms = names }
end

function on_open(client)
  keeper("open " .. client.id)
  client:send("hello " .. client.id)
end

function on_close(client, code)
  if client.id %% 4 == 0 then sleep(0.003) end
  keeper("close " .. client.id .. " " .. code)
end

local how = {}
function how.now() end
function how.sleep() sleep(0.01) end
function how.lock() lock("l", sleep, 0.001) end
function how.sort() table.sort({ 3, 1, 2 }, function(a, b) sleep(0.001) return a < b end) end
function how.all() task.all { function() sleep(0.002) end, function() end } end

local commands = {}

function commands.say(client, seq, names, way, except, pad)
  local data = client.data
  data.said = data.said + 1
  local said = data.said
  how[way]()
  local list = {}
  for name in names:gmatch("[^,]+") do list[#list + 1] = name end
  cast(client.id, seq, list, except == "except" and client or nil,
       tonumber(pad))
  client:send("ack " .. seq .. " " .. said)
end

function commands.join(client, name)
  assert(client:join(name) or client.closed)
  client:send(("joined %%s %%d"):format(name, number[name] or 0)
              .. " " .. app.generation)
end

function commands.leave(client, name)
  assert(client:leave(name) or client.closed)
  client:send("left " .. name)
end

function commands.spawn(client, name, pad)
  for i = 1, 3 do
    task.spawn(function()
      sleep(0.001 * i)
      cast("-", 0, { name }, nil, tonumber(pad))
    end)
  end
end

function commands.stop() stopped = true keeper("stopped") end
function commands.finish() broadcast("END") end
function commands.count() keeper("count " .. clients.count()) end

function on_message(client, text, is_binary)
  local words = {}
  for word in text:gmatch("%%S+") do words[#words + 1] = word end
  commands[words[1]](client, table.unpack(words, 2))
end
"""


class Member:
    """One connection and what it has heard."""

    def __init__(self, rooms, user=""):
        self.rooms = set(rooms)
        self.user = user
        self.id = None
        self.sent = self.acked = 0
        self.heard = []             # [room, (generation, number) or None, []]
        self.now = {}               # room -> its list in heard
        # "*" is all rooms of ROOMS together.
        for room in [*rooms, *(["*"] if rooms and rooms != LOSSY else [])]:
            self.enter(room, None)
        self.ended = None           # (code, reason), "eof", "reset"
        self.is_done = asyncio.Event()      # END, or the end
        self.is_mute = False        # has sent a FIN
        self.inbox = asyncio.Queue()        # what is no broadcast
        self.frames = FrameReader()

    def enter(self, room, since):
        self.now[room] = []
        self.heard.append((room, since, self.now[room]))

    async def connect(self, port, rcvbuf=None, think=None, pipelined=b""):
        sock = socket.socket()
        if rcvbuf is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
        self.reader, self.writer = await asyncio.open_connection(
            sock=sock, limit=4096 if rcvbuf is not None else 1 << 16)
        query = "rooms=%s&user=%s" % (",".join(sorted(self.rooms)), self.user)
        if think:
            query += "&think=%s" % think
        self.writer.write((
            "GET /?%s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            % (query, HOST, port)).encode() + pipelined)
        if think:
            return self
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return self

    # ---- in

    async def read(self):
        """Until the stream ends; strictly."""
        try:
            while True:
                data = await self.reader.read(1 << 16)
                if not data:
                    self.ended = self.ended or "eof"
                    break
                self.frames.feed(data)
                while (frame := self.frames.take()) is not None:
                    self.take(frame)
        except ConnectionError:
            self.ended = self.ended or "reset"
        finally:
            self.is_done.set()

    def take(self, frame):
        if frame.opcode == TEXT:
            assert frame.fin
            self.hear(frame.payload.decode())
        elif frame.opcode == PING:
            self.write(encode(PONG, frame.payload))
        elif frame.opcode == CLOSE:
            self.ended = parse_close(frame.payload)
            self.write(encode(CLOSE, frame.payload))
        else:
            raise AssertionError(frame)

    def hear(self, text):
        word, _, rest = text.partition(" ")
        if word == "B":
            self.hear_broadcast(rest)
        elif word == "ack":
            seq, said = map(int, rest.split())
            assert seq == said == self.acked + 1, (text, self.acked)
            self.acked = seq
        elif word == "joined":
            room, number, generation = rest.split()
            self.enter(room, (int(generation), int(number)))
        elif word == "left":
            del self.now[rest]
        elif word == "hello":
            assert self.id is None
            self.id = int(rest)
        elif word == "END":
            self.is_done.set()
        else:
            self.inbox.put_nowait(text)

    def hear_broadcast(self, rest):
        generation, sender, seq, besides, at, _ = rest.split(" ", 5)
        assert self.id is None or int(besides) != self.id, rest
        is_mine = False
        for part in at.split(","):
            room, number = part.split("=")
            if room in self.now:
                is_mine = True
                self.now[room].append(
                    int(generation) * GENERATION + int(number))
        assert is_mine, "not in that room: %s" % rest[:60]

    # ---- out

    def write(self, data):
        if not self.is_mute and not self.writer.is_closing():
            self.writer.write(data)

    def text(self, *words):
        self.write(encode(TEXT, " ".join(map(str, words)).encode()))

    def say(self, rooms, way="now", besides="all", pad=10):
        self.sent += 1
        self.text("say", self.sent, ",".join(rooms), way, besides, pad)

    def reset(self):
        sock = self.writer.get_extra_info("socket")
        if sock is not None and not self.writer.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                            struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Scribe(Member):
    """Hears all that must not be lost; what it wrote down was said."""

    def __init__(self):
        super().__init__(ROOMS, "scribe")
        self.place = {room: {} for room in [*ROOMS, "*"]}
        self.besides = {room: [] for room in self.place}
        self.order = {room: [] for room in self.place}
        self.last = {}              # sender -> its last number

    def hear_broadcast(self, rest):
        generation, sender, seq, besides, at, _ = rest.split(" ", 5)
        if sender != "-":
            last = self.last.get(sender, 0)
            assert int(seq) == last + 1, (last, rest[:60])
            self.last[sender] = int(seq)
        for part in at.split(","):
            room, number = part.split("=")
            key = int(generation) * GENERATION + int(number)
            assert key not in self.place[room], rest[:60]
            self.place[room][key] = len(self.order[room])
            self.order[room].append(key)
            self.besides[room].append(int(besides))

    def check(self, member):
        for room, since, keys in member.heard:
            if room in LOSSY:
                for generation in {key // GENERATION for key in keys}:
                    mine = [k for k in keys if k // GENERATION == generation]
                    assert mine == sorted(set(mine)), (room, mine)
                continue
            places = [self.place[room][key] for key in keys]
            besides = self.besides[room]
            if since is not None and since[1] > 0 and places:
                at = self.place[room][since[0] * GENERATION + since[1]]
                # In between only what an older generation said.
                assert places[0] > at and all(
                    self.order[room][i] // GENERATION != since[0]
                    or besides[i] == member.id
                    for i in range(at + 1, places[0]))
            for a, b in zip(places, places[1:]):
                assert a < b and all(besides[i] == member.id
                                     for i in range(a + 1, b)), (
                    room, a, b, member.id)


class Stress:
    def __init__(self, server, dice):
        self.server, self.dice = server, dice
        self.members = []           # all there ever were
        self.living = set()
        self.is_over = False
        self.readers = []
        self.kinds = {}

    def start_reading(self, member):
        task = asyncio.create_task(member.read())
        self.readers.append(task)
        return task

    async def come(self, rooms=None, **how):
        rooms = rooms or self.dice.sample(ROOMS, 2)
        member = Member(rooms)
        self.members.append(member)
        await member.connect(self.server.port, **how)
        return member

    async def pause(self, mean):
        await asyncio.sleep(min(self.dice.expovariate(1 / mean), 4 * mean))

    def talk(self, member):
        dice = self.dice
        rooms = sorted(member.rooms)
        rooms = rooms if dice.random() < 0.2 else [dice.choice(rooms)]
        member.say(rooms,
                   dice.choice(["now"] * 4 + ["sleep", "lock", "sort", "all"]),
                   dice.choice(["all", "all", "except"]),
                   dice.choice(PADS))

    # ---- what clients are like; each returns when its client has gone

    async def steady(self):
        member = await self.come()
        self.living.add(member)
        reading = self.start_reading(member)
        while not self.is_over and member.ended is None:
            await self.pause(2.5)
            if not self.is_over:
                self.talk(member)
        await member.is_done.wait()
        assert member.ended is None, "a healthy client lost: %s" % (
            member.ended,)
        assert member.acked == member.sent
        member.write(encode(CLOSE, close_payload(4000)))
        await reading
        assert member.ended == (4000, ""), member.ended
        member.writer.close()

    async def mover(self):
        """Changes rooms all the time."""
        member = await self.come()
        reading = self.start_reading(member)
        for _ in range(self.dice.randint(2, 10)):
            if member.ended is not None or self.is_over:
                break
            room = self.dice.choice(sorted(member.rooms))
            others = sorted(set(ROOMS) - member.rooms)
            if not others or (len(member.rooms) > 1
                              and self.dice.random() < 0.5):
                member.rooms.discard(room)
                member.text("leave", room)
            else:
                member.rooms.add(others[0])
                member.text("join", others[0])
            if member.rooms:
                self.talk(member)
            await self.pause(0.2)
        member.write(encode(CLOSE, close_payload(1000)))
        await reading
        assert member.ended == (1000, ""), member.ended
        member.writer.close()

    async def guest(self):
        """Says a few things, also with the handshake, and goes politely."""
        member = Member(self.dice.sample(ROOMS, 2))
        self.members.append(member)
        words = self.dice.randint(0, 5)
        early = b"".join(
            encode(TEXT, ("say %d %s %s all 10" % (
                i, self.dice.choice(sorted(member.rooms)),
                self.dice.choice(["now", "sleep"]))).encode())
            for i in range(1, words + 1))
        member.sent = words
        await member.connect(self.server.port, pipelined=early)
        reading = self.start_reading(member)
        await self.pause(0.5)
        code = self.dice.choice([1000, 1001, 4321])
        member.write(encode(CLOSE, close_payload(code, "bye")))
        await reading
        assert member.ended == (code, ""), member.ended
        member.writer.close()

    async def vanisher(self):
        """RST, FIN or half of a frame first, at any moment."""
        think = self.dice.choice([None, None, None, "0.05"])
        member = await self.come(think=think)
        if think:
            await self.pause(0.05)
            member.reset()
            return
        if self.dice.random() < 0.3:        # leaves unread what came
            self.talk(member)
            await self.pause(0.3)
            member.reset()
            return
        reading = self.start_reading(member)
        for _ in range(self.dice.randint(0, 3)):
            self.talk(member)
        await self.pause(0.3)
        if self.dice.random() < 0.5:
            frame = encode(BINARY, bytes(5000))
            member.write(frame[:self.dice.randint(1, len(frame) - 1)])
        end = self.dice.choice(["rst", "fin", "half"])
        if end == "rst":
            member.reset()
        elif end == "fin":
            member.writer.close()
        elif member.ended is None:
            member.is_mute = True
            try:
                member.writer.write_eof()
            except OSError:
                pass                        # it was cut off before
        await reading
        member.writer.close()

    async def staller(self):
        """Reads nothing until it is closed for that."""
        member = await self.come(rcvbuf=4096)
        self.talk(member)
        ends = time.monotonic() + self.dice.uniform(3, 8)
        while time.monotonic() < ends and not self.is_over:
            await asyncio.sleep(0.2)
        reading = self.start_reading(member)
        if self.dice.random() < 0.5:
            member.write(encode(CLOSE, close_payload(1000)))
        else:
            await asyncio.wait([reading], timeout=0.3)
            member.reset()
        await reading
        assert member.ended in ((1013, "slow"), (1000, ""), "reset", "eof")
        member.writer.close()

    async def dropper(self):
        """Stalls where the policy drops, and is not closed for it. (Answers
        would close it: they are sent under the policy of the app.)"""
        member = await self.come(rooms=LOSSY, rcvbuf=4096)
        self.living.add(member)
        await asyncio.sleep(self.dice.uniform(1, 4))
        reading = self.start_reading(member)
        while not self.is_over:
            await self.pause(0.5)
            if not self.is_over:
                member.text("spawn", self.dice.choice(LOSSY), 100)
        await member.is_done.wait()
        member.write(encode(CLOSE, close_payload(4000)))
        await reading
        assert member.ended == (4000, ""), member.ended
        member.writer.close()

    # ---- the whole

    async def worker(self, index):
        await asyncio.sleep(self.dice.uniform(0, 1.5))
        if index < STEADY:
            return await self.one("steady")
        if index < STEADY + DROPPERS:
            return await self.one("dropper")
        while not self.is_over:
            await self.one(self.dice.choice(
                ["mover", "guest", "guest", "vanisher", "vanisher",
                 "staller"]))

    async def one(self, kind):
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        await getattr(self, kind)()

    async def reloads(self):
        server = self.server
        for version, step in enumerate(["good", "bad", "good"], 2):
            await asyncio.sleep(RUN_S / 4)
            mark = server.mark()
            server.write("main.lua", MAIN % version if step == "good"
                         else "local x = = 1\n")
            said = await asyncio.to_thread(
                server.wait_log, lambda r: r.get("event") == "reload",
                since=mark)
            assert ("reloaded" in said["msg"]) == (step == "good"), said

    async def told(self, keeper, word):
        """-> the next thing of this kind that the keeper is told."""
        while True:
            text = await asyncio.wait_for(keeper.inbox.get(), 20 * FACTOR)
            if text.startswith(word):
                return text
            self.journal.append(text)

    async def run(self):
        try:
            await self.play()
        finally:
            # After a failure: nobody else has to say how it ended for him.
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    async def play(self):
        keeper = await Member([], "keeper").connect(self.server.port)
        scribe = await Scribe().connect(self.server.port)
        self.journal = []           # what the keeper was told
        for member in (keeper, scribe):
            self.start_reading(member)
        workers = [asyncio.create_task(self.worker(i))
                   for i in range(STEADY + DROPPERS + OTHERS)]
        reloads = asyncio.create_task(self.reloads())
        most = 0
        ends = time.monotonic() + RUN_S
        while time.monotonic() < ends:
            await asyncio.sleep(0.5)
            most = max(most, counters(self.server).get("clients", 0))
            for task in [*workers, *self.readers, reloads]:
                if task.done():
                    task.result()       # raises what it died of
        await reloads

        self.is_over = True
        await asyncio.wait_for(
            asyncio.gather(*workers[STEADY + DROPPERS:]), 30 * FACTOR)
        keeper.text("stop")
        await self.told(keeper, "stopped")
        keeper.text("finish")
        await asyncio.wait_for(asyncio.gather(*workers), 30 * FACTOR)
        await asyncio.wait_for(scribe.is_done.wait(), 30 * FACTOR)
        while True:
            keeper.text("count")
            if await self.told(keeper, "count") == "count 2":
                break
            await asyncio.sleep(0.1)
        await self.check(keeper, scribe, most)
        for member in (keeper, scribe):
            member.write(encode(CLOSE, close_payload(1000)))
        await asyncio.gather(*self.readers)
        for member in (keeper, scribe):
            member.writer.close()

    async def check(self, keeper, scribe, most):
        # on_close may still wait; the keeper hears of it.
        opened, closed = set(), {}
        for text in self.journal:
            self.pair(text, opened, closed)
        while opened - set(closed) != {keeper.id, scribe.id}:
            self.pair(await self.told(keeper, ""), opened, closed)
        for member in self.members:
            assert member.id is None or member.id in closed
            scribe.check(member)
        heard = sum(len(keys) for m in self.members for *_, keys in m.heard)
        print("%d clients (most at once %d, %s), %d broadcasts, %d heard" % (
            len(self.members), most, self.kinds,
            sum(map(len, scribe.order.values())), heard))
        assert most >= AT_ONCE
        assert heard > (100 if IS_TINY else 1000) * RUN_S

    @staticmethod
    def pair(text, opened, closed):
        word, id_, *code = text.split()
        if word == "open":
            assert int(id_) not in opened, text
            opened.add(int(id_))
        else:
            assert word == "close", text
            assert int(id_) in opened and int(id_) not in closed, text
            closed[int(id_)] = int(code[0])


def test_five_hundred_who_do_not_behave(tmp_path):
    seed = int(os.environ.get("MOONWIRE_SEED", random.randrange(1 << 32)))
    print("MOONWIRE_SEED=%d" % seed)
    with serve(tmp_path, MAIN % 1, CONF) as server:
        asyncio.run(Stress(server, random.Random(seed)).run())
        count = counters(server)
        print(count)
        assert count["reloads_total"] == 2
        assert count["reloads_failed_total"] == 1
        if not IS_TINY:
            assert count["slow_closed_total"] > 0
            assert count["dropped_oldest_total"] > 0
        assert "handler_errors_total" not in count
        assert "protocol_errors_total" not in count
        assert not [r for r in server.log if r["level"] == "error"
                    and r.get("event") != "reload"]

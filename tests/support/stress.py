"""Clients that do not behave, and how it is proved that nothing went wrong.

Handlers, tasks and timers of an app broadcast in several rooms while clients
come, talk, change rooms, stall, and go: with a Close, with a FIN, by RST, in
the middle of a frame. New versions of the app take over, broken ones do not.

What holds all the while:
  - every stream is well-formed (FrameReader is strict);
  - a scribe who is in all such rooms hears each sender's numbers 1, 2, 3...;
  - what any member hears of a room is what the scribe heard, in that order,
    nothing missing, nothing twice, from its joining to its leaving (in rooms
    whose policy drops: in order, and nothing twice);
  - answers to a client come in the order of its messages, also across a
    version's end, and client.data has counted them;
  - a keeper is told each on_open and on_close: they pair up exactly, and no
    other event of that client comes before the one or after the other.

A Stress is one app and its clients; play() lets several of them run at once.
"""
import asyncio
import collections
import os
import random
import time

from support.lab import IS_TINY, counters
from support.stress_app import LOSSY, MAIN, ROOMS, conf
from support.stress_member import Member, Scribe
from support.wire import BINARY, CLOSE, FACTOR, TEXT, close_payload, encode

PADS = [0, 10, 30] if IS_TINY else [0, 10, 100, 300, 2000]
RUN_S = float(os.environ.get("MOONWIRE_STRESS_S", "12"))

# How many clients of each sort there are at once.
Size = collections.namedtuple("Size", "steady droppers others")


def seeded():
    """-> dice. MOONWIRE_SEED repeats a run's dice (not its timing)."""
    seed = int(os.environ.get("MOONWIRE_SEED", random.randrange(1 << 32)))
    print("MOONWIRE_SEED=%d" % seed)
    return random.Random(seed)


class Stress:
    """One app, served at `path`, whose files lie in `folder` below the
    server's directory; its clients; and what is done to its files: "good",
    "bad" (no Lua), "conf" (other settings). settings: of conf()."""

    def __init__(self, server, dice, size, path="/", folder="",
                 edits=("good", "bad", "good"), **settings):
        self.server, self.dice = server, dice
        self.size, self.path, self.folder = size, path, folder
        self.edits, self.settings = edits, settings
        self.members = []           # all there ever were
        self.living = set()
        self.is_over = False
        self.readers = []
        self.kinds = collections.Counter()
        self.journal = []           # what the keeper was told

    def start_reading(self, member):
        task = asyncio.create_task(member.read())
        self.readers.append(task)
        return task

    async def come(self, rooms=None, **how):
        rooms = rooms or self.dice.sample(ROOMS, 2)
        member = Member(rooms)
        self.members.append(member)
        await member.connect(self.server.port, self.path, **how)
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
        await member.connect(self.server.port, self.path, pipelined=early)
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
        if index < self.size.steady:
            return await self.one("steady")
        if index < self.size.steady + self.size.droppers:
            return await self.one("dropper")
        while not self.is_over:
            await self.one(self.dice.choice(
                ["mover", "guest", "guest", "vanisher", "vanisher",
                 "staller"]))

    async def one(self, kind):
        self.kinds[kind] += 1
        await getattr(self, kind)()

    def edit(self, version, kind):
        if kind == "conf":
            self.server.write(self.folder + "app.conf.lua",
                              conf(ping_s=version, **self.settings))
        else:
            self.server.write(self.folder + "main.lua", MAIN % version
                              if kind == "good" else "local x = = 1\n")

    async def edit_all(self):
        for version, kind in enumerate(self.edits, 2):
            await asyncio.sleep(RUN_S / (len(self.edits) + 1)
                                * self.dice.uniform(0.8, 1.1))
            mark = self.server.mark()
            self.edit(version, kind)
            said = await asyncio.to_thread(
                self.server.wait_log, lambda r: r.get("event") == "reload"
                and (not self.folder or r["app"] == self.folder[:-1]),
                since=mark)
            assert ("reloaded" in said["msg"]) == (kind != "bad"), said

    async def told(self, word):
        """-> the next thing of this kind that the keeper is told."""
        while True:
            text = await asyncio.wait_for(
                self.keeper.inbox.get(), 20 * FACTOR)
            if text.startswith(word):
                return text
            self.journal.append(text)

    # ---- the whole, in three parts

    async def begin(self):
        self.keeper = await Member([], "keeper").connect(
            self.server.port, self.path)
        self.scribe = await Scribe().connect(self.server.port, self.path)
        for member in (self.keeper, self.scribe):
            self.start_reading(member)
        self.workers = [asyncio.create_task(self.worker(i))
                        for i in range(sum(self.size))]
        self.edits_done = asyncio.create_task(self.edit_all())

    def look(self):
        """Raises what one of them died of."""
        for task in [*self.workers, *self.readers, self.edits_done]:
            if task.done():
                task.result()

    async def end(self):
        keeper, scribe = self.keeper, self.scribe
        await self.edits_done
        self.is_over = True
        await asyncio.wait_for(asyncio.gather(
            *self.workers[self.size.steady + self.size.droppers:]),
            30 * FACTOR)
        keeper.text("stop")
        await self.told("stopped")
        keeper.text("finish")
        await asyncio.wait_for(asyncio.gather(*self.workers), 30 * FACTOR)
        await asyncio.wait_for(scribe.is_done.wait(), 30 * FACTOR)
        await asyncio.wait_for(self.everybody_has_gone(), 30 * FACTOR)
        await self.check()
        for member in (keeper, scribe):
            member.write(encode(CLOSE, close_payload(1000)))
        await asyncio.wait_for(asyncio.gather(*self.readers), 30 * FACTOR)
        for member in (keeper, scribe):
            member.writer.close()

    async def everybody_has_gone(self):
        while True:
            self.keeper.text("count")
            if await self.told("count") == "count 2":
                return
            await asyncio.sleep(0.1)

    async def check(self):
        # on_close may still wait; the keeper hears of it.
        opened, closed = set(), {}
        for text in self.journal:
            self.pair(text, opened, closed)
        while opened - set(closed) != {self.keeper.id, self.scribe.id}:
            self.pair(await self.told(""), opened, closed)
        for member in self.members:
            assert member.id is None or member.id in closed
            self.scribe.check(member)
        self.heard = sum(len(stay.keys)
                         for m in self.members for stay in m.heard)
        self.said = sum(map(len, self.scribe.order.values()))

    @staticmethod
    def pair(text, opened, closed):
        word, id_, *code = text.split()
        id_ = int(id_)
        if word == "open":
            assert id_ not in opened, text
            opened.add(id_)
            return
        assert id_ in opened and id_ not in closed, text
        if word == "close":
            closed[id_] = int(code[0])
        else:
            assert word in ("slow", "drain"), text


async def play(server, parts):
    """Lets them run all at once. -> the most clients there were at once."""
    try:
        return await begin_and_end(server, parts)
    finally:
        # After a failure: nobody else has to say how it ended for him.
        for part in parts:
            part.is_over = True
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        if rest:
            done, _ = await asyncio.wait(rest, timeout=10)
            await asyncio.gather(*done, return_exceptions=True)


async def begin_and_end(server, parts):
    most = 0
    for part in parts:
        await part.begin()
    ends = time.monotonic() + RUN_S
    while time.monotonic() < ends:
        await asyncio.sleep(0.5)
        count = await asyncio.to_thread(counters, server)
        most = max(most, count.get("clients", 0))
        for part in parts:
            part.look()
    await asyncio.gather(*(part.end() for part in parts))
    kinds = sum((part.kinds for part in parts), collections.Counter())
    print("%d clients (most at once %d, %s), %d broadcasts, %d heard" % (
        sum(len(part.members) for part in parts), most, dict(kinds),
        sum(part.said for part in parts), sum(part.heard for part in parts)))
    return most

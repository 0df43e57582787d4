"""One client of the stress tests, and what it has heard; and the scribe, who
hears all and judges the others."""
import asyncio
import socket
import struct

from support.stress_app import GENERATION, LOSSY, ROOMS
from support.wire import (CLOSE, FACTOR, HOST, PING, PONG, TEXT, FrameReader,
                          encode, parse_close)


class Stay:
    """What a member has heard of a room from its joining to its leaving."""

    def __init__(self, room, since):
        self.room = room
        self.since = since          # (generation, number) when it joined
        self.keys = []
        self.is_whole = False       # until END


class Member:
    """One connection and what it has heard."""

    def __init__(self, rooms, user=""):
        self.rooms = set(rooms)
        self.user = user
        self.id = None
        self.sent = self.acked = 0
        self.heard = []             # its Stays
        self.now = {}               # room -> the one that goes on
        # "*" is all rooms of ROOMS together.
        for room in [*rooms, *(["*"] if rooms and rooms != LOSSY else [])]:
            self.enter(room)
        self.ended = None           # (code, reason), "eof", "reset"
        self.is_done = asyncio.Event()      # END, or the end
        self.is_mute = False        # has sent a FIN
        self.inbox = asyncio.Queue()        # what is no broadcast
        self.frames = FrameReader()

    def enter(self, room, since=None):
        self.now[room] = Stay(room, since)
        self.heard.append(self.now[room])

    async def connect(self, port, path="/", rcvbuf=None, think=None,
                      pipelined=b""):
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
            "GET %s?%s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            % (path, query, HOST, port)).encode() + pipelined)
        if think:
            return self
        try:
            head = await asyncio.wait_for(
                self.reader.readuntil(b"\r\n\r\n"), 20 * FACTOR)
        except TimeoutError:
            raise AssertionError("no answer: %s from port %d" % (
                path, sock.getsockname()[1])) from None
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
            self.greet(*rest.split(" "))
        elif word == "END":
            self.hear_end()
            self.is_done.set()
        else:
            self.inbox.put_nowait(text)

    def greet(self, id_, generation, since):
        self.id = int(id_)
        for part in filter(None, since.split(",")):
            room, number = part.split("=")
            self.now[room].since = int(generation), int(number)

    def hear_end(self):
        for stay in self.now.values():
            stay.is_whole = True

    def hear_broadcast(self, rest):
        generation, sender, seq, besides, at, _ = rest.split(" ", 5)
        assert self.id is None or int(besides) != self.id, rest
        is_mine = False
        for part in at.split(","):
            room, number = part.split("=")
            if room in self.now:
                is_mine = True
                self.now[room].keys.append(
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

    def hear_end(self):
        self.ends = {room: len(order) for room, order in self.order.items()}

    def check(self, member):
        for stay in member.heard:
            if stay.room in LOSSY:
                self.check_lossy(stay)
            else:
                self.check_all(member, stay)

    @staticmethod
    def check_lossy(stay):
        for generation in {key // GENERATION for key in stay.keys}:
            mine = [k for k in stay.keys if k // GENERATION == generation]
            assert mine == sorted(set(mine)), (stay.room, mine)

    def check_all(self, member, stay):
        room, besides = stay.room, self.besides[stay.room]

        def nothing_between(a, b, what):
            """Nothing but what was said to all but this member."""
            missed = [self.order[room][i] for i in range(a + 1, b)
                      if besides[i] != member.id]
            assert not missed, (what, room, member.id, missed)

        places = [self.place[room][key] for key in stay.keys]
        for a, b in zip(places, places[1:]):
            assert a < b, (room, a, b, member.id)
            nothing_between(a, b, "a gap")
        if stay.is_whole and places:
            nothing_between(places[-1], self.ends[room], "the end")
        if stay.since is not None and (places or stay.is_whole):
            self.check_beginning(member, stay,
                                 [*places, self.ends[room]][0])

    def check_beginning(self, member, stay, first):
        """What its generation said between its joining and what it heard
        first. (An older one may have said more.)"""
        generation, number = stay.since
        while True:
            number += 1
            at = self.place[stay.room].get(generation * GENERATION + number)
            if at is None or at >= first:
                return
            assert self.besides[stay.room][at] == member.id, (
                "the beginning", stay.room, member.id, number)

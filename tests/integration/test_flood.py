"""Clients that send faster than the app takes: the inbox fills, reading
pauses, nothing is lost or reordered, and the others go on.

The handlers of the flood wait at a gate that another client opens.
"""
import statistics
import threading
import time

import pytest

from support import wires
from support.lab import (IS_ASAN, IS_TSAN, ask, counters, forget_peak, memory,
                         not_tiny, serve)
from support.wire import BINARY, FACTOR, TEXT, Peer, encode, until

WIRES = [wires.PLAIN, wires.TLS]

pytestmark = not_tiny

MAIN = """
local open = false
local got, bytes, wrong = 0, 0, {}      -- messages of floods, what was amiss
local at_once, most = 0, 0

local commands = {}

function commands.gate(m) open = m.open return { open = open } end
function commands.ping() return { pong = true } end
function commands.stats()
  return { got = got, bytes = bytes, wrong = json.array(wrong), most = most }
end

local function flood(client, text)
  local data = client.data
  at_once = at_once + 1
  most = math.max(most, at_once)
  while not open do sleep(0.01) end
  local n = tonumber(text:sub(1, 8))
  data.last = (data.last or 0) + 1
  if n ~= data.last then
    wrong[#wrong + 1] = ("%s: %d after %d"):format(data.name, n, data.last - 1)
    data.last = n
  end
  got, bytes = got + 1, bytes + #text
  at_once = at_once - 1
  if data.echo then client:send(text:sub(1, 8)) end
end

local function spin(seconds)
  local ends = os.clock() + seconds
  while os.clock() < ends do end
end

function on_connect(request)
  local q = request.query
  return { data = { name = q.name or "?", spin = tonumber(q.spin),
                    echo = q.echo == "yes" } }
end

function on_message(client, text)
  if text:sub(1, 1) == "{" then
    local m = json.decode(text)
    return client:send(commands[m.cmd](m))
  end
  if client.data.spin then spin(client.data.spin) end
  flood(client, text)
end

function on_open(client) client:send("hello") end
"""


def text(i, size=64):
    return b"%08d" % i + b"f" * (size - 8)


class Flood(threading.Thread):
    """Sends messages 1..count as fast as the server takes them."""

    def __init__(self, server, name, count, size=64, query="",
                 opcode=TEXT):
        super().__init__(daemon=True)
        self.peer = Peer(server.port, timeout=60 * FACTOR)
        self.peer.open("/?name=%s%s" % (name, query))
        assert self.peer.message() == "hello"
        self.count, self.size, self.opcode = count, size, opcode
        self.sent = 0
        self.start()

    def run(self):
        per_call = max(1, 65536 // self.size)
        for at in range(1, self.count + 1, per_call):
            last = min(at + per_call - 1, self.count)
            try:
                self.peer.send(b"".join(
                    encode(self.opcode, text(i, self.size))
                    for i in range(at, last + 1)))
            except OSError:
                return      # the test has cut it off
            self.sent = last


def settle(floods):
    """Waits until the server takes nothing of any of them any more."""
    def total():
        return sum(f.sent for f in floods)

    def is_held():
        before = total()
        time.sleep(0.3)
        return before == total() and any(f.is_alive() for f in floods)

    until(is_held, what="for the floods to be held")


def drained(boss, total):
    return until(lambda: (lambda s: s if s["got"] >= total else None)(
        ask(boss, cmd="stats")), seconds=60 * FACTOR, what="for the flood")


def test_a_flood_is_held_and_nothing_of_it_lost(tmp_path):
    count = 60_000
    with serve(tmp_path, MAIN) as server:
        boss = Peer(server.port).open("/?name=boss")
        assert boss.message() == "hello"
        other = Peer(server.port).open("/?name=other&echo=yes")
        assert other.message() == "hello"
        forget_peak(server.pid)
        before, _ = memory(server.pid)
        flood = Flood(server, "flood", count, size=256)
        settle([flood])

        # One handler waits, 64 events are queued, and nobody reads on: what
        # has come stays in the kernel, up to the sender.
        now = counters(server)
        assert now["read_pauses_total"] >= 1
        came = now["messages_in_total"]
        assert 64 <= came <= 66
        assert flood.sent < count
        took = []
        for _ in range(50):
            begun = time.monotonic()
            assert ask(boss, cmd="ping") == {"pong": True}
            took.append(time.monotonic() - begun)
        assert statistics.median(took) < 0.02 * FACTOR
        assert ask(boss, cmd="stats")["got"] == 0

        # Others too may flood; each has events of its own.
        other.send(b"".join(encode(TEXT, text(i)) for i in range(1, 21)))
        ask(boss, cmd="gate", open=True)
        assert [int(m) for m in other.messages(20)] == list(range(1, 21))
        stats = drained(boss, count + 20)
        assert stats == {"got": count + 20, "bytes": count * 256 + 20 * 64,
                         "wrong": [], "most": 2}
        flood.join(10 * FACTOR)
        _, peak = memory(server.pid)
        assert peak - before < (32 if IS_ASAN else 8) << 20


def test_a_flood_whose_handlers_compute_delays_others_by_one_event(tmp_path):
    with serve(tmp_path, MAIN) as server:
        boss = Peer(server.port).open("/?name=boss")
        boss.message()
        ask(boss, cmd="gate", open=True)
        floods = [Flood(server, "f%d" % i, 400, query="&spin=0.002")
                  for i in range(3)]
        took = []
        while any(f.is_alive() for f in floods) or len(took) < 20:
            begun = time.monotonic()
            ask(boss, cmd="ping")
            took.append(time.monotonic() - begun)
        # Of each flood 64 events of 2 ms are waiting: 384 ms, but no more
        # than a few of them are run before ours.
        assert statistics.median(took) < 0.15
        assert drained(boss, 1200)["wrong"] == []


def test_a_flood_by_a_hundred_meets_the_bound_of_the_app(tmp_path):
    each = 600
    with serve(tmp_path, MAIN) as server:
        boss = Peer(server.port).open("/?name=boss")
        boss.message()
        floods = [Flood(server, "f%d" % i, each) for i in range(100)]
        until(lambda: counters(server).get("messages_in_total", 0) >= 4096)
        time.sleep(0.3)     # nothing more may come
        came = counters(server)["messages_in_total"]
        # 4,096 events in the inbox, a handler under way for each client.
        assert 4096 <= came <= 4096 + 100
        assert counters(server)["read_pauses_total"] >= 60

        # All of that waits behind handlers that wait. Who has nothing there
        # is heard: also who is new, and at once.
        late = Peer(server.port).open("/?name=late&echo=yes")
        assert late.message() == "hello"
        late.text(text(1).decode())
        for _ in range(20):
            assert ask(boss, cmd="ping") == {"pong": True}
        assert counters(server)["messages_in_total"] == came + 21
        for flood in floods[:40]:
            flood.peer.reset()
        ask(boss, cmd="gate", open=True)
        assert late.message() == "00000001"
        until(lambda: not any(f.is_alive() for f in floods[40:]))
        drained(boss, 60 * each + 1)
        assert ask(boss, cmd="stats")["wrong"] == []


@pytest.mark.parametrize("size, count, clients", [
    (512 << 10, 24, 40), (1000 << 10, 12, 40)])
def test_big_messages_meet_the_bound_of_8_mib(tmp_path, size, count, clients):
    with serve(tmp_path, MAIN) as server:
        boss = Peer(server.port).open("/?name=boss")
        boss.message()
        before, _ = memory(server.pid)
        forget_peak(server.pid)
        floods = [Flood(server, "b%d" % i, count, size, opcode=BINARY)
                  for i in range(clients)]
        settle(floods)
        _, peak = memory(server.pid)
        # 8 MiB wait in the inbox, and the one that goes over it; each client
        # has one in Lua's hands and one half read.
        held = (8 << 20) + 2 * clients * size
        if not IS_TSAN:     # whose shadow is several times as large
            assert peak - before < held * (2 if IS_ASAN else 1.2) + (24 << 20)
        assert counters(server)["read_pauses_total"] > 0
        ask(boss, cmd="gate", open=True)
        stats = drained(boss, count * clients)
        assert stats["wrong"] == []
        assert stats["got"] == count * clients
        assert stats["bytes"] == count * clients * size


def test_a_flood_that_ends_with_a_close_is_heard_to_its_end(tmp_path):
    with serve(tmp_path, MAIN + """
    local closed = json.null
    function on_close(client, code, reason)
      if client.data.name == "f" then
        closed = { code = code, reason = reason, got = got }
      end
    end
    function commands.closed() return { closed = closed } end
    """) as server:
        boss = Peer(server.port).open("/?name=boss")
        boss.message()
        peer = Peer(server.port).open("/?name=f")
        peer.message()
        peer.send(b"".join(encode(TEXT, text(i)) for i in range(1, 501))
                  + encode(8, b"\x0f\xa1bye"))
        until(lambda: counters(server).get("read_pauses_total", 0) >= 1)
        # It must not be held dead because nobody reads from it.
        ask(boss, cmd="gate", open=True)
        assert peer.closed() == (4001, "")
        until(lambda: ask(boss, cmd="closed")["closed"])
        assert ask(boss, cmd="closed") == {
            "closed": {"code": 4001, "reason": "bye", "got": 500}}
        assert ask(boss, cmd="stats")["wrong"] == []


def test_who_is_paused_is_not_held_dead(tmp_path):
    """Its pongs cannot be read either; the clock of the pings stands."""
    with serve(tmp_path, MAIN, 'return { ping = "300ms" }') as server:
        boss = Peer(server.port).open("/?name=boss")
        boss.message()
        peer = Peer(server.port).open("/?name=f&echo=yes")
        peer.message()
        peer.send(b"".join(encode(TEXT, text(i)) for i in range(1, 201)))
        ends = time.monotonic() + 1.5
        while time.monotonic() < ends:
            ask(boss, cmd="ping")   # it answers pings on the way
            time.sleep(0.1)
        ask(boss, cmd="gate", open=True)
        assert [int(m) for m in peer.messages(200)] == list(range(1, 201))
        assert len(boss.pings) == 0 or boss.answers_pings

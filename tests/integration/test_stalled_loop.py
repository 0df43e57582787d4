"""One loop of four stands still for a while: its thread is held up.

The others may not notice but for what they have to do with it. What they
would tell it waits, up to a bound that is counted; what its apps' clients say
waits, up to a bound behind which nobody reads; then it goes on, and nothing
is lost but what was counted.
"""
import json
import signal
import socket
import threading
import time

import pytest

from support.crowd import Crowd
from support.hold import held, thread_of
from support.lab import (IS_ASAN, IS_TINY, IS_TSAN, ask, counters, memory,
                         not_tiny, serve_many)
from support.wire import FACTOR, TEXT, Peer, encode, until

LOOPS = 4
MIB = 1 << 20
WINDOW_BYTES = 16 * MIB         # LIMIT_WINDOW_BYTES
MAILBOX_LETTERS = 16384         # LIMIT_MAILBOX_LETTERS

# Shadow memory comes on top of what the server takes.
SHARE = 3 if IS_ASAN or IS_TSAN else 1

APP = """
local said, full = 0, 0

local commands = {}

function commands.burn(c)
  local ends = time.monotonic() + c.burn
  while time.monotonic() < ends do end
  return {}
end

function commands.enlist(c)
  for _, id in ipairs(c.enlist) do assert(clients.get(id):join(c.room)) end
  return { count = room(c.room):count() }
end

function commands.cast(c)
  local queued, dropped, pad = 0, 0, ("x"):rep(c.pad)
  for i = 1, c.cast do
    said = said + 1
    local q, d = broadcast("B " .. said .. " " .. pad, { room = c.room })
    queued, dropped = queued + q, dropped + d
  end
  return { queued = queued, dropped = dropped, said = said }
end

function commands.send(c)
  local queued, dropped, pad = 0, 0, ("x"):rep(c.pad)
  for i = 1, c.send do
    for _, id in ipairs(c.to) do
      said = said + 1
      local ok, err = clients.get(id):send("B " .. said .. " " .. pad)
      if ok then queued = queued + 1 else
        assert(err == "full", err)
        dropped = dropped + 1
      end
    end
  end
  return { queued = queued, dropped = dropped, said = said }
end

function commands.told(c) return { told = 1 } end

function on_connect() return { data = { n = 0 } } end

function on_open(client) client:send { id = client.id } end

function on_message(client, text)
  if text:sub(1, 1) == "{" then
    local c = json.decode(text)
    client:send(commands[next(c) and c.command](c))
  elseif text == "?" then
    client:send { n = client.data.n, bad = client.data.bad }
  else
    local n = tonumber(text:match("^%d+"))
    if n ~= client.data.n + 1 then client.data.bad = n end
    client.data.n = n
  end
end
"""

# Large outboxes: what a client has waited for comes all at once.
CONF = """return {
  placement = "%s", ping = "1h", limits = { cpu = "10s" },
  outbox = { hard = "64MB", soft = 65536, soft_for = "60s" },
}
"""

# Name: placement; in this order they are dealt over the loops.
APPS = {"a": "home", "b": "spread", "c": "home", "d": "spread", "e": "home",
        "f": "home"}
STUCK = ["b", "f"]              # at home on the loop that is held


def command(peer, name, **how):
    return ask(peer, command=name, **how)


def open_at(server, name, **how):
    """A client that has been told its id."""
    peer = Peer(server.port, **how).open("/%s/" % name)
    peer.id = json.loads(peer.message())["id"]
    return peer


@pytest.fixture
def server(tmp_path):
    apps = {name: {"main": APP, "conf": CONF % placement}
            for name, placement in APPS.items()}
    with serve_many(tmp_path, apps, ["--workers", LOOPS]) as server:
        with open_at(server, "f") as peer:
            server.stuck = thread_of(
                server, lambda: command(peer, "burn", burn=0.4))
        yield server


def find_stuck(peers):
    """-> those whose loop is held: they get no answer from an app elsewhere.
    (The answer is still to come.)"""
    for peer in peers:
        peer.text("?")
    ends = time.monotonic() + 1.5 * FACTOR
    alive = []
    for peer in peers:
        peer.sock.settimeout(max(0.05, ends - time.monotonic()))
        try:
            peer.message()
            alive.append(peer)
        except socket.timeout:
            pass
        peer.sock.settimeout(peer.timeout)
    stuck = [peer for peer in peers if peer not in alive]
    assert alive and stuck, "they are not spread"
    return stuck


def numbers(peer):
    """Of the broadcasts and sends it has heard."""
    return [int(text.split(" ", 2)[1]) for text in peer.heard
            if text.startswith("B ")]


# ---- what clients say to an app that stands still

CLIENTS = 8 if IS_TINY else 60
OFFER_BYTES = 3000 if IS_TINY else 100_000 if IS_TSAN else MIB
PAD_BYTES = 30 if IS_TINY else 3000


class Flood:
    """A client that says as much as it can without waiting."""

    def __init__(self, peer):
        self.peer = peer
        self.count = self.bytes = 0
        self.left = b""
        peer.sock.setblocking(False)

    def push(self):
        """-> whether anything could be written."""
        has_written = False
        while self.left or self.bytes < OFFER_BYTES:
            if not self.left:
                self.count += 1
                self.left = encode(TEXT, b"%d %s" % (
                    self.count, b"x" * (PAD_BYTES - self.count % 7)))
                self.bytes += len(self.left)
            try:
                n = self.peer.sock.send(self.left)
            except BlockingIOError:
                break
            self.left = self.left[n:]
            has_written = True
        return has_written

    def finish(self):
        """All has arrived, in order."""
        self.peer.sock.settimeout(self.peer.timeout)
        self.peer.send(self.left)
        self.peer.text("?")
        told = json.loads(self.peer.message())
        assert told == {"n": self.count}, (told, self.count)


def push_all(floods):
    """Until nobody could write anything for a while."""
    idle = 0
    while idle < 10:
        idle = 0 if any([f.push() for f in floods]) else idle + 1
        time.sleep(0.03)


def test_what_clients_say_to_an_app_that_stands_still_waits(server):
    floods = [Flood(open_at(server, "b")) for _ in range(CLIENTS)]
    others = [open_at(server, name) for name in "acde"]
    before, _ = memory(server.pid)
    with held(server.stuck):
        push_all(floods)
        offered = sum(f.bytes for f in floods)
        # Each loop passes on its quarter of the inbox lets it, and then reads no more.
        grown = memory(server.pid)[0] - before
        print("%d bytes offered, grown by %d" % (offered, grown))
        assert grown < (LOOPS - 1) * 6 * MIB * SHARE
        if not IS_TINY and not IS_TSAN:
            assert offered > 40 * MIB
        for peer in others[:2]:         # whose app and loop are not held
            assert command(peer, "told") == {"told": 1}
    for flood in floods:
        flood.finish()
    for peer in others:
        assert command(peer, "told") == {"told": 1}
    assert "handler_errors_total" not in counters(server)


def test_who_signals_a_server_takes_nothing_from_who_holds_a_thread(server):
    """The tests' own tools: both wait for news of one process."""
    is_over = threading.Event()

    def signal_on():
        while not is_over.is_set():
            server.signal(0)

    thread = threading.Thread(target=signal_on, daemon=True)
    thread.start()
    for _ in range(300):
        with held(server.pid):      # loop 0's thread, which is the process
            pass
    is_over.set()
    thread.join()
    assert server.process.returncode is None


def test_a_client_that_ends_while_its_app_stands_still_is_told_of(server):
    peers = [open_at(server, "b") for _ in range(CLIENTS)]
    with held(server.stuck):
        for i, peer in enumerate(peers):
            for n in range(1, 20):
                peer.text("%d x" % n)
            if i % 3 == 0:
                peer.reset()
            elif i % 3 == 1:
                peer.close()
        time.sleep(0.5)
    for peer in peers[2::3]:
        peer.text("?")
        assert json.loads(peer.message()) == {"n": 19}
        peer.goodbye()
        peer.close()
    until(lambda: "connections" not in counters(server))
    assert "clients" not in counters(server)


# ---- newcomers

def try_to_open(server, name, count, pipelined=b""):
    peers = [Peer(server.port) for _ in range(count)]
    for peer in peers:
        peer.send(peer.request("/%s/" % name) + pipelined)
    return peers


def answered(peers, seconds):
    """Those of them that get an answer in time."""
    ends = time.monotonic() + seconds
    done = []
    for peer in peers:
        peer.sock.settimeout(max(0.02, ends - time.monotonic()))
        try:
            response = peer.response()
            assert response.status == 101, response
            done.append(peer)
        except socket.timeout:
            pass
        peer.sock.settimeout(peer.timeout)
    return done


@pytest.mark.parametrize("name", STUCK)
def test_who_asks_for_an_app_that_stands_still_is_let_in_when_it_goes_on(
        server, name):
    early = b"".join(encode(TEXT, b"%d x" % n) for n in range(1, 6))
    with held(server.stuck):
        peers = try_to_open(server, name, CLIENTS, early)
        leavers = try_to_open(server, name, CLIENTS, early)
        time.sleep(0.3)
        assert not answered(peers[:8], 0.3)
        for i, peer in enumerate(leavers):
            peer.reset() if i % 2 else peer.close()
        time.sleep(0.3)
    assert len(answered(peers, 20 * FACTOR)) == len(peers)
    for peer in peers:
        peer.text("?")
        assert "id" in json.loads(peer.message())
        assert json.loads(peer.message()) == {"n": 5}
        peer.goodbye()
        peer.close()
    until(lambda: "connections" not in counters(server))
    assert "clients" not in counters(server)


def test_who_asks_for_another_app_is_let_in_meanwhile(server):
    with held(server.stuck):
        # The kernel has dealt a part of them to the loop that is held.
        peers = try_to_open(server, "c", 24)
        served = answered(peers, 2 * FACTOR)
        assert len(served) >= 6, len(served)
        for peer in served:
            assert "id" in json.loads(peer.message())
            assert command(peer, "told") == {"told": 1}
    late = [peer for peer in peers if peer not in served]
    assert len(answered(late, 20 * FACTOR)) == len(late)


# ---- what an app says to clients that live on a loop that stands still

def spread_clients(server):
    """Clients of "d", as many on each loop."""
    return [open_at(server, "d") for _ in range(2 * LOOPS if IS_TINY
                                                else 4 * LOOPS)]


def choose_boss(peers, stuck):
    """One that is not stuck, to give orders."""
    return next(peer for peer in peers if peer not in stuck)


def listen(crowd, peers, boss):
    return [crowd.add(peer) for peer in peers if peer is not boss]


@pytest.mark.parametrize("pad", [10] if IS_TINY else [10, 8000])
def test_broadcasts_to_a_loop_that_stands_still_all_arrive(server, pad):
    count = 20 if IS_TINY else 600
    with Crowd() as crowd:
        peers = spread_clients(server)
        with held(server.stuck):
            stuck = find_stuck(peers)
            boss = choose_boss(peers, stuck)
            others = listen(crowd, peers, boss)
            ids = [peer.id for peer in others]
            told = command(boss, "enlist", enlist=ids, room="all")
            assert told == {"count": len(others)}
            told = command(boss, "cast", cast=count, room="all", pad=pad)
            assert told["queued"] == count * len(others)
            assert told["dropped"] == 0
            free = [peer for peer in others if peer not in stuck]
            crowd.wait(lambda: all(len(numbers(p)) == count for p in free))
            assert not any(map(numbers, stuck))
        crowd.wait(lambda: all(len(numbers(p)) == count for p in others))
        for peer in others:
            assert numbers(peer) == list(range(1, count + 1))
    assert "dropped_window_total" not in counters(server)


def say_beyond_the_window(boss, **how):
    """Ever more, till all has been refused for a while; -> (queued, dropped,
    number of the last)."""
    queued = dropped = 0
    while True:
        told = command(boss, **how)
        queued += told["queued"]
        dropped += told["dropped"]
        if told["queued"] == 0:
            return queued, dropped, told["said"]


@not_tiny
@pytest.mark.parametrize("pad", [10, 30_000])
@pytest.mark.parametrize("way", ["cast", "send"])
def test_what_is_beyond_the_window_is_dropped_and_counted(server, pad, way):
    batch = 2000 if pad == 10 else 100
    with Crowd() as crowd:
        peers = spread_clients(server)
        with held(server.stuck):
            stuck = find_stuck(peers)
            boss = choose_boss(peers, stuck)
            listen(crowd, stuck, boss)
            ids = [peer.id for peer in stuck]
            command(boss, "enlist", enlist=ids, room="stuck")
            before, _ = memory(server.pid)
            what = ({"cast": batch, "room": "stuck"} if way == "cast"
                    else {"send": batch // len(ids), "to": ids})
            queued, dropped, last = say_beyond_the_window(
                boss, name=way, pad=pad, **what)
            grown = memory(server.pid)[0] - before
            print("%d queued, %d dropped, grown by %d"
                  % (queued, dropped, grown))
            # A letter has a head, and is not the only thing there is.
            assert grown < 2.5 * WINDOW_BYTES * SHARE
            letters = queued / (len(ids) if way == "cast" else 1)
            assert letters * pad <= WINDOW_BYTES
            assert letters * (pad + 500) > WINDOW_BYTES * 0.9
            if letters > MAILBOX_LETTERS:
                refuses_newcomers(server)
        crowd.wait(lambda: sum(len(numbers(p)) for p in stuck) == queued,
                   60 * FACTOR,
                   lambda: (queued, [len(numbers(p)) for p in stuck]))
        for peer in stuck:
            heard = numbers(peer)
            assert heard == sorted(set(heard))
        assert counters(server)["dropped_window_total"] == dropped
        # Everything is as before.
        told = command(boss, "cast", cast=5, room="stuck", pad=10)
        assert told["dropped"] == 0 and told["said"] == last + 5
        crowd.wait(lambda: all(numbers(p)[-5:] == list(
            range(last + 1, last + 6)) for p in stuck))
        assert counters(server)["dropped_window_total"] == dropped


def refuses_newcomers(server):
    """Those who would have to go to the loop that is held are told so by the
    loops that the kernel has dealt them to."""
    peers = try_to_open(server, "f", 24)
    statuses = []
    ends = time.monotonic() + 2 * FACTOR
    for peer in peers:
        peer.sock.settimeout(max(0.02, ends - time.monotonic()))
        try:
            response = peer.response()
            statuses.append(response.status)
            assert response.headers["retry-after"]
        except socket.timeout:
            pass
        peer.close()
    assert len(statuses) >= 6 and set(statuses) == {503}, statuses


# ---- the end

def test_a_server_ends_even_if_a_loop_never_goes_on(tmp_path):
    apps = {name: {"main": APP, "conf": CONF % "home"} for name in "ab"}
    server = serve_many(tmp_path, apps, ["--workers", 2])
    try:
        with open_at(server, "b") as peer, open_at(server, "a") as other:
            stuck = thread_of(
                server, lambda: command(peer, "burn", burn=0.4))
            with held(stuck):
                server.signal(signal.SIGTERM)
                # Those who can be told are told.
                assert other.rest()[1] == (1001, "server stops")
                server.wait_log(lambda r: "does not come to its end"
                                in r["msg"], timeout=20 * FACTOR)
        assert server.wait() == 1
    finally:
        server.close()

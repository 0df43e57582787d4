"""Clients that do not keep up: bounds, policies, and everybody else's peace.

A slow client here is a raw socket with a small receive buffer that nobody
reads from. A director (another client, in no room) commands the app with
JSON: what is published, to whom, how much at once.
"""
import asyncio
import statistics
import time

import pytest
import websockets

from support import wires
from support.lab import (IS_ASAN, ask, counters, forget_peak, kernel_bytes, lines,
                 memory, not_tiny, serve)
from support.wire import FACTOR, TEXT, Ended, Peer, until

WIRES = [wires.PLAIN, wires.TLS]

pytestmark = not_tiny

MAIN = """
local seen = {}                       -- what befell whom, in order

local function note(client, what, more)
  seen[#seen + 1] = { name = client.data.name, what = what, more = more }
end

function on_connect(request)
  local q = request.query
  return { data = { name = q.name }, user = q.name, rooms = { q.room } }
end

function on_open(client)
  for i = 1, tonumber(client.data.name:match("^burst(%d+)") or 0) do
    client:send(("%08d"):format(i) .. ("b"):rep(1400))
  end
end

function on_slow(client, queue) note(client, "slow", queue) end
function on_drain(client, queue) note(client, "drain", queue) end
function on_close(client, code, reason)
  note(client, "close", { code = code, reason = reason })
end

local commands = {}

-- Messages from .. to, numbered; -> what broadcast said of them.
function commands.publish(m)
  local queued, dropped, first = 0, 0, nil
  for i = m.from, m.to do
    local key = m.keys and i % m.keys ~= 0 and "k" .. i % m.keys or nil
    local text = ("%08d"):format(i) .. ("x"):rep(m.size - 8)
    local q, d = broadcast(text, { room = m.room, key = key })
    queued, dropped = queued + q, dropped + d
    if d > 0 and not first then first = i end
  end
  return { queued = queued, dropped = dropped, first = first }
end

-- The same straight to a user's clients; -> how often send said what.
function commands.send(m)
  local said = {}
  for i = m.from, m.to do
    for _, client in ipairs(clients.of(m.user)) do
      local ok, err = client:send(("%08d"):format(i) .. ("x"):rep(m.size - 8))
      said[err or "ok"] = (said[err or "ok"] or 0) + 1
    end
  end
  return said
end

-- A little to who lags, much to who asks: encoded side by side.
function commands.mixed(m, asker)
  local lags = clients.of(m.user)[1]
  for _ = 1, 14 do
    asker:send(("y"):rep(4000))
    lags:send(("z"):rep(8))
  end
  return { sent = 14 }
end

function commands.queue(m)
  local client = clients.of(m.user)[1]
  return client and client:queue() or { gone = true }
end

function commands.seen() return json.array(seen) end

function on_message(client, text)
  local m = json.decode(text)
  client:send(commands[m.cmd](m, client))
end

rooms.define("old*", { slow = "drop_oldest" })
rooms.define("new*", { slow = "drop_newest" })
"""

NEVER = 'ping = "1h"'


def conf(outbox="", more=NEVER):
    return "return { outbox = { %s }, %s }\n" % (outbox, more)


def client(server, name, room="main", **how):
    return Peer(server.port, **how).open("/?name=%s&room=%s" % (name, room))


def slow(server, name="slow", room="main"):
    return client(server, name, room, rcvbuf=4096)


def director(server):
    return client(server, "director", "none")


def number(text):
    return int(text[:8])


def numbers(frames):
    assert all(f.opcode == TEXT and f.fin for f in frames)
    return [number(f.payload) for f in frames]


def seen(boss, name, what=None):
    return [e["more"] for e in ask(boss, cmd="seen")
            if e["name"] == name and what in (None, e["what"])]


def publish_until(boss, done, size, room="main", batch=4, limit=40_000):
    """Publishes batches until done(answer) or `limit` messages; -> how many.
    No batch is more than a client that reads can take at once."""
    at = 1
    while at <= limit:
        answer = ask(boss, cmd="publish", room=room, size=size,
                     **{"from": at, "to": at + batch - 1})
        at += batch
        if done(answer):
            return at - 1
    raise AssertionError("not so after %d messages" % (at - 1))


# ---- among others


async def rounds(server, count, size, batch=8):
    """Publishes to four polite readers, batch by batch; -> seconds that each
    batch took to reach all of them. They must get every message."""
    url = server.ws_url + "?name=%s&room=%s"
    how = wires.websockets_options()
    readers = [await websockets.connect(url % ("r%d" % i, "main"),
                                        max_size=None, **how)
               for i in range(4)]
    boss = await websockets.connect(url % ("director", "none"), **how)
    took = []
    for at in range(1, count, batch):
        begun = time.monotonic()
        await boss.send('{"cmd":"publish","room":"main","size":%d,"from":%d,'
                        '"to":%d}' % (size, at, at + batch - 1))
        for i in range(at, at + batch):
            for text in await asyncio.gather(*[r.recv() for r in readers]):
                assert number(text) == i and len(text) == size
        await boss.recv()
        took.append(time.monotonic() - begun)
    for ws in [*readers, boss]:
        await ws.close()
    return took


@pytest.mark.parametrize("room, policy", [
    ("main", "close"), ("main", "drop_oldest"), ("main", "drop_newest")])
def test_who_reads_feels_nothing_of_who_does_not(tmp_path, room, policy):
    with serve(tmp_path, MAIN, conf('policy = "%s"' % policy)) as server:
        alone = asyncio.run(rounds(server, 400, 8192))
        sleepers = [slow(server) for _ in range(3)]
        before, _ = memory(server.pid)
        forget_peak(server.pid)
        beside = asyncio.run(rounds(server, 1600, 8192))
        _, peak = memory(server.pid)

        # 13 MB went to each of the three: at most 1 MiB of it was kept, once
        # for all of them, and some for those who read.
        assert peak - before < (48 if IS_ASAN else 12) << 20
        assert statistics.median(beside) < 4 * statistics.median(alone) + 0.005
        assert sorted(beside)[-8] < 10 * sorted(alone)[-8] + 0.05
        closed = lines(server, r"closed: slow")
        assert len(closed) == (3 if policy == "close" else 0)
        for peer in sleepers:
            peer.close()


def test_who_never_reads_is_closed_with_1013_and_finds_that_out(tmp_path):
    with serve(tmp_path, MAIN, conf()) as server:
        boss, sleeper = director(server), slow(server)
        sent = publish_until(
            boss, lambda a: a["dropped"] > 0, size=8192)
        assert 1 << 20 < sent * 8192 < 3 << 20

        # The app heard of it, and nobody is there any more.
        until(lambda: seen(boss, "slow", "close"))
        assert seen(boss, "slow", "close") == [{"code": 1013,
                                                "reason": "slow"}]
        assert ask(boss, cmd="queue", user="slow") == {"gone": True}

        (line,) = until(lambda: lines(server, "closed: slow"))
        assert line["level"] == "warn"
        assert "hard limit 1048576" in line["msg"]
        assert "outbox holds" in line["msg"]
        count = counters(server)
        assert count["slow_closed_total"] == 1
        assert count["dropped_close_total"] > 100

        # What the kernel had taken, the rest of a frame begun, the Close:
        # nothing of the megabyte that was queued.
        frames, how = sleeper.rest()
        assert how == (1013, "slow")
        assert numbers(frames) == list(range(1, len(frames) + 1))
        assert len(frames) * 8192 < 256 << 10


def test_long_messages_that_made_way_leave_their_room(tmp_path):
    """Their memory goes back to the system a piece at a time. Until it has it
    counts, but nothing is refused for its sake."""
    size = 10 << 20
    with serve(tmp_path, MAIN, conf(
            'policy = "drop_oldest", hard = "12MB", total = "22MB"',
            NEVER + ', limits = { cpu = "5s" }')) as server:
        boss, sleeper = director(server), slow(server)
        # The kernel's buffers are full, and a frame is begun.
        ask(boss, cmd="publish", room="main", size=400_000, **{
            "from": 1, "to": 16})
        before, _ = memory(server.pid)
        forget_peak(server.pid)
        for i in range(8):
            answer = ask(boss, cmd="publish", room="main", size=size, **{
                "from": 100, "to": 102})
            assert answer == {"queued": 3, "dropped": 0}
        count = counters(server)
        assert "dropped_app_total" not in count
        assert count["dropped_oldest_total"] >= 23
        assert ask(boss, cmd="queue", user="slow")["bytes"] < 12 << 20
        _, peak = memory(server.pid)
        assert peak - before < (400 if IS_ASAN else 120) << 20
        sleeper.close()


def test_who_does_not_read_even_then_is_cut_off(tmp_path):
    with serve(tmp_path, MAIN, conf()) as server:
        boss, sleeper = director(server), slow(server)
        publish_until(boss, lambda a: a["dropped"] > 0, size=8192)
        begun = time.monotonic()
        until(lambda: counters(server)["connections"] == 1,
              what="for the close wait to end", step=0.25)
        assert 3 < time.monotonic() - begun < 15 * FACTOR
        with pytest.raises(Ended) as end:
            while True:
                sleeper.next_frame()
        # Python's ssl takes an RST for an end.
        assert end.value.reset or wires.is_tls()


def test_the_kernel_holds_little_for_who_does_not_read(tmp_path):
    settings = conf('policy = "drop_oldest"')
    with serve(tmp_path, MAIN, settings) as server:
        boss, sleeper = director(server), slow(server)
        port = sleeper.sock.getsockname()[1]
        for at in range(1, 801, 20):
            ask(boss, cmd="publish", room="main", size=8192,
                **{"from": at, "to": at + 19})
        queue = ask(boss, cmd="queue", user="slow")
        assert queue["bytes"] > 900 << 10
        assert kernel_bytes(server, port) < 256 << 10


def test_what_waits_holds_on_to_nothing_that_has_left(tmp_path):
    with serve(tmp_path, MAIN, conf("soft = 65536")) as server:
        boss, sleeper = director(server), slow(server)
        publish_until(boss, lambda a: ask(boss, cmd="queue", user="slow")[
            "messages"] > 4, size=8192)
        before, _ = memory(server.pid)
        forget_peak(server.pid)
        for _ in range(400):
            boss.text('{"cmd":"mixed","user":"slow"}')
            assert {len(m) for m in boss.messages(14)} == {4000}
            assert boss.message() == '{"sent":14}'
        # 5600 messages of 8 bytes wait; 22 MB went past them.
        assert ask(boss, cmd="queue", user="slow")["messages"] > 5600
        _, peak = memory(server.pid)
        assert peak - before < (24 if IS_ASAN else 8) << 20


# ---- the bounds


def test_more_than_256_messages_for_2_seconds_are_too_many(tmp_path):
    with serve(tmp_path, MAIN, conf()) as server:
        boss, sleeper = director(server), slow(server)
        begun = time.monotonic()
        answer = ask(boss, cmd="publish", room="main", size=1024,
                     **{"from": 1, "to": 500})
        assert answer == {"queued": 500, "dropped": 0}
        queue = ask(boss, cmd="queue", user="slow")
        assert 256 < queue["messages"] < 500
        # A frame costs its 1024 bytes, 4 of header and 64.
        assert queue["bytes"] == queue["messages"] * (1024 + 4 + 64)
        line = server.wait_log(lambda r: "closed: slow" in r["msg"])
        assert 1.9 < time.monotonic() - begun < 2.5 + 2 * FACTOR
        assert "soft limit 256 for 2000 ms" in line["msg"]
        frames, how = sleeper.rest()
        assert how == (1013, "slow")
        assert numbers(frames) == list(range(1, len(frames) + 1))


def test_a_hiccup_of_a_second_costs_nobody_anything(tmp_path):
    with serve(tmp_path, MAIN, conf()) as server:
        boss, sleeper = director(server), slow(server)
        ask(boss, cmd="publish", room="main", size=1024,
            **{"from": 1, "to": 500})
        time.sleep(1)       # the hiccup
        assert [number(m) for m in sleeper.messages(500)] == list(
            range(1, 501))
        # Two seconds after it began it is still there, and takes more.
        time.sleep(1.5)
        ask(boss, cmd="publish", room="main", size=100,
            **{"from": 501, "to": 502})
        assert [number(m) for m in sleeper.messages(2)] == [501, 502]
        assert "slow_closed_total" not in counters(server)


def test_the_bounds_are_the_apps_to_set(tmp_path):
    settings = conf('hard = "64KB", soft = 8, soft_for = "300ms"')
    with serve(tmp_path, MAIN, settings) as server:
        boss, sleeper = director(server), slow(server)
        sent = publish_until(boss, lambda a: a["dropped"] > 0, size=8192,
                             batch=2)
        assert sent * 8192 < 512 << 10
        line = server.wait_log(lambda r: "closed: slow" in r["msg"])
        assert "hard limit 65536" in line["msg"]
        assert "soft limit 8 for 300 ms" in line["msg"]
        assert sleeper.rest()[1] == (1013, "slow")


def test_a_burst_of_500_messages_reaches_who_reads(tmp_path):
    with serve(tmp_path, MAIN, conf()) as server:
        peers = [client(server, "burst500") for _ in range(5)]
        for peer in peers:
            assert [number(m) for m in peer.messages(500)] == list(
                range(1, 501))
        count = counters(server)
        assert "slow_closed_total" not in count
        boss = director(server)
        assert ask(boss, cmd="publish", room="main", size=8,
                   **{"from": 7, "to": 7})["queued"] == 5
        assert {peer.message() for peer in peers} == {"00000007"}


def test_on_slow_and_on_drain_come_in_pairs(tmp_path):
    with serve(tmp_path, MAIN, conf()) as server:
        boss, sleeper = director(server), slow(server)
        at = 1
        for _ in range(2):
            ask(boss, cmd="publish", room="main", size=4096,
                **{"from": at, "to": at + 219})
            until(lambda: [e for e in seen(boss, "slow")])
            assert [number(m) for m in sleeper.messages(220)] == list(
                range(at, at + 220))
            at += 220
            until(lambda: len(seen(boss, "slow", "drain")) == at // 220)
        events = [e["what"] for e in ask(boss, cmd="seen")
                  if e["name"] == "slow"]
        assert events == ["slow", "drain", "slow", "drain"]
        for queue in seen(boss, "slow", "slow"):
            assert queue["bytes"] > 512 << 10 or queue["messages"] > 128
            assert queue["dropped"] == 0
        for queue in seen(boss, "slow", "drain"):
            assert queue["bytes"] < 128 << 10 and queue["messages"] <= 32


def test_all_outboxes_together_have_a_bound(tmp_path):
    settings = conf('hard = "16MB", soft = 65536',
                    more=NEVER + ', limits = { memory = "256MB" }')
    with serve(tmp_path, MAIN, settings) as server:
        boss = director(server)
        before, _ = memory(server.pid)
        forget_peak(server.pid)
        sleepers = [slow(server, "s%d" % i) for i in range(8)]
        taken = [0] * 8
        full = 0
        for at in range(1, 49, 8):
            for i in range(8):
                said = ask(boss, cmd="send", user="s%d" % i, size=262_144,
                           **{"from": at, "to": at + 7})
                assert set(said) <= {"ok", "full"}, said
                taken[i] += said.get("ok", 0)
                full += said.get("full", 0)
        # 96 MB were asked for, 64 MiB is the bound.
        assert sum(taken) + full == 8 * 48
        assert 200 < sum(taken) <= 256 + 8
        _, peak = memory(server.pid)
        assert peak - before < (256 if IS_ASAN else 96) << 20
        assert counters(server)["dropped_app_total"] == full

        # What was taken comes, whole and in order; then there is room again.
        for i, peer in enumerate(sleepers):
            got = [number(m) for m in peer.messages(taken[i])]
            assert got == sorted(set(got))
        assert ask(boss, cmd="send", user="s0", size=262_144,
                   **{"from": 99, "to": 99}) == {"ok": 1}
        assert number(sleepers[0].message()) == 99


# ---- the other policies


def publish(boss, room, first, last, size=4096, **more):
    """Publishes past somebody who does not read; -> (queued, dropped) as
    broadcast said."""
    queued = dropped = 0
    for at in range(first, last + 1, 50):
        answer = ask(boss, cmd="publish", room=room, size=size, **more,
                     **{"from": at, "to": min(at + 49, last)})
        queued += answer["queued"]
        dropped += answer["dropped"]
    return queued, dropped


def read_until_last(peer, last):
    got = []
    while not got or got[-1] != last:
        got.append(number(peer.message()))
    return got


@pytest.mark.parametrize("room, settings", [
    ("main", 'hard = "256KB", policy = "drop_oldest"'),
    ("old:1", 'hard = "256KB"'),
])
def test_drop_oldest_keeps_the_newest(tmp_path, room, settings):
    with serve(tmp_path, MAIN, conf(settings)) as server:
        boss, sleeper = director(server), slow(server, room=room)
        assert publish(boss, room, 1, 600) == (600, 0)
        queue = ask(boss, cmd="queue", user="slow")
        assert queue["bytes"] <= 256 << 10
        assert queue["dropped"] == counters(server)["dropped_oldest_total"]

        got = read_until_last(sleeper, 600)
        assert got == sorted(set(got))
        assert len(got) + queue["dropped"] == 600
        # What it had before it fell behind, one gap, the newest.
        gaps = [(a, b) for a, b in zip(got, got[1:]) if b != a + 1]
        ((before, after),) = gaps
        assert after - before - 1 == queue["dropped"]
        assert "slow_closed_total" not in counters(server)


@pytest.mark.parametrize("room, settings", [
    ("main", 'hard = "256KB", policy = "drop_newest"'),
    ("new:1", 'hard = "256KB"'),
])
def test_drop_newest_keeps_the_oldest(tmp_path, room, settings):
    with serve(tmp_path, MAIN, conf(settings)) as server:
        boss, sleeper = director(server), slow(server, room=room)
        queued, dropped = publish(boss, room, 1, 600)
        assert queued + dropped == 600 and dropped > 0
        queue = ask(boss, cmd="queue", user="slow")
        assert queue["dropped"] == dropped
        assert counters(server)["dropped_newest_total"] == dropped

        got = read_until_last(sleeper, queued)
        assert got == list(range(1, queued + 1))
        # It has caught up: what comes now comes through.
        ask(boss, cmd="publish", room=room, size=4096,
            **{"from": 601, "to": 602})
        assert [number(m) for m in sleeper.messages(2)] == [601, 602]


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_a_policy_that_drops_holds_the_soft_bound_too(tmp_path, policy):
    settings = conf('soft = 16, soft_for = "200ms", policy = "%s"' % policy)
    with serve(tmp_path, MAIN, settings) as server:
        boss, sleeper = director(server), slow(server)
        ask(boss, cmd="publish", room="main", size=1024,
            **{"from": 1, "to": 200})
        assert ask(boss, cmd="queue", user="slow")["messages"] > 16
        at = 201

        def has_acted():
            nonlocal at
            ask(boss, cmd="publish", room="main", size=1024,
                **{"from": at, "to": at})
            at += 1
            return ask(boss, cmd="queue", user="slow")["dropped"] > 0

        begun = time.monotonic()
        until(has_acted, step=0.02)
        assert time.monotonic() - begun > 0.1
        if policy == "drop_oldest":
            assert ask(boss, cmd="queue", user="slow")["messages"] <= 16
            got = read_until_last(sleeper, at - 1)
            assert got == sorted(set(got)) and len(got) < at - 1
        assert "slow_closed_total" not in counters(server)


def test_a_room_rule_holds_for_that_room_alone(tmp_path):
    with serve(tmp_path, MAIN, conf('hard = "256KB"')) as server:
        boss = director(server)
        patient = slow(server, "patient", "old:x")
        other = slow(server, "other", "plain")
        publish(boss, "old:x", 1, 600)
        publish_until(boss, lambda a: a["dropped"] > 0, 4096, room="plain")
        until(lambda: seen(boss, "other", "close"))
        assert seen(boss, "patient", "close") == []
        assert read_until_last(patient, 600)[-1] == 600
        assert other.rest()[1] == (1013, "slow")


def test_the_newest_of_a_key_wins_and_the_rest_keeps_its_order(tmp_path):
    settings = 'hard = "1MB", soft = 65536'
    with serve(tmp_path, MAIN, conf(settings)) as server:
        boss, sleeper = director(server), slow(server)
        assert publish(boss, "main", 1, 100) == (100, 0)
        held = ask(boss, cmd="queue", user="slow")
        assert 0 < held["messages"] < 100 and held["dropped"] == 0
        # From now on one in ten has no key, the others have one of nine.
        assert publish(boss, "main", 101, 1000, keys=10) == (900, 0)
        queue = ask(boss, cmd="queue", user="slow")
        assert queue["messages"] == held["messages"] + 90 + 9
        assert queue["dropped"] == 900 - 90 - 9
        assert counters(server)["dropped_key_total"] == queue["dropped"]

        got = read_until_last(sleeper, 1000)
        assert got == [*range(1, 101), *range(110, 991, 10),
                       *range(991, 1001)]
        assert "slow_closed_total" not in counters(server)

"""Stacks: handlers and tasks that wait hold one each, and the process can have
so many. Apps that take all they can get leave enough to the others."""
import pathlib
import time

import pytest

from support.lab import IS_ASAN, IS_TINY, IS_TSAN, lines, memory, serve_many, \
    write_app
from support.wire import Peer

HOSTILE = 10
AT_ONCE = 50

# Half a gigabyte of stacks, and several times that with a sanitizer's shadow;
# TSan knows some 8,000 fibers. The unit tests do the same with few.
pytestmark = pytest.mark.skipif(
    IS_ASAN or IS_TSAN or IS_TINY, reason="tens of thousands of stacks")

# Sleeps in as many tasks as it gets, but for a few.
SLEEPER = """
local function rest() while true do sleep(3) end end
function on_start()
  for i = 1, 4000 do task.spawn(rest) end
end
function on_message(client, text) client:send(text) end
"""
ECHO = "function on_message(client, text) client:send(text) end"

# Each of its tasks sleeps once.
NAPPER = """
local done = 0
local function nap() sleep(3) done = done + 1 end
function on_start()
  for i = 1, 4096 do task.spawn(nap) end
end
function on_message(client, text)
  while done < 4096 do sleep(0.1) end
  client:send(tostring(done))
end
"""

# A client's messages overlap where they wait.
VICTIM = """
function on_message(client, text)
  sleep(0.3)
  task.all { function() sleep(0.01) end }
  client:send(text)
end
"""
OVERLAP = "return { concurrent = true }"


def maps(server):
    with open("/proc/%d/maps" % server.pid, encoding="ascii") as f:
        return sum(1 for _ in f)


def max_map_count():
    return int(pathlib.Path("/proc/sys/vm/max_map_count").read_text())


def settle(server):
    """Until nobody takes more stacks."""
    before, now = 0, memory(server.pid)[0]
    while now - before > 1 << 20:
        time.sleep(1)
        before, now = now, memory(server.pid)[0]


def enter(server, name):
    return Peer(server.port).open("/%s/" % name)


def ask_at_once(peer, count):
    """-> how long it took until all had their answer, in seconds."""
    begin = time.monotonic()
    for i in range(count):
        peer.text("message %d" % i)
    got = {peer.message() for _ in range(count)}
    assert got == {"message %d" % i for i in range(count)}
    return time.monotonic() - begin


@pytest.mark.parametrize("workers", [1, 2])
def test_sleepers_leave_stacks_to_the_others(tmp_path, workers):
    apps = {"sleeper%d" % i: {"main": SLEEPER} for i in range(HOSTILE)}
    apps["victim"] = {"main": VICTIM, "conf": OVERLAP}
    with serve_many(tmp_path, apps, ("--workers", str(workers))) as server:
        settle(server)
        print("%d mappings of %d, %d MiB resident"
              % (maps(server), max_map_count(), memory(server.pid)[0] >> 20))
        assert maps(server) < max_map_count() * 7 // 8
        peer = enter(server, "victim")
        for _ in range(5):
            assert ask_at_once(peer, AT_ONCE) < 10
        assert not lines(server, "no memory|abandon|dropped")
        # Some did not get all they wanted, and theirs wait.
        beyond = {r["app"] for r in lines(server, "stacks are scarce")}
        assert beyond and "victim" not in beyond
        name = sorted(beyond)[-1]
        waiting = enter(server, name)
        waiting.text("a word")
        assert waiting.is_silent(2)
        # The others are mended: their stacks are there for those who wait.
        for other in apps:
            if other not in (name, "victim"):
                write_app(tmp_path / "apps" / other, ECHO)
        assert waiting.message() == "a word"
        assert ask_at_once(peer, AT_ONCE) < 10
        for other in apps:
            if other not in (name, "victim"):
                with enter(server, other) as echo:
                    echo.text("hello")
                    assert echo.message() == "hello"
        assert not lines(server, "no memory|abandon|dropped")


def test_what_waits_for_a_stack_is_run_in_the_end(tmp_path):
    apps = {"napper%d" % i: {"main": NAPPER} for i in range(HOSTILE)}
    with serve_many(tmp_path, apps, ("--workers", "2")) as server:
        peers = [enter(server, name) for name in apps]
        for peer in peers:
            peer.text("how many?")
        for peer in peers:
            assert peer.message() == "4096"
        assert lines(server, "stacks are scarce")
        assert not lines(server, "no memory|abandon|dropped")

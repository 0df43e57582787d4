"""Programs that mean harm, each an app of its own, beside a victim on the same
loop: what comes of each is as expected, the process lives, and the victim's
clients are served throughout. HOSTILE_DIR names another directory of such
programs (tests/hostile/README.md has the form)."""
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from support.corpus import is_at_home, read_all, run
from support.lab import IS_ASAN, IS_TINY, IS_TSAN
from support.server import Server
from support.wire import Ended, Peer, Violation

CASES = read_all()
VICTIM = """
function on_message(client, text) client:send(text) end
"""

# TSan's builds stop scripts by a hook, which reaches no C function. These spend
# their time in one (or are a rehash), or wait before a slice is over, when the
# hook has counted nothing yet; nothing would end them.
IN_C = set("""
    cfunction/insert-with-a-length-that-lies-the-second-time
    cfunction/remove-with-a-length-that-lies-the-second-time
    cfunction/unpack-many-times cfunction/gsub-pcall-in-c
    api/crypto-hash-of-megabytes
    cfunction/string-compare-of-nuls cfunction/upper-lower-reverse-forever
    cfunction/find-plain-quadratic gc/big-string-churn
    load_time/endless-pattern-main load_time/rehash-main
    pattern/optional-chain pattern/optional-chain-long pattern/lazy-dots
    pattern/greedy-dots pattern/stars pattern/gsub-lazy
    pattern/back-references pattern/trim pattern/balance
    pattern/gmatch-quadratic pattern/long-set pattern/negated-long-set
    pattern/quantifier-of-class-flood rehash/colliding-integers-16
    rehash/colliding-integers-17 rehash/colliding-integers-swallowed
    stack/call-itself swallow/gsub-pcall-in-c swallow/c-loop-swallowed
    swallow/rehash-swallowed
    lookup/name-of-a-field-of-a-field-of lookup/name-of-a-field-swallowed
    lookup/name-of-a-field-in-a-traceback
    lookup/name-of-a-field-in-a-short-traceback
    lookup/name-at-the-end-of-the-stack lookup/name-on-a-deep-c-stack
    lookup/name-in-a-coroutine-in-a-traceback
    lookup/arithmetic-on-a-field-of-a-field
    lookup/concat-on-a-field-of-a-field
    lookup/bad-argument-of-a-field-of-a-field
    lookup/bad-self-of-a-field-of-a-field
    lookup/sleep-below-a-field-of-a-field-then-raise
    lookup/log-of-a-broken-broadcast-below-a-field
    lookup/name-runs-off-the-stack-5000 lookup/name-runs-off-a-deep-stack-5000
    lookup/name-runs-off-the-stack-7000 lookup/name-runs-off-a-deep-stack-7000
    lookup/name-runs-off-the-stack-9000 lookup/name-runs-off-a-deep-stack-9000
    lookup/name-runs-off-the-stack-12000
    lookup/name-runs-off-a-deep-stack-12000
    lookup/name-runs-off-the-stack-16000
    lookup/name-runs-off-a-deep-stack-16000
    lookup/name-runs-off-the-stack-24000
    lookup/name-runs-off-a-deep-stack-24000 misuse/spawn-then-die-hard
    misuse/a-task-that-waits-in-everything-then-killed
    api/task-all-until-the-end
    entangled/sleep-does-not-renew-the-budget
    entangled/lock-does-not-renew-the-budget
    entangled/task-all-does-not-renew-the-budget
""".split())
# A tiny build writes three bytes at a time: who floods itself is too slow first.
SLOW_IN_TINY = {"api/send-flood", "api/broadcast-flood",
                "misuse/send-empty-flood-then-close"}
PATIENCE_S = 60 if IS_ASAN or IS_TSAN or IS_TINY else 20


# Reads the clock and does nothing else, on the same machine at the same time.
CONTROL = """
import sys, time
gaps, ends, last = [], time.monotonic() + float(sys.argv[1]), time.monotonic()
while last < ends:
    now = time.monotonic()
    gaps.append(now - last)
    last = now
gaps.sort()
print({q: round(1000 * gaps[int(len(gaps) * q)], 2) for q in (.5, .99, .999)},
      "worst %.1f" % (1000 * gaps[-1]))
"""
WAIT = re.compile(r'moonwire_app_wait_cpu_seconds_bucket'
                  r'\{app="victim",le="([^"]+)"\} (\d+)')
SLICE_S = 0.001


class Victim:
    """A client of the app that has done nothing, which wants answers."""

    def __init__(self, port, path="/victim/"):
        self.peer = Peer(port, timeout=60).open(path)
        self.waits_s = []
        self.error = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self):
        try:
            while not self._is_over.is_set():
                start = time.monotonic()
                self.peer.text("hello")
                assert self.peer.message() == "hello"
                self.waits_s.append(time.monotonic() - start)
                self._is_over.wait(0.002)
        except (OSError, Ended, AssertionError, Violation) as error:
            self.error = error

    def end(self):
        self._is_over.set()
        self._thread.join(60)
        self.peer.close()

    def figures(self, since=0):
        waits = sorted(self.waits_s[since:])
        return {q: round(1000 * waits[int(len(waits) * q)], 2)
                for q in (0.5, 0.99, 0.999)}


class Place:
    def __init__(self, directory):
        for case in CASES:
            case.write(directory)
        (directory / "victim").mkdir()
        (directory / "victim" / "main.lua").write_text(VICTIM)
        self.server = Server(
            directory, "--drain", "0s", "--workers", "1", "--no-reload",
            "--admin", "127.0.0.1:0", command="serve")
        self.pid = self.server.pid
        self.victim = None
        self.can_stop = None

    def begin(self):
        """When the victim has been loaded."""
        ends = time.monotonic() + 60
        while True:
            try:
                self.victim = Victim(self.server.port)
                return
            except AssertionError:
                assert time.monotonic() < ends
                time.sleep(0.05)

    def waits(self):
        """-> {upper bound in CPU seconds of the loop: how often the victim,
        being ready, waited at most so long}; empty: nobody counts."""
        record = self.server.wait_log(lambda r: "figures on " in r["msg"])
        url = record["msg"].split(" ")[-1]
        with urllib.request.urlopen(url, timeout=60) as answer:
            text = answer.read().decode()
        return {float(bound): int(n) for bound, n in WAIT.findall(text)}

    def close(self):
        if self.victim is not None:
            self.victim.end()
        self.server.kill()
        self.server.close()


def stops_scripts(directory):
    """Are scripts stopped at all in this build?"""
    (directory / "hog").mkdir(parents=True)
    (directory / "hog" / "main.lua").write_text(
        "function on_message() while true do end end")
    (directory / "other").mkdir()
    (directory / "other" / "main.lua").write_text(VICTIM)
    server = Server(directory, "--workers", "1", command="serve")
    try:
        time.sleep(0.5)
        with Peer(server.port, timeout=5).open("/hog/") as hog, Peer(
                server.port, timeout=5).open("/other/") as other:
            hog.text("go")
            time.sleep(0.1)
            other.text("x")
            return other.message() == "x"
    except (OSError, Ended, AssertionError):
        return False
    finally:
        server.kill()
        server.close()


@pytest.fixture(scope="module")
def is_preemptive(tmp_path_factory):
    return stops_scripts(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module")
def place(tmp_path_factory, is_preemptive):
    directory = tmp_path_factory.mktemp("hostile")
    if not is_preemptive:
        # What nobody would stop is not even loaded.
        CASES[:] = [c for c in CASES if not c.needs_a_kill]
    if IS_TSAN:
        CASES[:] = [c for c in CASES if repr(c) not in IN_C]
    if IS_TINY:
        CASES[:] = [c for c in CASES if repr(c) not in SLOW_IN_TINY]
    place = Place(directory)
    try:
        place.begin()
        yield place
    finally:
        place.close()


@pytest.mark.parametrize("case", list(CASES), ids=repr)
def test_what_comes_of_it_is_as_expected(place, is_preemptive, case):
    if case.needs_a_kill and not is_preemptive:
        pytest.skip("scripts are not stopped in this build")
    if IS_TSAN and repr(case) in IN_C:
        pytest.skip("%r: loops inside C, which the hook mode cannot stop" % case)
    if IS_TINY and repr(case) in SLOW_IN_TINY:
        pytest.skip("%r: its client is closed as slow here" % case)
    is_good, outcome = run(place.server, case, PATIENCE_S)
    assert place.server.process.poll() is None, place.server._told("it died")
    assert is_good, "expected %s, got: %s" % (" or ".join(case.expected),
                                              outcome)
    if not case.is_load_time:
        assert is_at_home(place.server, case, PATIENCE_S), (
            "the app does not answer any more: %s" % outcome)
    assert place.victim.error is None


def quantile(before, after, q):
    """-> the upper bound of the bucket that holds that part of what was
    counted in between."""
    n = {bound: after[bound] - before.get(bound, 0) for bound in after}
    total = n[float("inf")]
    return min(bound for bound in n if n[bound] >= q * total), total


def beyond(before, after):
    """-> how many waited longer than each bound of a millisecond and more."""
    n = {bound: after[bound] - before.get(bound, 0) for bound in after}
    return {"> %.1f ms" % (1000 * bound): n[float("inf")] - n[bound]
            for bound in sorted(n) if 0.0005 < bound < 1
            and n[bound] < n[float("inf")]}


class Hog:
    """Runs a script again and again, whatever comes of it."""

    def __init__(self, server, case):
        self.server = server
        self.case = case
        self.runs = 0
        self.is_over = False
        self.thread = threading.Thread(target=self._go, daemon=True)
        self.thread.start()

    def _go(self):
        while not self.is_over:
            try:
                run(self.server, self.case, 5)
                self.runs += 1
            except (OSError, Ended, AssertionError, Violation):
                time.sleep(0.1)    # it is being made anew, or rests


TEN = ("cpu/while-true", "swallow/pcall-loop", "swallow/coroutine-chain",
       "pattern/optional-chain-long", "pattern/gsub-lazy", "gc/garbage-forever",
       "rehash/colliding-integers-16", "memory/swallowed-for-ever",
       "cfunction/sort-million-in-c", "stack/recursion-swallowed-for-ever")
TEN_S = 10


def test_ten_at_once_cost_the_victim_two_slices(place, is_preemptive):
    cases = [case for case in CASES if repr(case) in TEN]
    if not is_preemptive or len(cases) < 10:
        pytest.skip("scripts are not stopped, or these are not there")
    before, answers = place.waits(), len(place.victim.waits_s)
    with subprocess.Popen([sys.executable, "-c", CONTROL, str(TEN_S)],
                          stdout=subprocess.PIPE, text=True) as control:
        hogs = [Hog(place.server, case) for case in cases]
        time.sleep(TEN_S)
        for hog in hogs:
            hog.is_over = True
        print("\ncontrol that only spins, ms: " + control.stdout.read())
    for hog in hogs:
        hog.thread.join(60)
    print("ten hogs, %s runs; victim: %d answers, ms at quantiles %s"
          % ([hog.runs for hog in hogs],
             len(place.victim.waits_s) - answers, place.victim.figures(answers)))
    assert place.victim.error is None
    assert len(place.victim.waits_s) - answers > 100
    after = place.waits()
    if not after:
        pytest.skip("nobody counts the victim's waits")
    bound, total = quantile(before, after, 0.999)
    print("victim's waits in the loop's CPU time: %d, p99.9 <= %.3f ms; %s"
          % (total, 1000 * bound, beyond(before, after)))
    # The bucket that holds two slices ends a little above them. Under the
    # sanitizers what cannot be interrupted takes several times as long.
    assert bound < (20 if IS_ASAN or IS_TSAN else 2.1) * SLICE_S


def test_the_victim_was_served_throughout(place):
    place.victim.end()
    assert place.victim.error is None
    assert len(place.victim.waits_s) > 100
    print("victim: %d answers, ms at quantiles %s"
          % (len(place.victim.waits_s), place.victim.figures()))


def test_the_process_is_the_one_that_was_started_and_ends_well(place):
    assert place.server.pid == place.pid
    assert place.server.stop(120) == 0
    assert not place.server.noise, "\n".join(place.server.noise)


def test_there_are_enough_of_them():
    if not os.environ.get("HOSTILE_DIR"):
        assert len(read_all()) >= 600
        assert IN_C <= set(map(repr, read_all()))
    names = [case.app for case in read_all()]
    assert len(set(names)) == len(names)

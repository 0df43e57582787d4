"""Many apps on many loops, and everybody writes at once.

Eight apps under one `moonwire serve` on four loops: some whose clients live
where the app does, some whose clients are spread over all loops, some where
the server chooses. Every handler broadcasts while timers broadcast, the files
of all apps are edited (well, badly, and their settings), and five hundred
clients do what support/stress.py makes clients do. What has to hold stands
there, too: it is the same as for one app on one loop.

Besides, at the end: no connection is left, nothing was dropped but by an
outbox, and no app noticed another one.

MOONWIRE_SEED repeats a run's dice (not its timing); it is printed.
MOONWIRE_STRESS_S stretches it.
"""
import asyncio
import random

from support.lab import IS_TINY, IS_TSAN, counters, serve_many
from support.stress import RUN_S, Size, Stress, play, seeded
from support.stress_app import MAIN, conf
from support.wire import until

LOOPS = 4
# In the order of their names they are dealt over the loops.
APPS = {"a-home": "home", "b-spread": "spread", "c-auto": "auto",
        "d-spread": "spread", "e-spread": "spread", "f-home": "home",
        "g-home": "home", "h-auto": "auto"}
EDITS = ["good", "conf", "bad", "good"]

# Of each app.
SIZE = (Size(5, 1, 4) if IS_TINY else Size(18, 2, 12) if IS_TSAN
        else Size(45, 2, 28))
AT_ONCE = 50 if IS_TINY else 150 if IS_TSAN else 500

# An app says less to each client than if it were alone: outboxes are smaller.
OUTBOX = {"hard": "32KB", "soft": 30}

# What only an outbox may do to a message, if its policy says so.
NEVER = ["dropped_newest_total", "dropped_app_total", "dropped_window_total",
         "dropped_key_total", "handler_errors_total", "protocol_errors_total",
         "pong_timeouts_total", "shed_total"]


def check_counters(count):
    assert count["reloads_total"] == 3 * len(APPS)
    assert count["reloads_failed_total"] == len(APPS)
    assert count["connections_moved_total"] > 0
    if not IS_TINY and not IS_TSAN:
        assert count["slow_closed_total"] > 0
        assert count["dropped_oldest_total"] > 0
    for name in NEVER:
        assert name not in count, name


def test_eight_apps_on_four_loops_whose_clients_do_not_behave(tmp_path):
    dice = seeded()
    apps = {name: {"main": MAIN % 1, "conf": conf(placement=placement, **OUTBOX)}
            for name, placement in APPS.items()}
    with serve_many(tmp_path, apps, ["--workers", LOOPS]) as server:
        parts = [Stress(server, random.Random(dice.random()), SIZE,
                        "/%s/" % name, name + "/", EDITS,
                        placement=placement, **OUTBOX)
                 for name, placement in APPS.items()]
        most = asyncio.run(play(server, parts))
        count = counters(server)
        print(count)
        assert most >= AT_ONCE
        for part in parts:
            assert part.heard > (10 if IS_TINY else 100) * RUN_S
        check_counters(count)
        until(lambda: "connections" not in counters(server))
        assert not [r for r in server.log if r["level"] == "error"
                    and r.get("event") != "reload"]

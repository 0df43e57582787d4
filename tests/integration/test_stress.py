"""Five hundred clients of one app at once, and none of them behaves. What
they do, and what has to hold all the while, stands in support/stress.py.

MOONWIRE_SEED repeats a run's dice (not its timing); it is printed.
MOONWIRE_STRESS_S stretches it.
"""
import asyncio

from support.lab import IS_TINY, IS_TSAN, counters, serve
from support.stress import RUN_S, Size, Stress, play, seeded
from support.stress_app import MAIN, conf

# Fewer where the server is slow, and fewer words where its buffers are tiny.
SIZE = (Size(35, 5, 20) if IS_TINY else Size(120, 10, 80) if IS_TSAN
        else Size(350, 10, 240))
AT_ONCE = 50 if IS_TINY else 150 if IS_TSAN else 500


def test_five_hundred_who_do_not_behave(tmp_path):
    dice = seeded()
    with serve(tmp_path, MAIN % 1, conf()) as server:
        stress = Stress(server, dice, SIZE)
        most = asyncio.run(play(server, [stress]))
        count = counters(server)
        print(count)
        assert most >= AT_ONCE
        assert stress.heard > (100 if IS_TINY else 1000) * RUN_S
        assert count["reloads_total"] == 2
        assert count["reloads_failed_total"] == 1
        if not IS_TINY:
            assert count["slow_closed_total"] > 0
            assert count["dropped_oldest_total"] > 0
        assert "handler_errors_total" not in count
        assert "protocol_errors_total" not in count
        assert not [r for r in server.log if r["level"] == "error"
                    and r.get("event") != "reload"]

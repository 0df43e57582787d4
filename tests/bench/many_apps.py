#!/usr/bin/python3
"""Many small apps in one process: how long they take to load, what each of
them keeps resident, and what they cost while nothing happens.

    many_apps.py MOONWIRE [APPS] [ROUNDS] [WORKERS]

Makes APPS directories with one line of Lua each, and starts the server over
them ROUNDS times. Loaded is when no app answers 503 any more; memory is that
of the process less that of one with a single app. The kernel's part (inodes,
watches, page tables) is not in it; page tables are shown beside."""
import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PORT = 19403
IDLE_S = 5
LINE = "function on_message(client, text) client:send(text) end\n"


def make_apps(top, count):
    for i in range(count):
        path = os.path.join(top, f"app{i:05d}")
        os.mkdir(path)
        with open(os.path.join(path, "main.lua"), "w") as f:
            f.write(LINE)


def answers(name):
    """The status, or 0 while nobody listens."""
    try:
        conn = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
        conn.request("GET", f"/{name}/")
        status = conn.getresponse().status
        conn.close()
        return status
    except OSError:
        return 0


def rollup(pid, field):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    raise ValueError(field)


def status(pid, field):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    raise ValueError(field)


def mappings(pid):
    with open(f"/proc/{pid}/maps") as f:
        return sum(1 for _ in f)


def cpu_ms(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total / 1e6


def measure(binary, top, count, workers):
    begin = time.monotonic()
    server = subprocess.Popen([binary, "serve", top, "--workers", str(workers),
                               "--listen", f"127.0.0.1:{PORT}",
                               "--log-level", "error"])
    try:
        # Each loop takes its apps in order: the last ones are the last ones.
        for i in range(max(0, count - workers), count):
            while answers(f"app{i:05d}") in (0, 503):
                if server.poll() is not None:
                    sys.exit("the server has ended")
                time.sleep(0.005)
        loaded_s = time.monotonic() - begin
        loaded_cpu = cpu_ms(server.pid)
        time.sleep(2)
        before = cpu_ms(server.pid)
        time.sleep(IDLE_S)
        return {"s": loaded_s, "cpu": loaded_cpu,
                "idle": cpu_ms(server.pid) - before,
                "rss": rollup(server.pid, "Rss"),
                "pss": rollup(server.pid, "Pss"),
                "pte": status(server.pid, "VmPTE"),
                "maps": mappings(server.pid)}
    finally:
        server.terminate()
        server.wait()


def main():
    binary = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10000
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    workers = int(sys.argv[4]) if len(sys.argv) > 4 else 2
    top = tempfile.mkdtemp(prefix="many_apps.")
    try:
        os.mkdir(os.path.join(top, "one"))
        os.mkdir(os.path.join(top, "all"))
        make_apps(os.path.join(top, "one"), 1)
        make_apps(os.path.join(top, "all"), count)
        one = measure(binary, os.path.join(top, "one"), 1, workers)
        runs = [measure(binary, os.path.join(top, "all"), count, workers)
                for _ in range(rounds)]
    finally:
        shutil.rmtree(top)
    mid = {key: statistics.median(run[key] for run in runs) for key in one}
    for run in runs:
        print(f"loaded after {run['s']:.2f} s ({run['cpu']:.0f} ms of CPU), "
              f"idle: {run['idle']:.1f} ms of CPU in {IDLE_S} s")
    print(f"each of {count} apps, medians of {rounds}: "
          f"{mid['cpu'] * 1000 / count:.0f} us to load, "
          f"{(mid['rss'] - one['rss']) / count:.1f} KiB resident (RSS), "
          f"{(mid['pss'] - one['pss']) / count:.1f} (PSS), "
          f"{(mid['pte'] - one['pte']) / count:.1f} of page tables; "
          f"{mid['maps']:.0f} mappings in all")


main()

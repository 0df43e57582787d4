"""What the tests of a running server measure, and how they set one up."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from support.server import Server
from support.wire import Peer, is_sanitized

# Its memory is not the server's alone.
IS_ASAN = is_sanitized()
IS_TSAN = is_sanitized(b"t")

# Whether a memory error says where it was (script/where.c).
HAS_MEMORY_PLACES = tuple(map(int, subprocess.run(
    ["lua5.4", "-v"], capture_output=True, text=True, check=True
).stdout.split()[1].split("."))) < (5, 4, 5)

# It reads and writes a few bytes at a time: no build to send megabytes through.
IS_TINY = os.environ.get("MOONWIRE_PRESET") == "tiny"
not_tiny = pytest.mark.skipif(
    IS_TINY, reason="megabytes in pieces of three bytes take too long")


def write_app(directory, main, conf=None, files=None):
    """An app's directory: main.lua, app.conf.lua, more files by name."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "main.lua").write_text(main, encoding="utf-8")
    if conf is not None:
        (directory / "app.conf.lua").write_text(conf, encoding="utf-8")
    for name, text in (files or {}).items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")
    return directory


class Lab(Server):
    """A Server that has to end well: with 0, and without a line of noise,
    which is what a sanitizer or a failed assertion makes."""

    def __exit__(self, kind, *_):
        try:
            for peer in list(Peer.everybody):
                peer.close()
            if kind is None:
                code = self.stop()
                assert code == 0 and not self.noise, self._told(
                    "ended with %d" % code)
        finally:
            self.close()


def environment():
    """A sanitizer's memory of what was freed is kept small, so that a bound on
    memory can be seen at all."""
    options = [o for o in (os.environ.get("ASAN_OPTIONS"),
                           "quarantine_size_mb=4") if o]
    return {"ASAN_OPTIONS": ":".join(options)}


def serve(directory, main, conf=None, files=None, args=()):
    """A Lab with this app."""
    return Lab(write_app(pathlib.Path(directory) / "app", main, conf, files),
               "--drain", "0s", *args, env=environment())


def serve_many(directory, apps, args=()):
    """A Lab with all of these, {name: arguments of write_app()}; each at
    /NAME/. Returns when all of them have been loaded, if they can be."""
    root = pathlib.Path(directory) / "apps"
    for name, app in apps.items():
        write_app(root / name, **app)
    lab = Lab(root, "--drain", "0s", "--log-level", "debug", *args,
              env=environment(), command="serve")
    try:
        for name in apps:
            lab.wait_log(lambda r: r.get("event") == "load"
                         and r["app"] == name)
    except BaseException:
        lab.close()
        raise
    return lab


def signal_and_wait(server, number, predicate):
    """-> the record that the server logs because of that signal. TSan, which
    keeps signals back, now and then loses one over a switch of fibers."""
    mark = server.mark()
    for _ in range(10 if IS_TSAN else 0):
        server.signal(number)
        try:
            return server.wait_log(predicate, timeout=3, since=mark)
        except AssertionError:
            continue
    server.signal(number)
    return server.wait_log(predicate, since=mark)


def counters(server):
    """The counters as the server logs them: {name: value}; 0 is left out."""
    line = signal_and_wait(server, signal.SIGUSR1,
                           lambda r: r["msg"].startswith("counters:"))
    return {name: int(value)
            for name, value in re.findall(r"(\w+)=(\d+)", line["msg"])}


def lines(server, pattern, since=0):
    """The log's records whose message matches."""
    return [r for r in server.log[since:]
            if re.search(pattern, r.get("msg", ""))]


def forget_peak(pid):
    pathlib.Path("/proc/%d/clear_refs" % pid).write_text("5")


def memory(pid):
    """-> (resident now, its peak), in bytes."""
    text = pathlib.Path("/proc/%d/status" % pid).read_text()
    now, peak = (int(re.search(r"%s:\s+(\d+) kB" % name, text).group(1))
                 for name in ("VmRSS", "VmHWM"))
    return now * 1024, peak * 1024


def kernel_bytes(server, peer_port):
    """What the kernel holds to be sent to the client at `peer_port`."""
    if shutil.which("ss") is None:
        pytest.skip("no ss (iproute2): the kernel's share cannot be seen")
    text = subprocess.run(
        ["ss", "-tmnH", "sport = :%d and dport = :%d"
         % (server.port, peer_port)],
        capture_output=True, text=True, check=True).stdout
    found = re.search(r"skmem:\(.*?,w(\d+),", text)
    if found is None:
        pytest.skip("ss tells nothing of a socket's memory here: %r" % text)
    return int(found.group(1))


def ask(peer, **command):
    """Sends a command as JSON; -> the answer, the next message."""
    peer.text(json.dumps(command))
    return json.loads(peer.message())

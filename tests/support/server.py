"""A moonwire of one's own: started on a free port, its log read as it comes.

    with Server(app_dir) as server:
        talk_to(server.url)
        server.wait_log(lambda r: r.get("event") == "reload")
        assert server.stop() == 0

Only the process that was started here is ever signalled, by its own handle.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("MOONWIRE_BIN", str(ROOT / "build/dev/moonwire"))
HOST = "127.0.0.1"

# More arguments for each server that is started; see support/wires.py.
MORE_ARGS = []

LISTENING = re.compile(r" on https?://\S*:(\d+)$")

# A sanitizer slows everything down; nobody waits as long as this when all is
# well.
PATIENCE_S = 30


class Server:
    """`moonwire run APP_DIR --listen 127.0.0.1:PORT ARGS...`

    command="serve": all apps below that directory.
    copy=True: serves a copy of the directory, which the test may edit.
    port=0: any free port. It is kept over restart().
    env: variables beside those of the test itself; MOONWIRE_* are not handed
    on, since they are settings of the server.
    """

    def __init__(self, app_dir, *args, env=None, port=0, copy=False,
                 command="run"):
        self._temporary = None
        self.command = command
        self.dir = pathlib.Path(app_dir)
        if copy:
            self._temporary = tempfile.mkdtemp(prefix="moonwire-test-")
            copied = pathlib.Path(self._temporary) / self.dir.name
            self.dir = pathlib.Path(shutil.copytree(self.dir, copied))
        self.args = [str(arg) for arg in args]
        self.env = {k: v for k, v in os.environ.items()
                    if not k.startswith("MOONWIRE_")}
        self.env.update(env or {})
        self.more = list(MORE_ARGS)
        self.port = port
        self.log = []       # what it logged, as dicts; over all its runs
        self.noise = []     # lines of its stderr that are no JSON
        self._grown = threading.Condition()
        self._reader = None
        self.process = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    # ---- life

    @property
    def is_tls(self):
        return "--tls-cert" in self.args + self.more

    @property
    def url(self):
        return self._url("http")

    @property
    def ws_url(self):
        return self._url("ws")

    def _url(self, scheme):
        """The tests' certificates are for localhost."""
        if self.is_tls:
            return "%ss://localhost:%d/" % (scheme, self.port)
        return "%s://%s:%d/" % (scheme, HOST, self.port)

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        """Returns when it listens."""
        seen = len(self.log)
        self.process = subprocess.Popen(
            [BINARY, self.command, str(self.dir), "--listen",
             "%s:%d" % (HOST, self.port), *self.args, *self.more],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, env=self.env)
        self._reader = threading.Thread(
            target=self._read, args=(self.process.stderr,), daemon=True)
        self._reader.start()
        line = self.wait_log(
            lambda r: LISTENING.search(r.get("msg", "")), since=seen)
        self.port = int(LISTENING.search(line["msg"]).group(1))

    def signal(self, number):
        """Not by Popen, which looks first whether the process has ended: that
        takes the news of a thread that stops away from whoever holds it
        (support/hold.py), and Popen believes that the process ended."""
        if self.process.returncode is None:
            os.kill(self.pid, number)

    def wait(self, timeout=PATIENCE_S):
        """-> exit code; its whole log has been read then."""
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        return code

    def stop(self, timeout=PATIENCE_S):
        """SIGTERM -> exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        if os.environ.get("MOONWIRE_PRESET") == "tsan":
            self._insist()
        return self.wait(timeout)

    def _insist(self):
        """TSan keeps signals back and now and then loses one over a switch of
        fibers. A server that has heard SIGTERM has closed its port; a second
        one would make it drop everything, so only a deaf one gets it."""
        for _ in range(10):
            try:
                self.process.wait(3)
                return
            except subprocess.TimeoutExpired:
                pass
            try:
                socket.create_connection((HOST, self.port), 3).close()
            except OSError:
                return
            self.signal(signal.SIGTERM)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        return self.wait() if self.process is not None else None

    def restart(self):
        """Stops it and starts it anew on the same port."""
        code = self.stop()
        assert code == 0, self._told("ended with %d" % code)
        self.start()

    def close(self):
        self.kill()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- its files

    def read(self, name="main.lua"):
        return (self.dir / name).read_text(encoding="utf-8")

    def write(self, name, text):
        """As an editor saves: a new file takes the place of the old one."""
        path = self.dir / name
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)

    # ---- its log

    def mark(self):
        """Where the log ends now; for `since`."""
        with self._grown:
            return len(self.log)

    def wait_log(self, predicate, timeout=PATIENCE_S, since=0):
        """-> the first record, from `since` on, that satisfies predicate."""
        ends = time.monotonic() + timeout
        at = since
        with self._grown:
            while True:
                while at < len(self.log):
                    if predicate(self.log[at]):
                        return self.log[at]
                    at += 1
                left = ends - time.monotonic()
                if left <= 0 or not self._is_read_on():
                    break
                self._grown.wait(min(left, 0.2))
        raise AssertionError(self._told("no such line in the log"))

    def _is_read_on(self):
        return self._reader is not None and self._reader.is_alive()

    def _read(self, pipe):
        with pipe:
            for line in pipe:
                text = line.decode("utf-8", "replace").rstrip("\n")
                try:
                    record = json.loads(text)
                except ValueError:
                    record = None
                with self._grown:
                    if isinstance(record, dict):
                        self.log.append(record)
                    else:
                        self.noise.append(text)
                    self._grown.notify_all()
        with self._grown:
            self._grown.notify_all()

    def _told(self, what):
        lines = [json.dumps(record) for record in self.log[-40:]]
        return "\n".join([what, "-- log:", *lines, "-- else:",
                          *self.noise[-80:]])

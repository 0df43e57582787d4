"""The hostile programs of tests/hostile: read, turned into apps, judged.

    for case in read_all(): case.write(directory)
    outcome = run(server, case)
"""
import os
import pathlib
import re
import socket
import time

from support.wire import Ended, Peer, Violation, is_sanitized

HERE = pathlib.Path(__file__).resolve().parents[1] / "hostile"
HEADER = re.compile(r"^--# (\S+) \| (.*)$")
LOAD_TIME = "load_time"
KILLS = ("cpu", "crash")

# What a script is put into. It keeps to itself what it needs to answer.
FRAME = """local show = tostring
local attack = function(client)
%s
end
function on_message(client, text)
  if text == "go" then
    local result = attack(client)
    client:send("ok " .. show(result))
  else
    client:send("pong")
  end
end
"""
CONF = 'return { limits = { cpu = "%s", memory = "16MB" } }\n'
RAW = {
    "--%bytes": b"\x1bLua\x54\x00\x19\x93\r\n\x1a\n" + bytes(200),
    "--%garbage": bytes(range(256)) * 16,
}


class Case:
    def __init__(self, category, number, name, expected, lines):
        self.category = category
        self.number = number
        self.name = name
        self.expected = [part.strip() for part in expected.split(" or ")]
        self.source = "\n".join(lines) + "\n"
        app = "%s-%03d-%s" % (category, number, name)
        self.app = re.sub("[^A-Za-z0-9-]", "-", app)[:64].rstrip("-")

    def __repr__(self):
        return "%s/%s" % (self.category, self.name)

    @property
    def is_load_time(self):
        return self.category == LOAD_TIME

    @property
    def needs_a_kill(self):
        """Does it go on for ever unless somebody stops it?"""
        return any(word.startswith("killed") or word == "refused cpu"
                   for word in self.expected) or "-endless" in self.name

    def write(self, directory):
        path = directory / self.app
        path.mkdir()
        main = path / "main.lua"
        if not self.is_load_time:
            main.write_text(FRAME % self.source, encoding="utf-8")
        elif self.source.strip() in RAW:
            main.write_bytes(RAW[self.source.strip()])
        else:
            main.write_text(self.source, encoding="utf-8")
        # A sanitizer makes honest scripts slower, too.
        cpu = "100ms"
        if is_sanitized() and not self.needs_a_kill:
            cpu = "1s" if is_sanitized(b"t") else "400ms"
        (path / "app.conf.lua").write_text(CONF % cpu)


def read_file(path):
    cases, head, lines = [], None, []

    def end():
        if head is not None:
            cases.append(Case(path.stem, len(cases) + 1, *head, lines))

    for line in path.read_text(encoding="utf-8").split("\n"):
        found = HEADER.match(line)
        if found:
            end()
            head, lines = found.groups(), []
        elif head is not None:
            lines.append(line)
    end()
    return cases


def read_all(place=None):
    """place: another directory of such files, to judge with."""
    place = pathlib.Path(place or os.environ.get("HOSTILE_DIR") or HERE)
    return [case for path in sorted(place.glob("*.lua"))
            for case in read_file(path)]


# ---- what came of it

class Outcome:
    """Everything that was seen, in order, as words like those of a header."""

    def __init__(self, case):
        self.case = case
        self.seen = []

    def add(self, word, text=""):
        self.seen.append((word, text))

    def __str__(self):
        return "; ".join(("%s %s" % seen).strip()[:300]
                         for seen in self.seen) or "nothing at all"

    def is_settled(self):
        """True: as expected. False: it cannot become so. None: wait on."""
        for word, text in self.seen:
            if any(matches(wanted, word, text)
                   for wanted in self.case.expected):
                return True
        words = {word for word, _ in self.seen}
        if self.case.is_load_time:
            # A handler that fails or is stopped is not what is asked about.
            words &= {"refused", "pong", "silence", "closed"}
        may_follow = any(w.startswith(("killed", "memory", "error"))
                         for w in self.case.expected)
        if words - {"ok"} or (words and not may_follow):
            return False
        return None


def as_pattern(lua):
    return lua.replace("%d", r"\d").replace("%x", r"[0-9a-f]")


def matches(wanted, word, text):
    first, _, rest = wanted.partition(" ")
    if wanted in ("killed", "killed soft", "killed hard"):
        return word == wanted or (wanted == "killed"
                                  and word.startswith("killed"))
    if first != word:
        return False
    if word == "ok" and rest:
        if rest.startswith("/") and rest.endswith("/"):
            return re.search(as_pattern(rest[1:-1]), text) is not None
        return text == rest
    return rest in text


def said_by_log(case, record):
    """-> (word, text) of a record of the case's app, or None."""
    if record.get("app") != case.app or "kind" not in record:
        return None
    kind = record["kind"]
    text = "%s %s" % (record.get("msg", ""), record.get("err", ""))
    if record.get("event") in ("load", "reload"):
        return "refused", kind + " " + text
    if record.get("event") == "restart":
        return None             # what follows from it
    if kind in KILLS:
        is_hard = kind == "crash" or "could not be stopped" in text
        return "killed hard" if is_hard else "killed soft", text
    return kind, text


class Run:
    """One script under way."""

    def __init__(self, server, case, patience_s):
        self.server = server
        self.case = case
        self.outcome = Outcome(case)
        self.ends = time.monotonic() + patience_s
        self.at = 0

    def read_log(self):
        with self.server._grown:
            records = self.server.log[self.at:]
            self.at += len(records)
        for record in records:
            said = said_by_log(self.case, record)
            if said:
                self.outcome.add(*said)

    def settle(self, read=lambda: None):
        """Looks and listens until it is clear what came of it."""
        while True:
            self.read_log()
            settled = self.outcome.is_settled()
            if settled is not None or time.monotonic() > self.ends:
                return settled is True
            read()

    def listen(self, peer):
        peer.sock.settimeout(0.02)
        try:
            message = peer.message()
        except (socket.timeout, BlockingIOError):
            return
        except (Ended, AssertionError, Violation) as end:
            self.outcome.add("closed", str(end))
            return
        finally:
            peer.sock.settimeout(peer.timeout)
        if isinstance(message, str) and message.startswith("ok"):
            self.outcome.add("ok", message[3:])
        elif message == "pong":
            self.outcome.add("pong")


def is_at_home(server, case, patience_s):
    """Does the app answer, on a connection of its own? It may just be made
    anew, or still be stopping something that came after the answer."""
    ends = time.monotonic() + patience_s
    while time.monotonic() < ends:
        try:
            with Peer(server.port, timeout=2).open("/%s/" % case.app) as peer:
                peer.text("ping")
                while peer.message() != "pong":
                    pass
                return True
        except (OSError, Ended, AssertionError, Violation):
            time.sleep(0.05)
    return False


def run(server, case, patience_s=20):
    """-> (as expected?, Outcome)"""
    running = Run(server, case, patience_s)
    if not case.is_load_time:
        running.at = server.mark()
        with Peer(server.port).open("/%s/" % case.app) as peer:
            peer.text("go")
            is_good = running.settle(lambda: running.listen(peer))
        return is_good, running.outcome
    refused = [w for w in case.expected if w.startswith("refused")]
    if refused and "refused connection" not in refused:
        return running.settle(lambda: time.sleep(0.02)), running.outcome
    with Peer(server.port, timeout=patience_s) as peer:
        peer.send(peer.request("/%s/" % case.app))
        status = peer.response().status
        if status != 101:
            running.outcome.add("refused", "connection %d" % status)
        else:
            peer.text("ping")
            if "silence" in case.expected and peer.is_silent(0.3):
                running.outcome.add("silence")
        is_good = running.settle(lambda: running.listen(peer))
    return is_good, running.outcome

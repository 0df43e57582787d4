"""docs/WRITING-AN-APP.md: what it shows runs, what it says of settings holds.

A block that is marked "lua main.lua" is a whole app, "lua app.conf.lua" a
whole settings file, "lua" alone a piece of a handler.
"""
import collections
import json
import pathlib
import re
import subprocess
import sys

import pytest

from support.server import BINARY
from support.wire import Peer

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GUIDE = (DOCS / "WRITING-AN-APP.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^( *)```(\S[^\n]*)\n(.*?)^\1```$", re.M | re.S)

Block = collections.namedtuple("Block", "mark text line")


def blocks(mark):
    return [Block(m.group(2), m.group(3), GUIDE.count("\n", 0, m.start()) + 1)
            for m in BLOCK.finditer(GUIDE) if m.group(2) == mark]


def by_line(mark):
    return [pytest.param(b.text, id="line %d" % b.line) for b in blocks(mark)]


def check(directory, main="", conf=None):
    """moonwire check -> (exit code, all it said)."""
    (directory / "main.lua").write_text(main, encoding="utf-8")
    if conf is not None:
        (directory / "app.conf.lua").write_text(conf, encoding="utf-8")
    done = subprocess.run([BINARY, "check", str(directory)], timeout=60,
                          capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def step(number):
    """The app of "## <number>. ..."."""
    start = GUIDE.index("\n## %d. " % number)
    end = GUIDE.index("\n## ", start + 1)
    apps = [m.group(3) for m in BLOCK.finditer(GUIDE, start, end)
            if m.group(2) == "lua main.lua"]
    assert len(apps) == 1
    return apps[0]


# ---- every block

@pytest.mark.parametrize("main", by_line("lua main.lua"))
def test_every_app_loads_and_all_its_handlers_are_found(main, tmp_path):
    code, said = check(tmp_path, main)
    assert code == 0, said
    found = said.split("handlers: ")[1].split()
    assert sorted(found) == sorted(
        re.findall(r"^function (?:app\.)?(on_\w+)\(", main, re.M))


@pytest.mark.parametrize("conf", by_line("lua app.conf.lua"))
def test_every_settings_file_is_read(conf, tmp_path):
    code, said = check(tmp_path, conf=conf)
    assert code == 0, said


@pytest.mark.parametrize("piece", by_line("lua"))
def test_every_piece_is_lua(piece, tmp_path):
    code, said = check(tmp_path, "function on_open(client)\n%send\n" % piece)
    assert code == 0, said


def test_no_block_of_code_escapes():
    known = {"lua main.lua", "lua app.conf.lua", "lua", "python", "sh", "js",
             "js old", "js new"}
    assert {m.group(2) for m in BLOCK.finditer(GUIDE)} <= known
    assert len(blocks("lua main.lua")) >= 8
    assert GUIDE.count("```") % 2 == 0


def test_every_link_leads_somewhere():
    headings = {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-")
                for h in re.findall(r"^#+ (.*)$", GUIDE, re.M)}
    for target in re.findall(r"\]\(([^)]+)\)", GUIDE):
        if target.startswith("#"):
            assert target[1:] in headings, target
        else:
            assert (DOCS / target).exists(), target


# ---- the steps

def enter(server, query=""):
    peer = Peer(server.port)
    peer.open("/" + query)
    return peer


def hear(peer):
    return json.loads(peer.message())


def say(peer, **what):
    peer.text(json.dumps(what))


def test_step_2_sends_back_what_comes(serve):
    peer = enter(serve(step(2)))
    peer.text("moon")
    assert peer.message() == "moon"


def test_step_3_is_heard_by_everybody(serve):
    server = serve(step(3))
    one = enter(server)
    assert hear(one) == {"type": "here", "count": 1}
    two = enter(server)
    assert hear(one) == hear(two) == {"type": "here", "count": 2}
    say(two, text="hello")
    assert hear(one) == hear(two)
    say(one, text=5)
    assert hear(one)["type"] == "error"
    two.close()
    assert hear(one) == {"type": "here", "count": 1}


def test_step_4_knows_names_and_refuses_the_nameless(serve):
    server = serve(step(4))
    nobody = Peer(server.port)
    nobody.send(nobody.request("/"))
    assert nobody.response().status == 400
    ada = enter(server, "?name=ada")
    hear(ada)
    say(ada, text="hello")
    assert hear(ada) == {"type": "say", "from": "ada", "text": "hello"}


def test_step_4_changes_a_line_that_is_in_the_page_of_moonwire_new():
    page = (ROOT / "lua/templates/new/public/index.html").read_text()
    old, new = blocks("js old")[0].text, blocks("js new")[0].text
    assert page.count(old) == 1
    assert new.startswith(old.rstrip(");\n"))


def test_step_5_keeps_rooms_apart(serve):
    server = serve(step(5))
    ada = enter(server, "?name=ada&room=tea")
    assert hear(ada)["count"] == 1
    cid = enter(server, "?name=cid")
    assert hear(cid)["count"] == 1
    bob = enter(server, "?name=bob&room=tea")
    assert hear(ada)["count"] == hear(bob)["count"] == 2
    say(cid, text="in the lobby")
    say(bob, text="in the tea room")
    assert hear(cid)["text"] == "in the lobby"
    assert hear(ada) == hear(bob) == {
        "type": "say", "from": "bob", "text": "in the tea room"}
    bob.close()
    assert hear(ada) == {"type": "here", "count": 1}


def test_step_6_remembers_and_slows_down(serve):
    server = serve(step(6))
    ada = enter(server, "?name=ada&room=tea")
    hear(ada)
    for i in range(5):
        say(ada, type="say", text="line %d" % i)
        assert hear(ada)["text"] == "line %d" % i
    say(ada, text="one too many")
    assert hear(ada)["error"].startswith("slow down")
    bob = enter(server, "?name=bob&room=tea")
    assert [hear(bob)["text"] for _ in range(5)] == [
        "line %d" % i for i in range(5)]
    assert hear(bob) == hear(ada) == {"type": "here", "count": 2}
    say(bob, type="typing")
    assert hear(ada) == {"type": "typing", "from": "bob"}


def test_step_6_answers_the_program_of_the_guide(serve):
    server = serve(step(6))
    (program,) = blocks("python")
    assert "127.0.0.1:8080" in program.text
    done = subprocess.run(
        [sys.executable, "-c", program.text.replace(
            "127.0.0.1:8080", "127.0.0.1:%d" % server.port)],
        timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'text': 'hello'" in done.stdout


def test_the_app_about_waiting_keeps_its_order(serve):
    (main,) = [b.text for b in blocks("lua main.lua") if "stock" in b.text]
    server = serve(main)
    one, two = enter(server), enter(server)
    one.text("buy")
    two.text("buy")
    assert {hear(one)["type"], hear(two)["type"]} == {"yours", "error"}
    one.text("later")
    one.text("both")
    assert hear(one) == {"type": "soon"}
    assert hear(one) == {"type": "both", "results": ["slow", "quick"]}
    assert hear(one) == {"type": "later"}


# ---- the tables

SETTING = re.compile(r"^\| `([a-z_.]+)` \| ([^|]+) \| ([^|]+) \|", re.M)
UNITS = {"KB": 1024, "MB": 1024 ** 2, "GB": 1024 ** 3,
         "ms": 1, "s": 1000, "m": 60000, "h": 3600000}
DEFAULTS = {"message.max": "MESSAGE_BYTES",
            "outbox.hard": "OUTBOX_HARD_BYTES",
            "outbox.soft": "OUTBOX_SOFT_MESSAGES",
            "outbox.soft_for": "OUTBOX_SOFT_MS",
            "limits.memory": "MEMORY_BYTES", "limits.clients": "CLIENTS",
            "limits.cpu": "CPU_MS", "ping": "PING_MS",
            "compress.threshold": "DEFLATE_THRESHOLD_BYTES",
            "compress.level": "DEFLATE_LEVEL"}


def settings():
    """-> {name: ([values as Lua], default as Lua, or None)}"""
    start = GUIDE.index("\n## Settings")
    end = GUIDE.index("\n## ", start + 1)
    return {name: (re.findall("`([^`]+)`", values),
                   (re.findall("`([^`]+)`", default) or [None])[0])
            for name, values, default in SETTING.findall(GUIDE, start, end)}


def number(value):
    """Of a Lua value: bytes, milliseconds, or a count."""
    found = re.fullmatch(r'"(\d+)([A-Za-z]+)"', value)
    return int(found.group(1)) * UNITS[found.group(2)] if found else int(value)


def conf_of(name, value):
    *outer, last = name.split(".")
    text = "%s = %s" % (last, value)
    for key in reversed(outer):
        text = "%s = { %s }" % (key, text)
    return "return { %s }" % text


def test_the_table_of_settings_has_every_setting_and_no_other():
    source = "".join(path.read_text() for path in
                     sorted((ROOT / "src/app").glob("manifest*.c")))
    known = set(re.findall(r'\{"(\w+)",\s*(?:manifest_)?read_', source))
    assert known == {word for name in settings() for word in name.split(".")}


@pytest.mark.parametrize("name", sorted(settings()))
def test_a_setting_takes_what_the_table_says_and_no_more(name, tmp_path):
    values, default = settings()[name]
    is_range = name in DEFAULTS
    if name in ("origins", "env"):
        values = ['{ "*" }' if name == "origins" else '{ GREETING = "hello" }']
    for value in values + ([default] if default else []):
        code, said = check(tmp_path, conf=conf_of(name, value))
        assert code == 0, said
    wrong = ["'nonsense'"]
    if is_range:
        low, high = values
        in_ms = number(low) if name in ("ping", "limits.cpu") else 0
        wrong.append('"%dms"' % (in_ms - 1) if in_ms
                     else str(number(low) - 1))
        wrong.append(re.sub(r"\d+", lambda m: str(int(m.group()) + 1), high))
    for value in wrong:
        code, said = check(tmp_path, conf=conf_of(name, value))
        assert code == 1 and "app.conf.lua:1: " in said, (value, said)


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_a_default_is_the_one_of_limits_h(name):
    text = (ROOT / "src/base/limits.h").read_text()
    product = re.search(r"#define LIMIT_DEFAULT_%s\s+\(?([\d *]+)"
                        % DEFAULTS[name], text).group(1)
    value = 1
    for factor in product.split("*"):
        value *= int(factor)
    assert number(settings()[name][1]) == value


def test_the_words_of_failures_are_those_of_err_h():
    start = GUIDE.index("| word | from |")
    words = re.findall(r"^\| `(\w+)` \|", GUIDE[start:GUIDE.index(
        "\n\n", start)], re.M)
    known = re.findall(r'X\(\w+, "(\w+)"', (ROOT / "src/base/err.h").read_text())
    assert len(words) >= 6 and set(words) <= set(known)

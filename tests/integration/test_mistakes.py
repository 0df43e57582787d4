"""What a newcomer gets wrong. Whatever it is, there is one clear line that
says what and where, and the exit code is 1 (it failed) or 2 (it was asked
wrongly). test_command_line.py has the commands themselves."""
import json
import os
import re
import socket
import subprocess

import pytest

from support.lab import HAS_MEMORY_PLACES, counters
from support.server import BINARY
from support.wire import Peer


def moonwire(*words, cwd=None, timeout=60, **env):
    """Runs a command that ends by itself."""
    clean = {k: v for k, v in os.environ.items()
             if not k.startswith("MOONWIRE_")}
    return subprocess.run(
        [BINARY, *map(str, words)], cwd=cwd, env={**clean, **env},
        timeout=timeout, stdin=subprocess.DEVNULL, capture_output=True,
        text=True)


def one_line(text):
    assert text.count("\n") == 1 and text.endswith("\n"), text
    return text.rstrip("\n")


@pytest.fixture
def app(tmp_path):
    directory = tmp_path / "app"
    directory.mkdir()
    (directory / "main.lua").write_text("function on_open(client) end\n")
    return directory


def refusals(app):
    """What check (for people) and run (one record) say; both exit with 1."""
    checked = moonwire("check", app)
    assert checked.returncode == 1 and checked.stdout == ""
    ran = moonwire("run", app, "--listen", "127.0.0.1:0")
    assert ran.returncode == 1 and ran.stdout == ""
    records = [json.loads(line) for line in ran.stderr.splitlines()]
    (record,) = [r for r in records if r["level"] == "error"]
    first = checked.stderr.split("\n", 1)[0]
    why = first.split(": ", 2)[2]
    assert record["msg"] == "cannot start %s: %s" % (app, why)
    return checked.stderr, record


# ---- directories

def test_a_directory_that_is_missing_a_file_or_empty(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, says in (("nothing", "there is no such directory"),
                       ("file", "it is not a directory"),
                       ("empty", "there is no main.lua in this directory")):
        text, _ = refusals(tmp_path / name)
        assert one_line(text) == "moonwire: %s: %s" % (tmp_path / name, says)


def test_a_directory_of_apps_is_shown_the_command_for_it(tmp_path):
    for name in "chat", "echo":
        (tmp_path / "apps" / name).mkdir(parents=True)
        (tmp_path / "apps" / name / "main.lua").write_text("")
    text, _ = refusals(tmp_path / "apps")
    assert one_line(text) == (
        "moonwire: %s: there is no main.lua in this directory, but in chat/: "
        "`moonwire serve` is for a directory of apps" % (tmp_path / "apps"))


def test_a_module_that_is_a_symbolic_link_is_named(app):
    (app / "helper.lua").symlink_to("/etc/passwd")
    text, _ = refusals(app)
    assert "helper.lua" in one_line(text) and "symbolic link" in text


# ---- main.lua

SYNTAX = {
    "an open bracket": ('function on_open(client)\n  client:send("x"\nend\n',
                        "main.lua:3: ')' expected (to close '(' at line 2)"),
    "an open string": ('print("x)\n', "main.lua:1: unfinished string"),
    "a missing end": ("function f()\n  if x then\nend\n",
                      "main.lua:4: 'end' expected (to close 'function' at "
                      "line 1)"),
    "another language": ("const x = 1;\n", "main.lua:1: syntax error"),
    "not equal": ("if a != b then end\n", "main.lua:1: 'then' expected near '!'"),
}


@pytest.mark.parametrize("what", SYNTAX)
def test_a_syntax_error_is_one_line_with_file_and_line(app, what):
    source, says = SYNTAX[what]
    (app / "main.lua").write_text(source)
    text, record = refusals(app)
    assert says in one_line(text)
    assert "err" not in record


def test_a_syntax_error_in_a_module_names_the_module(app):
    (app / "main.lua").write_text('\nlocal m = require "lib.helper"\n')
    (app / "lib").mkdir()
    (app / "lib/helper.lua").write_text("return {\n\n  x = = 1\n}\n")
    text, _ = refusals(app)
    assert "lib/helper.lua:3: unexpected symbol near '='" in text
    assert "main.lua:2" in text


AT_LOAD = {
    "nil": ("local function deep()\n  local t\n  t.x = 1\nend\n\ndeep()\n",
            "main.lua:3: attempt to index a nil value (local 't')",
            "main.lua:6: in main chunk"),
    "a missing module": ('require "nope"\n',
                         "main.lua:1: module 'nope' is not among the app's "
                         "files", "in function 'require'"),
    "io": ("local f = io.open('x')\n",
           "main.lua:1: io.open is not available to apps", "main.lua:1"),
    "os.execute": ("os.execute('x')\n",
                   "main.lua:1: os.execute is not available to apps",
                   "main.lua:1"),
    "broadcast": ("broadcast('hello')\n",
                  "main.lua:1: broadcast cannot be called while the app "
                  "loads: call it from on_start", "in function 'broadcast'"),
    "rooms": ("\nroom('a'):broadcast('x')\n",
              "main.lua:2: room:broadcast cannot be called while the app "
              "loads", "main.lua:2"),
    "clients": ("for c in clients() do end\n",
                "main.lua:1: clients cannot be called while the app loads",
                "main.lua:1"),
    "sleep": ("sleep(1)\n",
              "main.lua:1: cannot wait inside the main chunk: use on_start",
              "in function 'sleep'"),
    "a string too long": ("\nlocal s = ('x'):rep(100000000)\n",
                          "not enough memory: limits.memory is ",
                          "main.lua:2: in main chunk"),
    "a table too long": ("local t = {}\nfor i = 1, 1e9 do\n  t[i] = {}\nend\n",
                         "not enough memory: limits.memory is ",
                         "main.lua:3: in main chunk"),
}


@pytest.mark.parametrize("what", AT_LOAD)
def test_a_run_time_error_at_load_has_line_and_traceback(app, what):
    source, says, traced = AT_LOAD[what]
    (app / "main.lua").write_text(source)
    text, record = refusals(app)
    first, *trace = text.splitlines()
    assert says in first
    if says.startswith("not enough memory") and not HAS_MEMORY_PLACES:
        assert "traceback" not in text
        return
    assert trace[0].strip() == "stack traceback:" and traced in text
    assert "[C]: in ?" not in text      # our own frames help nobody
    assert traced in record["err"]


@pytest.mark.parametrize("source, says", [
    ("on_open = 5\n", "'on_open' must be a function, got number"),
    ("return 5\n", "main.lua returns a number; it may return a table of "
                   "handlers"),
    ("return { on_message = 'x' }\n",
     "'on_message' must be a function, got string"),
])
def test_what_is_wrong_as_a_whole_is_one_line(app, source, says):
    (app / "main.lua").write_text(source)
    text, _ = refusals(app)
    assert says in one_line(text)


@pytest.mark.parametrize("source, says", [
    ("function on_mesage() end", "on_mesage is no handler (did you mean "
                                 "on_message?)"),
    ("function onMessage() end", "did you mean on_message?"),
    ("return { on_opne = function() end }", "did you mean on_open?"),
    ("function on_unload() end", "on_unload is not called by this version"),
])
def test_a_handler_that_nobody_calls_is_warned_of(app, serve, source, says):
    (app / "main.lua").write_text(source)
    done = moonwire("check", app)
    assert done.returncode == 0
    assert says in one_line(done.stderr)
    server = serve(source)
    (record,) = [r for r in server.log if r["level"] == "warn"]
    assert says in record["msg"] and record["event"] == "load"


def test_helpers_by_any_other_name_are_nobodys_business(app):
    (app / "main.lua").write_text(
        "function on_button_click() end\nfunction open_door() end\n"
        "function on_open() end\n")
    done = moonwire("check", app)
    assert (done.returncode, done.stderr) == (0, "")


# ---- app.conf.lua

CONF = {
    "return {\n  limit = {},\n}": "2: unknown setting 'limit'; did you mean "
                                  "'limits'?",
    "return {\n\n  outbox = { polcy = 'close' } }":
        "3: unknown setting 'outbox.polcy'; did you mean 'outbox.policy'?",
    "return { colour = 'red' }": "1: unknown setting 'colour'",
    "return {\n  ping = '1ms' }": "2: ping must be 100ms to 1d, got 1ms",
    "return { ping = '30x' }": "1: ping must be seconds, or a text like",
    "return { ping = true }": "1: ping must be seconds, or a text like",
    "return { message = { max = '1GB' } }":
        "1: message.max must be 1 to 64MB, got 1GB",
    "return { message = { max = 0 } }":
        "1: message.max must be 1 to 64MB, got 0",
    "return { message = { max = -1 } }":
        "1: message.max must be bytes, as a number or like",
    "return { message = '1MB' }": "1: message must be a table, got string",
    "return { outbox = { policy = 'drop_old' } }":
        '1: outbox.policy must be one of "close", "drop_oldest", '
        '"drop_newest"; did you mean "drop_oldest"?',
    "return { outbox = { soft_for = 1/0 } }":
        "1: outbox.soft_for must be seconds, or a text like",
    "return { limits = { clients = 0 } }":
        "1: limits.clients must be 1 to 1000000, got 0",
    "return { limits = { clients = 1e9 } }":
        "1: limits.clients must be 1 to 1000000, got 1000000000",
    "return { limits = { clients = 1.5 } }":
        "1: limits.clients must be a whole number, 1 to 1000000",
    "return { rate = { messages = -1 } }":
        "1: rate.messages must be a whole number, 0 to 1000000000",
    "return { limits = { memory = '1KB' } }":
        "1: limits.memory must be 256KB to 1GB, got 1KB",
    "return { limits = { cpu = '1h' } }":
        "1: limits.cpu must be 1ms to 10s, got 1h",
    "return { concurrent = 'yes' }": "1: concurrent must be true or false",
    "return { placement = 'here' }":
        '1: placement must be one of "auto", "home", "spread"',
    "return { origins = 'https://a.example' }":
        "1: origins must be a list of at most 64 origins, as in: "
        '{ "https://chat.example.com" }',
    "return { origins = { a = 'https://a.example' } }":
        "1: origins must be a list",
    "return { origins = { 5 } }": "1: origins[1] must be a string",
    "return { origins = { 'https://a.example', 'https://a.example/' } }":
        "1: origins[2] is no origin: \"https://a.example/\"",
    "return { env = { A = true } }": "1: env.A must be a string, got boolean",
    "return {": "1: unexpected symbol near <eof>",
    "return { ping = os.getenv('PING') }":
        "1: attempt to index a nil value (global 'os')",
    "return 5": " it must return a table, as in: return { ping = ",
    "": " it must return a table, as in: return { ping = ",
    "message = { max = 1 }": " it must return a table, as in: return { ping",
    "return { 'ping' }": " settings have names, as in: ping = \"30s\"",
    "while true do end": " takes too long; it should just return a table",
    "local t = {} for i = 1, 1e9 do t[i] = i end": " not enough memory",
    "local s = 'x' while true do s = s .. s end": " not enough memory",
}


@pytest.mark.parametrize("conf", CONF)
def test_a_wrong_setting_is_one_line_that_names_it(app, conf):
    (app / "app.conf.lua").write_text(conf)
    text, _ = refusals(app)
    assert "app.conf.lua:" + CONF[conf] in one_line(text)


def test_settings_as_people_write_them_are_taken(app):
    (app / "app.conf.lua").write_text("""return {
  message = { max = 1e6 }, ping = 30, limits = { clients = 1e4, cpu = 0.5 },
  outbox = { hard = "512KB", soft_for = "1.5s" },
  origins = { "https://a.example", "b.example:8443", "*.c.example", "*" },
  env = { A = "x", B = 5 },
}
""")
    assert moonwire("check", app).returncode == 0


# ---- addresses

def test_addresses_that_cannot_be_listened_on(app):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for address, code, says in (
                ("127.0.0.1:%d" % port, 1, "address already in use"),
                ("192.0.2.1:8080", 1, "this machine does not have that "
                                      "address"),
                ("300.1.1.1:80", 1, "no such host"),
                ("host.invalid:80", 1, "no such host"),
                ("localhost", 2, "not HOST:PORT such as 127.0.0.1:8080"),
                ("8080", 2, "not HOST:PORT"),
                ("127.0.0.1:70000", 2, "not HOST:PORT"),
                ("127.0.0.1:http", 2, "not HOST:PORT")):
            done = moonwire("run", app, "--listen", address)
            assert done.returncode == code, (address, done.stderr)
            line = one_line(done.stderr)
            assert says in line and address in line, line


def test_a_misspelt_variable_is_warned_of(app):
    done = moonwire("run", app, "--listen", "192.0.2.1:1",
                    MOONWIRE_LISTN="x:1")
    first = json.loads(done.stderr.splitlines()[0])
    assert first["level"] == "warn"
    assert "MOONWIRE_LISTN is no setting (did you mean MOONWIRE_LISTEN?)" in (
        first["msg"])


# ---- in handlers

def test_a_handler_error_ends_that_event_only(serve):
    server = serve("""
local count = 0
local function inner(message)
  error("cannot do " .. message)
end
function on_open(client) error("open fails") end
function on_message(client, message)
  count = count + 1
  client:send("before " .. count)
  if message == "bad" then inner(message) end
  client:send("after " .. count)
end
function on_close(client) error({}) end
""")
    with Peer(server.port).open() as other, Peer(server.port).open() as peer:
        peer.text("bad")
        peer.text("good")
        assert peer.messages(3) == ["before 1", "before 2", "after 2"]
        other.text("good")
        assert other.messages(2) == ["before 3", "after 3"]
        record = server.wait_log(lambda r: r.get("event") == "on_message")
        assert record["msg"] == "main.lua:4: cannot do bad"
        assert (record["level"], record["kind"], record["app"],
                record["gen"]) == ("error", "error", "app0", 1)
        assert record["client"] == 2
        assert "in upvalue 'inner'" in record["err"]
        assert "main.lua:10: in function 'on_message'" in record["err"]
        peer.goodbye()
    record = server.wait_log(lambda r: r.get("event") == "on_close")
    assert record["msg"] == "(error object is a table value)"
    opens = [r for r in server.log if r.get("event") == "on_open"]
    assert [r["msg"] for r in opens] == ["main.lua:6: open fails"] * 2


def test_an_error_in_a_timer_and_in_a_task_are_told_and_harm_nothing(serve):
    server = serve("""
function on_start()
  timer.after(0, function() error("in a timer") end)
  task.spawn(function() sleep(0.01) error("in a task") end)
end
function on_message(client, m) client:send(m) end
""")
    for says in ("main.lua:3: in a timer", "main.lua:4: in a task"):
        record = server.wait_log(lambda r: r["msg"] == says)
        assert record["level"] == "error" and "traceback" in record["err"]
    with Peer(server.port).open() as peer:
        peer.text("fine")
        assert peer.message() == "fine"


def test_memory_that_ends_in_a_handler_ends_that_event_only(serve):
    server = serve("""
function on_message(client, message)
  if message == "big" then
    local t = {}
    while true do t[#t + 1] = ("x"):rep(1000) .. #t end
  end
  client:send(message)
end
""", conf='return { limits = { memory = "4MB" } }')
    with Peer(server.port).open() as peer:
        for _ in range(5):
            peer.text("big")
            peer.text("small")
            assert peer.message() == "small"
    counters(server)    # its line is the last
    lines = [r for r in server.log if r.get("kind") == "memory"]
    assert len(lines) == 5
    assert all("not enough memory" in r["msg"] for r in lines)
    if HAS_MEMORY_PLACES:
        assert all("main.lua:5: in function <main.lua:2>" in r["err"]
                   for r in lines)


ARGUMENTS = {
    "client:send()": "'message' (string, or table",
    "client:send(5)": "'message' (string, or table",
    "client:send({ f = print })": "'message' (cannot encode a function at .f)",
    "client:send('x', 'binary')": "'options' (table expected, got string)",
    "client:send('x', { binry = true })":
        "client:send: unknown option 'binry'; did you mean 'binary'?",
    "client:send('x', { key = 5 })": "'key' (string expected, got number)",
    "client.send('x')": "call it with ':', not '.'",
    "client:join()": "'room' (string expected, got nothing)",
    "client:join('')": "'room' (1 to 128 bytes expected, got 0)",
    "client:close('x')": "'code' (integer expected, got string)",
    "client:close(1006)": "'code' (1006 cannot be sent; 4000 to 4999",
    "client.name = 'x'": "client.name cannot be set; keep what is yours in "
                         "client.data",
    "client.data = 5": "'client.data' (table expected, got number)",
    "broadcast()": "'message' (string, or table",
    "broadcast('x', 'lobby')": "'options' (table expected, got string)",
    "broadcast('x', { rom = 'a' })": "broadcast: unknown option 'rom'; did "
                                     "you mean 'room'?",
    "broadcast('x', { room = 5 })": "'room' (string expected, got number)",
    "broadcast('x', { where = 5 })": "'where' (function expected, got number)",
    "room()": "'name' (string expected, got nothing)",
    "room('a').broadcast('x')": "call it with ':', not '.'",
    "clients.get('x')": "'id' (integer expected, got string)",
    "sleep('soon')": "'seconds' (\"soon\" is no duration; \"100ms\"",
    "timer.after(1)": "'fn' (function expected, got nothing)",
    "timer.after(1, on_open())": "'fn' (function expected, got nothing)",
    "task.spawn(5)": "'fn' (function expected, got number)",
    "lock('a')": "'fn' (function expected, got nothing)",
    "limit.new{ rate = 1, bust = 2 }": "limit.new: unknown option 'bust'; "
                                       "did you mean 'burst'?",
    "log.info({})": "'text' (string expected, got table)",
    "crypto.hmac('md5', 'k', 's')": "'algorithm' (\"sha1\", \"sha256\" or",
    "app.name = 'x'": "app cannot be changed",
    "os.exit()": "os.exit is not available to apps",
}


def test_wrong_arguments_are_named(serve):
    server = serve("function on_open() end\nlocal tries = {\n" + "".join(
        "  function(client) %s end,\n" % call for call in ARGUMENTS) + """}
function on_message(client, message)
  local ok, err = pcall(tries[tonumber(message)], client)
  client:send(ok and "nothing was raised" or err)
end
""")
    with Peer(server.port).open() as peer:
        for i, (call, says) in enumerate(ARGUMENTS.items(), 1):
            peer.text(str(i))
            said = peer.message()
            assert says in said, (call, said)
            # And where: the app's line, not one of ours.
            assert said.startswith("main.lua:%d: " % (i + 2)), (call, said)


def test_what_can_fail_in_normal_life_returns_nil_and_a_word(serve):
    server = serve("""
local gone
function on_message(client, message)
  local function tell(ok, err, detail)
    room("r"):broadcast { tostring(ok), err, detail }
  end
  client:join("r")
  if message == "text" then tell(client:send("\\xff")) end
  if message == "big" then tell(client:send(("x"):rep(2 * 1024 * 1024))) end
  if message == "json" then tell(json.decode("{")) end
  if message == "leave" then client:leave("r") gone = client client:close() end
  if message == "gone" then
    tell(gone:send("x")) tell(gone:close()) tell(gone:join("r"))
  end
end
""")
    with Peer(server.port).open() as peer, Peer(server.port).open() as other:
        def ask(message):
            peer.text(message)
            return json.loads(peer.message())

        assert ask("text")[:2] == ["nil", "utf8"]
        assert "{ binary = true }" in ask("text")[2]
        assert ask("big")[:2] == ["nil", "too_big"]
        assert ask("json")[0] == "nil" and "1" in ask("json")[1]
        other.text("leave")
        assert other.closed()[0] == 1000
        assert ask("gone") == ["nil", "closed"]
        assert json.loads(peer.message()) == ["nil", "closed"]
        assert json.loads(peer.message()) == ["nil", "closed"]


def test_a_reload_that_fails_says_why_and_the_old_one_goes_on(serve):
    server = serve("function on_message(c) c:send('one') end\n")
    with Peer(server.port).open() as peer:
        for name, text, says in (
                ("main.lua", "function on_message(c\n",
                 r"main\.lua:2: '\)' expected"),
                ("main.lua", "local x = nil + 1\n", r"main\.lua:1: attempt"),
                ("main.lua", "broadcast('x')\n", r"main\.lua:1: broadcast"),
                ("app.conf.lua", "return { pnig = 1 }",
                 r"app\.conf\.lua:1: unknown setting 'pnig'; did you mean "
                 r"'ping'\?")):
            mark = server.mark()
            if name != "main.lua":
                server.write("main.lua",
                             "function on_message(c) c:send('two') end\n")
                server.wait_log(lambda r: "reloaded" in r["msg"], since=mark)
            server.write(name, text)
            record = server.wait_log(
                lambda r: r.get("event") == "reload" and
                re.search(says, r["msg"]), since=mark)
            assert record["level"] == "error"
            assert "reload failed, generation" in record["msg"]
            assert "goes on" in record["msg"]
            peer.text("?")
            assert peer.message() == ("one" if name == "main.lua" else "two")

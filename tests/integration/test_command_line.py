"""What the program says to people: commands, help, exit codes, refusals."""
import os
import pathlib
import re
import resource
import socket
import subprocess
import time

import pytest

from support.wire import is_sanitized

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("MOONWIRE_BIN", str(ROOT / "build/dev/moonwire"))


def moonwire(*words, cwd=None, **env):
    """Runs a command that ends by itself."""
    clean = {k: v for k, v in os.environ.items()
             if not k.startswith("MOONWIRE_")}
    return subprocess.run(
        [BINARY, *words], cwd=cwd, env={**clean, **env}, timeout=60,
        stdin=subprocess.DEVNULL, capture_output=True, text=True)


def one_line(text):
    assert text.count("\n") == 1 and text.endswith("\n"), text
    return text.rstrip("\n")


@pytest.fixture
def app(tmp_path):
    (tmp_path / "main.lua").write_text("function on_open(client) end\n")
    return tmp_path


def test_version_is_one_line_on_stdout():
    for words in (["version"], ["--version"]):
        done = moonwire(*words)
        assert done.returncode == 0
        assert re.fullmatch(r"moonwire \d+\.\d+\.\d+", one_line(done.stdout))
        assert done.stderr == ""


def test_help_lists_every_command_whichever_way_it_is_asked():
    texts = [moonwire(*w) for w in (["help"], ["--help"], ["-h"])]
    for done in texts:
        assert done.returncode == 0 and done.stderr == ""
        assert done.stdout == texts[0].stdout
    for name in ("run", "check", "new", "version"):
        assert re.search(r"^  %s\b" % name, texts[0].stdout, re.M)


@pytest.mark.parametrize("name", ["run", "check", "new", "version", "help"])
def test_each_command_has_a_help_of_its_own(name):
    for words in ([name, "--help"], [name, "-h"], ["help", name]):
        done = moonwire(*words)
        assert done.returncode == 0, done.stderr
        assert "usage: moonwire" in done.stdout
        assert all(len(line) < 80 for line in done.stdout.splitlines())


def test_the_help_of_run_names_every_option_and_its_variable():
    text = moonwire("run", "--help").stdout
    for flag in ("listen", "admin", "drain", "no-reload", "log-level",
                 "log-format", "user", "keep-root", "no-seccomp",
                 "allow-new-privs"):
        assert "--" + flag in text
        assert "MOONWIRE_" + flag.upper().replace("-", "_") in text


@pytest.mark.parametrize("words, says", [
    ([], "no command given"),
    (["rnu", "."], "unknown command rnu (did you mean run?)"),
    (["run"], "no DIR given"),
    (["run", "a", "b"], "one word too many: b"),
    (["run", ".", "--lisen", "x:1"],
     "unknown option --lisen (did you mean --listen?)"),
    (["run", ".", "--listen"], "--listen needs a value"),
    (["run", ".", "--listen", "8080"], "--listen 8080: not HOST:PORT"),
    (["run", ".", "--drain=never"], "--drain never: not a time"),
    (["run", ".", "--log-level", "loud"], "--log-level loud: not debug"),
    (["check", ".", "--listen", "x:1"], "unknown option --listen"),
    (["new"], "no NAME given"),
    (["new", "../x"], "is no name for an app"),
    (["version", "x"], "one word too many"),
])
def test_a_wrong_command_line_is_one_line_and_exit_code_2(words, says):
    done = moonwire(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in one_line(done.stderr)


def test_a_wrong_variable_is_one_line_and_exit_code_2(app):
    done = moonwire("run", str(app), MOONWIRE_DRAIN="soon")
    assert done.returncode == 2
    assert "MOONWIRE_DRAIN=soon" in one_line(done.stderr)


def test_help_on_a_full_disk_fails():
    with open("/dev/full", "w") as full:
        done = subprocess.run([BINARY, "help"], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert "cannot write" in one_line(done.stderr)


@pytest.mark.parametrize("command", ["run", "check"])
def test_an_app_that_is_not_there_is_one_line_and_exit_code_1(
        command, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, says in (("nothing", "nothing"), ("file", "file"),
                       ("empty", "main.lua")):
        done = moonwire(command, str(tmp_path / name))
        assert done.returncode == 1
        assert says in one_line(done.stderr)


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("source, says", [
    ("local x = = 1\n", "main.lua:1:"),
    ("local t = nil\n\nt.x = 1\n", "main.lua:3:"),
])
def test_a_broken_app_is_told_with_file_and_line(command, source, says, app):
    (app / "main.lua").write_text(source)
    done = moonwire(command, str(app))
    assert done.returncode == 1
    assert says in done.stderr


def test_a_run_time_error_comes_with_a_traceback(app):
    (app / "main.lua").write_text(
        "local function deep() error('boom') end\ndeep()\n")
    done = moonwire("check", str(app))
    assert done.returncode == 1
    assert "main.lua:1: boom" in done.stderr
    assert "traceback" in done.stderr
    assert "main.lua:2" in done.stderr


def test_an_error_of_the_app_cannot_act_on_the_terminal(app):
    (app / "main.lua").write_text(
        r"error('\27]0;mine\7\u{202e}\r\nok', 0)" + "\n")
    done = moonwire("check", str(app))
    assert done.returncode == 1
    assert r"\x1b]0;mine\x07\u202e\r" + "\n    ok" in done.stderr
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", done.stderr)


def test_an_unknown_setting_is_told_with_the_near_one(app):
    (app / "app.conf.lua").write_text("return {\n  limit = {},\n}\n")
    done = moonwire("check", str(app))
    assert done.returncode == 1
    assert "app.conf.lua" in done.stderr
    assert "limits" in one_line(done.stderr)


def test_check_names_the_handlers_of_a_good_app(app):
    done = moonwire("check", str(app))
    assert done.returncode == 0, done.stderr
    assert "on_open" in one_line(done.stdout)
    assert "on_message" not in done.stdout


def test_a_port_in_use_is_one_line_and_exit_code_1(app):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        done = moonwire("run", str(app), "--listen", address)
    assert done.returncode == 1
    assert ("cannot listen on %s: address already in use" % address
            in one_line(done.stderr))


def limited(words, **limits):
    """Runs a command that has to end by itself, under these limits."""
    def limit():
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, name), (value, value))
    return subprocess.run(
        [BINARY, *words], preexec_fn=limit, timeout=60,
        stdin=subprocess.DEVNULL, capture_output=True, text=True)


@pytest.mark.skipif(is_sanitized() or is_sanitized(b"t"),
                    reason="shadow memory needs more than there may be")
def test_too_few_threads_are_one_line_and_exit_code_1(app):
    for _ in range(5):      # some could be made, and may be quick
        done = limited(["run", str(app), "--listen", "127.0.0.1:0",
                        "--workers", "8"],
                       RLIMIT_STACK=256 << 20, RLIMIT_AS=1 << 30)
        assert done.returncode == 1, done.stderr
        # As root, it has said before who it is now.
        *before, last = done.stderr.splitlines(keepends=True)
        assert all('"level":"info","msg":"runs as ' in b for b in before)
        assert "cannot start 7 threads" in one_line(last)


def test_too_few_descriptors_are_one_line_and_exit_code_1(app):
    done = limited(["run", str(app), "--listen", "127.0.0.1:0",
                    "--workers", "32"], RLIMIT_NOFILE=64)
    assert done.returncode == 1, done.stderr
    assert "cannot start 32 loops with 64 descriptors" in one_line(done.stderr)
    assert "--workers" in done.stderr


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_are_not_taken_for_others(closed, app):
    (app / "main.lua").write_text(
        "timer.every(0.01, function() print('to nobody') end)\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" ' + closed, "sh", BINARY, "run", str(app),
         "--listen", "%s:%d" % address, "--drain", "0s"])
    try:
        ends = time.monotonic() + 30
        while True:
            try:
                client = socket.create_connection(address, timeout=30)
                break
            except ConnectionRefusedError:
                assert process.poll() is None and time.monotonic() < ends
                time.sleep(0.02)
        with client:
            time.sleep(0.1)
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = client.makefile("rb").read(13)     # it may come in pieces
            assert answer == b"HTTP/1.1 404 "
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_an_address_of_another_machine_cannot_be_listened_on(app):
    done = moonwire("run", str(app), "--listen", "192.0.2.1:0")
    assert done.returncode == 1
    assert "cannot listen on 192.0.2.1:0" in one_line(done.stderr)


def test_new_writes_an_app_that_loads_and_overwrites_nothing(tmp_path):
    done = moonwire("new", "hello", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "moonwire run hello" in done.stdout
    for name in ("main.lua", "app.conf.lua", "public/index.html"):
        assert "hello" in (tmp_path / "hello" / name).read_text()
    checked = moonwire("check", "hello", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "on_open on_message on_close" in checked.stdout

    (tmp_path / "hello/main.lua").write_text("-- mine\n")
    again = moonwire("new", "hello", cwd=tmp_path)
    assert again.returncode == 1
    assert "already there" in one_line(again.stderr)
    assert (tmp_path / "hello/main.lua").read_text() == "-- mine\n"


def test_the_settings_of_a_new_app_are_valid_when_switched_on(tmp_path):
    moonwire("new", "hello", cwd=tmp_path)
    conf = tmp_path / "hello/app.conf.lua"
    lines = conf.read_text().splitlines()
    start = lines.index("return {")
    switched = [re.sub(r"^  -- ", "  ", line) for line in lines[start:]]
    assert switched != lines[start:]
    conf.write_text("\n".join(lines[:start] + switched) + "\n")
    done = moonwire("check", "hello", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_app_of_the_readme_loads(app):
    blocks = re.findall(
        r"^```lua\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert blocks
    for source in blocks:
        (app / "main.lua").write_text(source)
        done = moonwire("check", str(app))
        assert done.returncode == 0, done.stderr
        assert "on_connect on_message on_close" in done.stdout


@pytest.mark.parametrize(
    "name", sorted(p.name for p in (ROOT / "apps").iterdir()))
def test_the_apps_that_come_along_load(name):
    done = moonwire("check", str(ROOT / "apps" / name))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("options, says", [
    (["--proxy-protocol"], "--trust-proxy"),
    (["--trust-proxy", "10.0.0.1/8"], "--trust-proxy"),
    (["--trust-proxy", "localhost"], "--trust-proxy"),
    (["--trust-proxy", "10.0.0.0/8,"], "--trust-proxy"),
    (["--address-rate", "5/0"], "--address-rate"),
    (["--address-rate", "many"], "--address-rate"),
    (["--max-head", "1"], "--max-head"),
    (["--max-head", "1MB"], "--max-head"),
    (["--max-headers", "5"], "--max-headers"),
    (["--max-body", "65MB"], "--max-body"),
    (["--head-time", "0"], "--head-time"),
    (["--slow-bytes", "0"], "--slow-bytes"),
])
def test_settings_that_cannot_be_meant_are_refused(options, says):
    run = moonwire("run", str(ROOT / "apps/echo"), *options)
    assert run.returncode == 2
    assert re.search("^moonwire: .*" + says, run.stderr), run.stderr

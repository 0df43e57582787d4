"""Scripts that do not end, against a running server: everybody else is
served while they run, and afterwards they are gone."""
import json
import re
import signal
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.lab import IS_TSAN
from support.wire import Peer

# TSan's builds stop scripts by a hook (MOONWIRE_PREEMPT), which reaches no C
# function: these loop in one, and never come back.
ENDLESS_IN_C = {"requests that die", "pattern", "find", "move"}


def skip_if_endless(name):
    if IS_TSAN and name in ENDLESS_IN_C:
        pytest.skip("%s: loops inside C, which the hook mode cannot stop" % name)


HOG = """
count = 0
function on_open(c) if c.restored then c:send("again") end end
function on_message(c, m)
  if m == "?" then return c:send("here " .. count) end
  count = count + 1
  assert(load(m))(c)
end
function on_error(m, x) last = x.kind end
"""

# name: (script, how it ends)
CASES = {
    "loop": ("while true do end", "cpu"),
    "pcall": ("while true do pcall(function() while true do end end) end", "cpu"),
    "xpcall": ("while true do xpcall(error, function() while true do end end) end",
               "cpu"),
    "coroutines": ("while true do pcall(coroutine.wrap(function()"
                   " while true do end end)) end", "cpu"),
    "close": ("local t = setmetatable({}, {__close = function()"
              " while true do end end})"
              " while true do local x <close> = t end", "cpu"),
    "comparator": ("table.sort({1, 2, 3}, function() while true do end end)", "cpu"),
    "tostring": ("print(setmetatable({}, {__tostring = function()"
                 " while true do end end}))", "cpu"),
    "where": ("broadcast('x', { where = function() while true do end end })", "cpu"),
    "lock": ("lock('l', function() while true do end end)", "cpu"),
    "kill in a sleep": ("local x <close> = setmetatable({}, {__close ="
                        " function() sleep(10) end}) while true do end", "cpu"),
    "json": ("local t = {} for i = 1, 1e4 do t[i] = i end"
             " while true do json.encode(t) end", "cpu"),
    "sends": ("local c = ... while true do c:send('x', { key = 'k' }) end", "cpu"),
    "logs": ("while true do print('x') end", "cpu"),
    "rep": ("while true do string.rep('x', 1e6) end", "cpu"),
    "memory": ("local t = {} while true do t[#t + 1] = ('x'):rep(1e6) .. #t end",
               "memory"),
    "memory caught": ("local t = {} while true do pcall(function()"
                      " while true do t[#t + 1] = ('x'):rep(1e6) .. #t end end)"
                      " end", "memory"),
    "pattern": ("string.find(('a'):rep(5000), '.-.-.-.-b')", "dead"),
    "find": ("string.find(('a'):rep(1 << 20), ('a'):rep(1 << 19) .. 'b', 1, true)",
             "any"),
    "rehash": ("local t = {} for n = 1, 1 << 16 do"
               " t[n * ((1 << 17) - 1)] = true end t.x = 1", "any"),
    "gc": ("local t = {} for i = 1, 3e5 do t[i] = {i} end"
           " while true do collectgarbage() end", "any"),
    "move": ("table.move({}, 1, 1e15, 2)", "any"),
    "sort": ("local t = {} for i = 1, 1e6 do t[i] = i * 7919 % 1000003 end"
             " table.sort(t)", "any"),
    "deep": ("local function f() return f() + 1 end f()", "error"),
    "nested": ("local function f(n) return (string.gsub('x', 'x', f)) end f()",
               "error"),
}


STOPPED = """
function on_request(request)
  if request.path == "/hog" then while true do end end
  if request.path == "/die" then string.find(("a"):rep(5000), ".-.-.-.-b") end
  local body, headers = request:json(), {}
  for i = 1, 40 do headers["X-" .. i] = { tostring(i), "a" .. i } end
  return { status = 201, headers = headers, body = body }
end
"""


def fetch(server, path="/", body=None):
    """-> (status, headers, body) of a request, over a connection of its own."""
    request = urllib.request.Request(
        "http://127.0.0.1:%d%s" % (server.port, path), data=body)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


def test_requests_are_answered_right_by_handlers_that_are_stopped(serve):
    server = serve(STOPPED, "--workers", "2", "--placement", "spread",
                   conf="return { limits = { cpu = '10s' } }")
    body = json.dumps({"n": [i * 3 for i in range(30000)]}).encode()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: fetch(server, body=body), range(40)))
    for status, headers, got in answers:
        assert status == 201 and json.loads(got) == json.loads(body)
        for i in range(1, 41):
            assert headers.get_all("X-%d" % i) == [str(i), "a%d" % i]


def test_a_request_whose_handler_does_not_end_is_500_and_the_app_goes_on(serve):
    server = serve(STOPPED, conf="return { limits = { cpu = '30ms' } }")
    with ThreadPoolExecutor(4) as pool:
        hogs = list(pool.map(lambda _: fetch(server, "/hog")[0], range(4)))
    assert hogs == [500] * 4
    assert fetch(server, body=b"[1]")[::2] == (201, b"[1]")


def test_requests_to_an_app_whose_state_died_and_that_is_parked(serve):
    skip_if_endless("requests that die")
    server = serve(STOPPED, conf="return { limits = { cpu = '20ms' } }")
    assert fetch(server, "/die")[0] == 500
    assert fetch(server, body=b"[1]")[::2] == (201, b"[1]")   # it began anew
    for _ in range(20):
        status = fetch(server, "/die")[0]
        if status == 503:
            break
        assert status == 500
    assert status == 503, "it is not parked"
    assert fetch(server, body=b"[1]")[0] == 503


def kinds(server, since):
    return [r.get("kind") for r in server.log[since:] if r.get("kind")]


def start_hog(serve, cpu="60ms"):
    return serve(HOG, conf="return { limits = { cpu = '%s' } }" % cpu,
                 files={"page.html": "<p>served</p>"})


@pytest.fixture
def hog(serve):
    return start_hog(serve)


def ask(server):
    start = time.monotonic()
    with urllib.request.urlopen(server.url + "page.html", timeout=30) as reply:
        assert b"served" in reply.read()
    return time.monotonic() - start


def stats(server):
    since = server.mark()
    server.signal(signal.SIGUSR1)
    record = server.wait_log(lambda r: r.get("event") == "stats", since=since)
    return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", record["msg"])}


@pytest.mark.parametrize("name", CASES)
def test_it_ends_and_everybody_else_is_served(serve, name):
    skip_if_endless(name)
    script, end = CASES[name]
    hog = start_hog(serve, "3s" if end in ("memory", "error") else "60ms")
    with Peer(hog.port) as client:
        client.open("/")
        client.text("?")
        assert client.message() == "here 0"
        since = hog.mark()
        client.text(script)
        waits = []
        deadline = time.monotonic() + 60
        while not kinds(hog, since) and time.monotonic() < deadline:
            waits.append(ask(hog))
            if end == "any" and len(waits) > 30:
                break  # it may have come to its end by itself
        seen = kinds(hog, since)
        if end == "dead":
            assert seen[0] == "cpu", seen
        elif end == "error":
            # Lua's own limits, or the app's memory: whichever is reached first
            assert seen[0] in ("error", "memory"), seen
        elif end != "any":
            assert seen[0] == end, seen
        # Its client is still there, and so is the app.
        client.text("?")
        texts = []
        while not texts or not texts[-1].startswith("here"):
            texts.append(client.message())
        if end == "dead":
            assert "again" in texts
        assert waits or end in ("error", "any")


LOOKS_AWAY = """
function on_message(client, text)
  local other = clients.get(tonumber(text))
  client:send("looking")
  while clients.get(tonumber(text)) do end
  client:send { closed = other.closed, why = select(2, other:send("x")) }
end
function on_open(client) client:send(tostring(client.id)) end
function on_error(message) broadcast("failed: " .. message) end
"""


# Line 1 spins; what calls it, and what catches it on its way out, is further
# down. `client`: the waiter of task.all hears of it, too.
PLACES = """local function spin() while true do end end
function on_message(client, what)
  if what == "plain" then spin()
  elseif what == "pcall" then pcall(spin)
  elseif what == "lock" then lock("l", spin)
  elseif what == "coroutine" then coroutine.wrap(pcall)(spin)
  elseif what == "comparator" then
    table.sort({ 2, 1 }, function() return coroutine.wrap(spin)() end)
  elseif what == "task" then task.spawn(pcall, spin)
  elseif what == "all" then
    client:send(select(2, pcall(task.all, { spin })))
  end
end
"""


@pytest.mark.parametrize("what, line", [
    ("plain", 3), ("pcall", 4), ("lock", 5), ("coroutine", 6),
    ("comparator", 8), ("task", None), ("all", None)])
def test_the_log_says_where_the_time_went(serve, what, line):
    """And not only where the error that ended it was caught last."""
    server = serve(PLACES, "--workers", "1")
    with Peer(server.port).open() as peer:
        peer.text(what)
        record = server.wait_log(lambda r: r.get("kind") == "cpu")
        assert record["msg"] == "used more than 100 ms of CPU (limits.cpu)"
        assert "main.lua:1: in " in record["err"], record
        assert line is None or "main.lua:%d: in" % line in record["err"]
        if what == "all":
            assert "one of them was ended" in peer.message()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_client_can_go_in_the_midst_of_anothers_handler(serve, workers):
    """The loop goes on while a script is stopped, and so do connections."""
    server = serve(LOOKS_AWAY, "--workers", workers,
                   conf="return { limits = { cpu = '10s' },"
                        " placement = 'spread' }")
    for _ in range(3):
        with Peer(server.port) as client, Peer(server.port) as other:
            for peer in client, other:
                peer.open("/")
                peer.id = peer.message()
            client.text(other.id)
            assert client.message() == "looking"
            other.reset()
            assert json.loads(client.message()) == {
                "closed": True, "why": "closed"}


def test_the_timer_rests_when_nobody_works(hog):
    def switches():
        with open("/proc/%d/status" % hog.pid) as f:
            return int(re.search(r"voluntary_ctxt_switches:\s+(\d+)",
                                 f.read()).group(1))
    with Peer(hog.port) as client:
        client.open("/")
        client.text("while true do end")
        hog.wait_log(lambda r: r.get("kind") == "cpu")
        time.sleep(0.2)
        before = switches()
        time.sleep(1)
        assert switches() - before < 50


def test_figures_say_how_long_an_app_waited(hog):
    with Peer(hog.port) as client:
        client.open("/")
        for i in range(3):
            client.text("while true do end")
        client.text("?")
        assert client.message() == "here 3"
        s = stats(hog)
        assert s["kills"] == 3 and s["stops"] >= 3 * 50

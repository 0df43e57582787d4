"""Each limit of the design can be set, bites where it says, and leaves a word
in the log: the setting, its value, and what came."""
import re
import subprocess
import time

import pytest

from support.lab import counters, not_tiny
from support.server import BINARY
from support.wire import CONT, FACTOR, TEXT, Peer, close_payload, encode

# Where an app's clients live.
PLACES = {"home": ("--workers", "1"),
          "far": ("--workers", "2", "--placement", "spread")}


@pytest.fixture(params=PLACES)
def place(request):
    return PLACES[request.param]


def conf(text):
    return "return { %s }\n" % text


def word(server, *parts):
    """The line of the log that has all of these."""
    return server.wait_log(
        lambda r: all(part in r.get("msg", "") for part in parts))


ECHO = "function on_message(client, message) client:send(message) end\n"


def peers_of(server, n, path="/"):
    """So many, over all the loops."""
    return [Peer(server.port).open(path) for _ in range(n)]


# ---- messages

def test_fragments(serve, place):
    server = serve(ECHO, *place, conf=conf("message = { fragments = 5 }"))
    whole = [encode(TEXT, b"a", fin=False), *[encode(CONT, b"b", fin=False)] * 3,
             encode(CONT, b"c")]
    for peer in peers_of(server, 2):
        with peer:
            peer.sends_packed = False
            peer.send(b"".join(whole))
            assert peer.message() == "abbbc"
            peer.send(b"".join(whole[:4] + whole[3:]))
            assert peer.closed()[0] == 1009
    word(server, "too many fragments", "message.fragments 5")


# ---- inbox

GATED = """
local open, got = false, 0
function on_message(client, message)
  if message == "open" then open = true return end
  got = got + 1
  while not open do sleep(0.01) end
  client:send(message)
end
"""


@pytest.mark.parametrize("settings, setting", [
    ("client = 4", "inbox.client is 4"),
    ("events = 16, client = 4096", "inbox.events"),
    ("bytes = '64KB', client = 4096", "inbox.bytes"),
])
def test_an_inbox_that_is_full_is_told_and_nothing_is_lost(
        serve, place, settings, setting):
    server = serve(GATED, *place, conf=conf("inbox = { %s }" % settings))
    with Peer(server.port).open() as flood, Peer(server.port).open() as key:
        flood.send(b"".join(encode(TEXT, b"%04d" % i + b"x" * 1000)
                            for i in range(200)))
        line = word(server, "reading rests until", setting)
        assert line["event"] == "inbox" and line["level"] == "info"
        key.text("open")
        assert [m[:4] for m in flood.messages(200)] == [
            "%04d" % i for i in range(200)]


def test_a_small_inbox_takes_less(serve):
    """How many messages are taken before reading rests follows the setting."""
    taken = []
    for client in (2, 32):
        server = serve(GATED, "--workers", "1",
                       conf=conf("inbox = { client = %d }" % client))
        with Peer(server.port).open() as peer, Peer(server.port).open() as key:
            peer.send(b"".join(encode(TEXT, b"x") for _ in range(100)))
            line = word(server, "reading rests until")
            taken.append(int(re.search(r": (\d+) of its events",
                                       line["msg"]).group(1)))
            key.text("open")
            assert len(peer.messages(100)) == 100
    assert taken == [2, 32]


# ---- outbox of the app

@not_tiny
def test_all_outboxes_together(serve, place):
    server = serve("""
function on_message(client, message)
  local queued, dropped = 0, 0
  for i = 1, 200 do
    local q, d = broadcast(("x"):rep(10000))
    queued, dropped = queued + q, dropped + d
  end
  log.info("done", { queued = queued, dropped = dropped })
end
""", *place, conf=conf(
        "outbox = { total = '256KB', policy = 'drop_newest' }"))
    with Peer(server.port, rcvbuf=4096).open() as deaf:
        deaf.text("go")
        line = word(server, "done")
        assert line["dropped"] > 0 and line["queued"] + line["dropped"] == 200
        line = word(server, "outbox.total is 262144")
        assert (line["level"], line["event"]) == ("warn", "send")
        assert counters(server)["dropped_app_total"] >= line.get("dropped", 1)


# ---- rooms

ROOMS = """
function on_message(client, message)
  local tried, said = 0, nil
  for i = 1, tonumber(message) do
    local ok, err, detail = client:join(client.id .. ":" .. i)
    if not ok then said = err .. ": " .. detail break end
    tried = i
  end
  client:send(tried .. " " .. tostring(said))
end
"""


def test_rooms_of_a_client(serve, place):
    server = serve(ROOMS, *place, conf=conf("limits = { rooms_per_client = 3 }"))
    with Peer(server.port).open() as peer:
        peer.text("5")
        assert peer.message() == "3 quota: limits.rooms_per_client is 3"
    line = word(server, "cannot join", "limits.rooms_per_client is 3")
    assert line["level"] == "warn"


def test_rooms_of_an_app(serve):
    server = serve(ROOMS, conf=conf("limits = { rooms = 5 }"))
    with Peer(server.port).open() as one, Peer(server.port).open() as two:
        one.text("4")
        assert one.message() == "4 nil"
        two.text("4")
        assert two.message() == "1 quota: limits.rooms is 5"
    word(server, "cannot join", "limits.rooms is 5")


def test_rooms_that_on_connect_wants(serve):
    server = serve("""
function on_connect(request)
  local rooms = {}
  for i = 1, tonumber(request.query.n) do rooms[i] = "r" .. i end
  return { rooms = rooms }
end
function on_message(client) client:send(tostring(#client:rooms())) end
""", conf=conf("limits = { rooms_per_client = 200 }"))
    with Peer(server.port).open("/?n=200") as peer:
        peer.text("?")
        assert peer.message() == "200"
    with Peer(server.port) as peer:
        peer.send(peer.request("/?n=201"))
        assert peer.response().status == 500
    server.wait_log(lambda r: "limits.rooms_per_client (200)" in str(r))


# ---- tasks, timers, requests

TASKS = """
function on_message(client, message)
  local n, ok, err, which = tonumber(message), nil, nil, nil
  if n then
    for i = 1, n do
      ok, err, which = task.spawn(function() sleep(0.5) end)
      if not ok then return client:send(i .. " " .. err .. ": " .. which) end
    end
    ok, err, which = task.all { sleep, sleep, sleep }
    return client:send(tostring(ok) .. " " .. err .. ": " .. which)
  end
  client:send(message)
end
"""


def test_tasks(serve, place):
    server = serve(TASKS, *place, conf=conf("limits = { tasks = 16 }"))
    with Peer(server.port).open() as peer:
        peer.text("20")
        assert peer.message() == "17 quota: limits.tasks is 16"
        line = word(server, "no other handler or task", "limits.tasks is 16")
        assert (line["level"], line["event"]) == ("warn", "task")
        # Events wait until there is one, and none is lost.
        begun = time.monotonic()
        for i in range(20):
            peer.text("again %d" % i)
        assert peer.messages(20) == ["again %d" % i for i in range(20)]
        assert time.monotonic() - begun < 3 * FACTOR
        time.sleep(1)       # the others are done, too
        peer.text("14")     # with three more that is one too many
        assert peer.message() == "nil quota: limits.tasks is 16"


def test_events_that_find_no_task_wait_and_are_told(serve):
    server = serve("""
function on_message(client, message) sleep(0.3) client:send(message) end
""", conf=conf("limits = { tasks = 16 }"))
    peers = peers_of(server, 40)
    for peer in peers:
        peer.text("here")
    word(server, "no other handler or task", "limits.tasks is 16")
    for peer in peers:
        assert peer.message() == "here"
        peer.close()


def test_timers(serve):
    server = serve("""
function on_message(client, message)
  for i = 1, 10 do
    local t, err, which = timer.after(0.2, function() end)
    if not t then return client:send(i .. " " .. err .. ": " .. which) end
  end
end
""", conf=conf("limits = { timers = 5 }"))
    with Peer(server.port).open() as peer:
        peer.text("go")
        assert peer.message() == "6 quota: limits.timers is 5"
        line = word(server, "no other timer", "limits.timers is 5")
        assert (line["level"], line["event"]) == ("warn", "timer")
        time.sleep(0.4)     # those have been
        peer.text("go")
        assert peer.message() == "6 quota: limits.timers is 5"


def get(path):
    return b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode()


def test_requests_that_wait(serve, place):
    server = serve("""
function on_request(request) sleep(0.5) return "done" end
""", *place, conf=conf("limits = { requests = 3 }"))
    peers = [Peer(server.port) for _ in range(3)]
    for peer in peers:
        peer.send(get("/"))
    time.sleep(0.2)
    with Peer(server.port) as peer:
        peer.send(get("/"))
        assert peer.response().status == 503
    line = word(server, "no other request", "limits.requests is 3")
    assert (line["level"], line["event"]) == ("warn", "request")
    for peer in peers:
        assert peer.response().body == b"done"
        peer.send(get("/"))
        assert peer.response().body == b"done"
        peer.close()


def test_the_body_of_an_answer(serve, place):
    server = serve("""
function on_request(request)
  local n = tonumber(request.query.n)
  return { body = request.query.json and { ("x"):rep(n) } or ("x"):rep(n) }
end
""", *place, conf=conf("limits = { response = '2KB' }"))
    with Peer(server.port) as peer:
        for path, status in (("/?n=2048", 200), ("/?n=2049", 500),
                             ("/?n=2044&json=1", 200),
                             ("/?n=2045&json=1", 500)):
            with Peer(server.port) as peer:
                peer.send(get(path))
                response = peer.response()
                assert response.status == status, path
                if status == 200:
                    assert len(response.body) == 2048
    server.wait_log(lambda r: "limits.response is 2048" in str(r))


def test_an_answer_may_have_more_than_the_default(serve):
    server = serve("""
function on_request(request) return ("x"):rep(20 * 1024 * 1024) end
""", conf=conf("limits = { response = '32MB', memory = '128MB', cpu = '5s' }"))
    with Peer(server.port) as peer:
        peer.send(get("/"))
        assert len(peer.response().body) == 20 << 20


# ---- answers

SLOW = """
function on_connect(request)
  if request.path == "/never" then never() end
  if request.path == "/late" then sleep(0.6) end
  return true
end
function on_open(client) log.info("on_open " .. client.path) end
function on_close(client) log.info("on_close " .. client.path) end
function on_request(request)
  if request.path == "/never" then never() end
  if request.path == "/late" then sleep(0.6) end
  log.info("decided " .. request.path)
  return request.path
end
function never() while true do sleep(3600) end end
function on_message(client, message) client:send(message) end
"""

ANSWER = conf("answer = '300ms'")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("path", ["/never", "/late"])
def test_a_request_that_is_not_answered_in_time_is_504(
        serve, place, path, method):
    server = serve(SLOW, *place, conf=ANSWER)
    for _ in range(2):
        with Peer(server.port) as peer:
            body = b"Content-Length: 3\r\n\r\nabc" if method == "POST" else (
                b"\r\n")
            peer.send(b"%s %s HTTP/1.1\r\nHost: x\r\n%s"
                      % (method.encode(), path.encode(), body))
            begun = time.monotonic()
            response = peer.response(method == "HEAD")
            assert response.status == 504
            assert response.headers["connection"] == "close"
            assert 0.2 < time.monotonic() - begun < 3 * FACTOR
            assert peer.finished() == b""   # for HEAD: no body either
    word(server, "answered with 504", "answer (300 ms)")
    if path == "/late":     # it decides for somebody who is not there
        word(server, "decided /late")
    with Peer(server.port) as peer:
        peer.send(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.response().body == b"/quick"
        # Idle between two requests is another clock.
        time.sleep(0.5)
        peer.send(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.response().body == b"/quick"
    assert counters(server)["answer_timeouts_total"] == 2


@pytest.mark.parametrize("path", ["/never", "/late"])
def test_a_handshake_that_is_not_decided_in_time_is_504(serve, place, path):
    server = serve(SLOW, *place, conf=ANSWER)
    for _ in range(2):
        with Peer(server.port) as peer:
            peer.send(peer.request(path) + encode(TEXT, b"early"))
            assert peer.response().status == 504
            assert peer.finished() == b""
    word(server, "answered with 504", "answer (300 ms)")
    time.sleep(0.8)
    with Peer(server.port).open("/quick") as peer:
        time.sleep(0.5)     # no clock of the handshake runs on
        peer.text("here")
        assert peer.message() == "here"
        peer.goodbye()
    word(server, "on_close /quick")
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 4 * FACTOR    # nor is waited for
    # Nobody came in late.
    assert not [r for r in server.log if r["msg"].endswith(path)]


def test_an_answer_under_way_has_its_time(serve):
    """The clock is for the decision: a long answer may take longer."""
    server = serve("""
function on_request(request) return ("x"):rep(4000000) end
""", conf=conf("answer = '%dms'" % (100 * FACTOR)))
    with Peer(server.port, rcvbuf=4096) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.5 * FACTOR)
        assert len(peer.response().body) == 4000000


# ---- loading

def test_cpu_of_a_load(serve):
    server = serve("local t = os.clock() while os.clock() - t < 1 do end\n",
                   conf=conf("limits = { load_cpu = '5s' }"))
    assert server.process.poll() is None


def test_cpu_of_a_load_that_is_too_long(tmp_path):
    (tmp_path / "main.lua").write_text(
        "local t = os.clock() while os.clock() - t < 2 do end\n")
    (tmp_path / "app.conf.lua").write_text(
        conf("limits = { load_cpu = '50ms' }"))
    done = subprocess.run([BINARY, "check", tmp_path], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 1
    assert "50 ms" in done.stderr, done.stderr


# ---- the close wait

def test_a_close_wait_that_passes_is_told(serve):
    server = serve("function on_open(client) client:close(4000) end\n",
                   conf=conf("closing = '200ms'"))
    with Peer(server.port).open() as peer:
        frame = peer.next_frame()
        assert frame.payload == close_payload(4000)
        word(server, "cut off", "closing (200 ms)")


# ---- the operator's ceilings

def test_ceilings_hold_defaults_and_settings_down(serve, tmp_path):
    path = tmp_path / "ceilings.lua"
    path.write_text(conf("message = { max = '1KB' }, "
                         "limits = { clients = 1 }, answer = '200ms'"))
    server = serve(SLOW, "--ceilings", path)
    with Peer(server.port).open() as peer:
        with Peer(server.port) as second:
            second.send(second.request())
            assert second.response().status == 503
        word(server, "limits.clients is 1")
        peer.send(encode(TEXT, b"x" * 1025))
        assert peer.closed()[0] == 1009
    word(server, "message.max is 1024")
    with Peer(server.port) as peer:
        peer.send(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.response().status == 504


def test_a_setting_over_a_ceiling_keeps_the_old_generation(serve, tmp_path):
    path = tmp_path / "ceilings.lua"
    path.write_text(conf("limits = { memory = '2MB' }"))
    server = serve(ECHO, "--ceilings", path,
                   conf=conf("limits = { memory = '1MB' }"))
    server.write("app.conf.lua", conf("limits = { memory = '4MB' }"))
    server.wait_log(
        lambda r: "limits.memory must be 256KB to 2MB, got 4MB" in str(r))
    with Peer(server.port).open() as peer:
        peer.text("still there")
        assert peer.message() == "still there"


def test_ceilings_that_cannot_be_read_are_not_laid_to_the_app(tmp_path):
    (tmp_path / "main.lua").write_text(ECHO)
    path = tmp_path / "ceilings.lua"
    for says in ("No such file or directory", "unknown setting 'mesage'"):
        done = subprocess.run(
            [BINARY, "check", str(tmp_path), "--ceilings", str(path)],
            capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert done.stderr.startswith(
            "moonwire: cannot read the ceilings: %s:" % path)
        assert says in done.stderr
        path.write_text("return { mesage = {} }")

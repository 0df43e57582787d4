"""A new version takes over under connected clients, wholly or not at all."""
import json
import re
import signal
import threading
import time

import pytest

from support import wires
from support.lab import (IS_ASAN, IS_TINY, IS_TSAN, counters, lines, memory,
                         serve, signal_and_wait)
from support.wire import FACTOR, Peer, until

WIRES = [wires.PLAIN, wires.TLS]

RELOADED = re.compile(r"^reloaded: generation (\d+), (\d+) clients stay$")


def hup(server):
    """SIGHUP; -> what the log says of the reload."""
    return signal_and_wait(server, signal.SIGHUP,
                           lambda r: r.get("event") == "reload")


def reload(server, source, name="main.lua"):
    """-> the record of a reload that must succeed."""
    server.write(name, source)
    line = hup(server)
    assert RELOADED.match(line["msg"]), line
    return line


def by_hand(tmp_path, source, **how):
    return serve(tmp_path, source, args=["--no-reload"], **how)


def say(peer, text):
    peer.text(text)
    return peer.message()


VERSION = """
local version = %s
function on_message(client, text) client:send(version .. " " .. text) end
"""


# ---- what stays


KEEP = """
-- version %d
local function check(client)
  local d = client.data
  assert(d.text == "zero \\0 and \\255" and d[1] == 10 and d[3] == nil)
  assert(math.type(d.int) == "integer" and d.int == math.mininteger)
  assert(math.type(d.float) == "float" and d.float == 0.1 and d.inf == 1/0)
  assert(d.yes == true and d.no == false and d.null == json.null)
  assert(d.deep.er.still == "here" and d.again == d.deep and d.me == d)
  assert(json.encode(d.list) == "[]")
  assert(d[-5] == "minus" and d[2.5] == "fraction" and d[true] == "yes")
end

function on_connect(request)
  local deep = { er = { still = "here" } }
  local data = { 10, 20, text = "zero \\0 and \\255", int = math.mininteger,
    float = 0.1, inf = 1/0, yes = true, no = false, null = json.null,
    deep = deep, again = deep, list = json.array {}, name = request.query.name,
    [-5] = "minus", [2.5] = "fraction", [true] = "yes", count = 0 }
  data.me = data
  return { user = request.query.name, data = data, rooms = { "a", "b" } }
end

function on_message(client, text)
  check(client)
  local d = client.data
  d.count = d.count + 1
  client:send { count = d.count, name = d.name, id = client.id,
    generation = client.generation, app = app.generation, user = client.user,
    rooms = client:rooms(), since = client.connected_at,
    here = clients.count(), in_a = room("a"):count(),
    mine = #clients.of(client.user) }
end
"""


def test_data_rooms_and_users_stay(tmp_path):
    with by_hand(tmp_path, KEEP % 1) as server:
        names = ["ann", "bob", "ann"]
        peers = [Peer(server.port).open("/?name=" + n) for n in names]
        first = [json.loads(say(p, "hi")) for p in peers]
        for version in (2, 3):
            line = reload(server, KEEP % version)
            assert line["msg"].endswith(" 3 clients stay")
            assert line["gen"] == version and line["level"] == "info"
            for name, peer, before in zip(names, peers, first):
                now = json.loads(say(peer, "hi"))
                assert now == dict(before, count=version, app=version,
                                   generation=version)
                assert now["name"] == now["user"] == name
                assert now["rooms"] == ["a", "b"]
                assert now["mine"] == names.count(name)
        assert counters(server)["reloads_total"] == 2


def test_who_has_no_data_stays_as_well(tmp_path):
    with by_hand(tmp_path, VERSION % 1) as server:
        peer = Peer(server.port).open()
        assert say(peer, "a") == "1 a"
        reload(server, VERSION % 2)
        assert say(peer, "b") == "2 b"


def test_on_start_runs_at_the_start_only(tmp_path):
    source = """
    -- version %d
    local started = 0
    function on_start() started = started + 1 end
    function on_message(client) client:send(tostring(started)) end
    """
    with by_hand(tmp_path, source % 1) as server:
        peer = Peer(server.port).open()
        assert say(peer, "?") == "1"
        reload(server, source % 2)
        assert say(peer, "?") == "0"


def test_a_room_rule_of_the_new_version_holds_for_new_rooms(tmp_path):
    source = """
    rooms.define("r*", { max_clients = %d })
    function on_message(client, name)
      local ok, err = client:join(name)
      client:send(ok and "in" or err)
    end
    """
    with by_hand(tmp_path, source % 1) as server:
        a, b, c = [Peer(server.port).open() for _ in range(3)]
        assert [say(p, "r1") for p in (a, b)] == ["in", "full"]
        reload(server, source % 2)
        assert [say(p, "r2") for p in (a, b, c)] == ["in", "in", "full"]


# ---- what fails


@pytest.mark.parametrize("bad, where, why", [
    ("local x = = 1\n", "main.lua:1:", "unexpected symbol"),
    ("\n\nlocal t = nil\nt.x = 1\n", "main.lua:4:", "attempt to index"),
    ("error('no ' .. 'go')\n", "main.lua:1:", "no go"),
    ("broadcast('early')\n", "main.lua:1:", "broadcast"),
    ("sleep(1)\n", "main.lua:1:", "wait"),
    ("require 'missing'\n", "main.lua:1:", "missing"),
    ("require 'broken'\n", "broken.lua:2:", "unexpected symbol"),
    ("on_message = 7\n", "main.lua", "on_message"),
    ("local t = {} while true do t[#t + 1] = ('x'):rep(1e6) .. #t end\n",
     "", "limits.memory is 64"),
])
def test_a_bad_version_changes_nothing_and_says_where(tmp_path, bad, where,
                                                      why):
    if IS_ASAN and "limits.memory" in why:
        pytest.skip("so slow there that the CPU time of a load is over first")
    with by_hand(tmp_path, VERSION % 1, files={
            "broken.lua": "local a = 1\nlocal b = = 2\n"}) as server:
        peer = Peer(server.port).open()
        assert say(peer, "a") == "1 a"
        server.write("main.lua", bad)
        line = hup(server)
        assert line["level"] == "error" and line["gen"] == 1
        assert line["msg"].startswith("reload failed, generation 1 goes on: ")
        assert why in line["msg"] + line.get("err", "")
        assert where in line["msg"] + line.get("err", "")
        assert say(peer, "b") == "1 b"
        assert say(Peer(server.port).open(), "c") == "1 c"
        assert counters(server)["reloads_failed_total"] == 1
        assert "reloads_total" not in counters(server)

        # Mended, it takes over.
        assert reload(server, VERSION % 2)["gen"] == 2
        assert say(peer, "d") == "2 d"


def test_a_run_time_error_comes_with_its_traceback(tmp_path):
    with by_hand(tmp_path, VERSION % 1) as server:
        server.write("main.lua",
                     "local function deep() local x = nil; x() end\ndeep()\n")
        line = hup(server)
        assert "main.lua:1:" in line["msg"]
        assert "traceback" in line["err"] and "main.lua:2:" in line["err"]


def test_a_missing_main_lua_and_bad_settings_change_nothing(tmp_path):
    with by_hand(tmp_path, VERSION % 1) as server:
        peer = Peer(server.port).open()
        (server.dir / "main.lua").rename(server.dir / "aside.lua")
        assert "main.lua" in hup(server)["msg"]
        assert say(peer, "a") == "1 a"
        (server.dir / "aside.lua").rename(server.dir / "main.lua")
        server.write("app.conf.lua", "return {\n  mesage = {},\n}\n")
        line = hup(server)
        assert "app.conf.lua:2:" in line["msg"]
        assert "message" in line["msg"]
        assert say(peer, "b") == "1 b"


@pytest.mark.parametrize("value, what", [
    ("function() end", "function"), ("print", "function"),
    ("coroutine.create(print)", "thread"), ("client", "userdata"),
    ("setmetatable({}, {})", "metatable"),
])
def test_data_that_is_not_plain_refuses_the_reload(tmp_path, value, what):
    source = """
    -- version %d
    function on_message(client, text)
      if text == "bad" then
        client.data.deep = { list = { 1, { callback = """ + value + """ } } }
      elseif text == "good" then
        client.data.deep = nil
      end
      client:send(text .. app.generation)
    end
    """
    with by_hand(tmp_path, source % 1) as server:
        peer, other = Peer(server.port).open(), Peer(server.port).open()
        assert say(other, "x") == "x1"
        assert say(peer, "bad") == "bad1"
        server.write("main.lua", source % 2)
        line = hup(server)
        assert line["level"] == "error"
        assert "data.deep.list[2].callback" in line["msg"], line
        assert what in line["msg"]
        assert say(other, "x") == "x1"
        assert say(peer, "good") == "good1"
        assert RELOADED.match(hup(server)["msg"])
        assert say(peer, "x") == "x2"


def test_timers_of_a_version_that_fails_never_ring(tmp_path):
    with by_hand(tmp_path, VERSION % 1) as server:
        server.write("main.lua", """
        timer.every(0.01, function() print("a ghost") end)
        timer.after(0.01, function() print("a ghost") end)
        error("after all")
        """)
        assert "after all" in hup(server)["msg"]
        time.sleep(0.2)
        assert not lines(server, "a ghost")


def test_the_same_files_are_no_new_version(tmp_path):
    with by_hand(tmp_path, VERSION % 1) as server:
        line = hup(server)
        assert "nothing to reload" in line["msg"]
        server.write("main.lua", VERSION % 1)
        assert "nothing to reload" in hup(server)["msg"]
        assert "reloads_total" not in counters(server)


BUSY = """
local function work(n) for _ = 1, n * 100000 do end end
work(%d)
function on_message(client, text)
  work(%d)
  client:send("%d")
end
"""


@pytest.mark.skipif(IS_TINY, reason="slices are of another length there")
def test_what_mends_an_app_does_not_wait_for_all_that_is_slow_in_it(tmp_path):
    """Loading takes some 200 slices, and each handler 50: if one of them had its
    turn after each slice, all the messages would meet the old version."""
    peers = []
    conf = "return { limits = { cpu = '5s', load_cpu = '10s' } }"
    with by_hand(tmp_path, BUSY % (0, 50, 1), conf=conf) as server:
        for _ in range(8):
            peers.append(Peer(server.port, timeout=60).open())
            for _ in range(20):
                peers[-1].text("x")
        assert peers[0].message() == "1"
        reload(server, BUSY % (200, 0, 2))
        said = [peer.message() for peer in peers for _ in range(20)
                if peer is not peers[0]]
        said += [peers[0].message() for _ in range(19)]
        assert set(said) == {"1", "2"}
        assert said.count("1") < 40


# ---- what is under way


AWAIT = """
local version = %d
function on_connect(request)
  if request.query.think then sleep(tonumber(request.query.think)) end
  return { data = { trail = "connect" .. version } }
end

local function step(client, what)
  local d = client.data
  d.trail = (d.trail or "none") .. " " .. what .. version
  return d.trail
end

function on_open(client) step(client, "open") end

function on_message(client, text)
  step(client, text)
  if text == "lock" then
    lock("gate", function() sleep(0.4) end)
  elseif text == "all" then
    task.all { function() sleep(0.4) end, function() sleep(0.2) end }
  elseif text == "sort" then
    table.sort({ 2, 1 }, function(a, b) sleep(0.4) return a < b end)
  elseif text == "slow" then
    sleep(0.4)
  end
  client:send(step(client, "end"))
  broadcast("from " .. version, { except = client })
end
"""


@pytest.mark.parametrize("kind", ["slow", "lock", "all", "sort"])
def test_a_handler_that_waits_ends_in_its_version(tmp_path, kind):
    with by_hand(tmp_path, AWAIT % 1) as server:
        peer, other = Peer(server.port).open(), Peer(server.port).open()
        peer.text(kind)
        peer.text("next")
        assert say(other, "x") == "connect1 open1 x1 end1"
        assert peer.message() == "from 1"
        line = reload(server, AWAIT % 2)
        assert line["msg"].endswith(" 2 clients stay")
        # Others are in the new version already.
        assert say(other, "y") == "connect1 open1 x1 end1 y2 end2"
        assert peer.message() == "from 2"
        # Its own goes on where it was, with its data, and then moves.
        so_far = "connect1 open1 %s1 end1" % kind
        assert peer.message() == so_far
        assert peer.message() == so_far + " next2 end2"
        assert other.messages(2) == ["from 1", "from 2"]


def test_two_reloads_while_a_handler_waits(tmp_path):
    with by_hand(tmp_path, AWAIT % 1) as server:
        peer = Peer(server.port).open()
        peer.text("slow")
        peer.text("next")
        time.sleep(0.1)
        reload(server, AWAIT % 2)
        reload(server, AWAIT % 3)
        assert peer.message() == "connect1 open1 slow1 end1"
        assert peer.message() == "connect1 open1 slow1 end1 next3 end3"


def test_on_connect_that_waits_is_carried_over(tmp_path):
    with by_hand(tmp_path, AWAIT % 1) as server:
        peer = Peer(server.port)
        peer.send(peer.request("/?think=0.4"))
        time.sleep(0.15)
        reload(server, AWAIT % 2)
        assert peer.response().status == 101
        assert say(peer, "x") == "connect1 open2 x2 end2"


def test_who_leaves_during_the_hand_over_is_told_once(tmp_path):
    source = """
    local version = %d
    function on_message(client, text)
      client.data.said = text
      sleep(0.3)
      client.data.said = text .. " through"
    end
    function on_close(client, code)
      print("bye", client.data.said, code, version)
    end
    """
    with by_hand(tmp_path, source % 1) as server:
        asleep, idle = Peer(server.port).open(), Peer(server.port).open()
        asleep.text("hm")
        until(lambda: counters(server).get("messages_in_total") == 1)
        asleep.reset()
        reload(server, source % 2)
        assert idle.goodbye(4002) == (4002, "")
        server.wait_log(lambda r: r["msg"] == "bye\thm through\t1006\t2")
        server.wait_log(lambda r: r["msg"] == "bye\tnil\t4002\t2")
        assert len(lines(server, "^bye")) == 2


def test_what_never_ends_is_ended(tmp_path):
    source = """
    local version = %d
    function on_message(client, text)
      client.data.text = text
      if text == "stay" then
        local guard <close> = setmetatable({}, { __close = function() end })
        pcall(lock, "l", sleep, 3600)
        client:send("never")
      end
      client:send(version .. (client.data.text or ""))
    end
    """
    with by_hand(tmp_path, source % 1) as server:
        peers = [Peer(server.port).open() for _ in range(3)]
        for peer in peers:
            peer.text("stay")
        for peer in peers:
            peer.text("next")
        until(lambda: counters(server).get("messages_in_total") == 6)
        begun = time.monotonic()
        reload(server, source % 2)
        line = server.wait_log(
            lambda r: "old generation are not done" in r["msg"])
        assert 4.5 < time.monotonic() - begun < 6 + 4 * FACTOR
        assert line["msg"].startswith("3 handlers") and line["gen"] == 1
        for peer in peers:
            assert peer.message() == "2next"


# ---- timers


TIMERS = """
local version = %d
timer.every(0.02, function() broadcast("tick " .. version) end)
timer.after(0.01, function() broadcast("once " .. version) end)
local t = timer.after(0.01, function() broadcast("cancelled") end)
t:cancel()
timer.every(0.01, function()
  sleep(0.03)
  broadcast("slept " .. version)
  local again, err = timer.after(0.01, function() broadcast("late " .. version) end)
  if version == 1 and err then broadcast("refused " .. err) end
end)
function on_open(client) client:send("hello") end
function on_message(client)
  sleep(0.5)
  broadcast("held " .. version)
end
"""


def test_timers_change_hands_exactly_once(tmp_path):
    with by_hand(tmp_path, TIMERS % 1) as server:
        peer = Peer(server.port).open()
        assert peer.message() == "hello"
        got = [peer.message()]
        while got.count("tick 1") < 4:
            got.append(peer.message())
        mark = len(got)
        # Its handler keeps the old version alive, but not its timers.
        holder = Peer(server.port).open()
        holder.text("hold")
        until(lambda: counters(server).get("messages_in_total") == 1)
        reload(server, TIMERS % 2)
        while got.count("tick 2") < 20 or "held 1" not in got:
            got.append(peer.message())
        after = got[got.index("tick 2"):]
        assert "tick 1" not in after and "late 1" not in after
        assert got.count("once 2") == 1 and "cancelled" not in got
        # The tick that slept through the switch ends, and starts nothing.
        first = next(i for i, m in enumerate(got) if m.endswith("2"))
        assert got[first:].count("slept 1") <= 1
        refused = [m for m in got[mark:] if m.startswith("refused")]
        assert refused in ([], ["refused closed"])
        # Two beats of 20 ms: a second set of timers would double them.
        begun = time.monotonic()
        n = 0
        while n < 20:
            n += peer.message() == "tick 2"
        assert time.monotonic() - begun > 0.3


# ---- settings


def test_settings_take_effect(tmp_path):
    conf = """return {
      message = { max = %d }, env = { GREETING = "%s" },
      limits = { clients = %d }, origins = { "%s" }, ping = "1h",
    }"""
    source = """
    function on_message(client, text)
      client:send(env.GREETING .. " " .. #text)
    end
    """
    with by_hand(tmp_path, source,
                 conf=conf % (1000, "hello", 2, "http://old")) as server:
        def try_open(origin=None):
            peer = Peer(server.port)
            peer.send(peer.request(
                "/", [("Origin", origin)] if origin else []))
            return peer.response().status

        a, b = Peer(server.port).open(), Peer(server.port).open()
        assert say(a, "x" * 1000) == "hello 1000"
        assert try_open() == 503
        b.text("x" * 1001)
        assert b.closed()[0] == 1009
        b.close()
        until(lambda: counters(server)["connections"] == 1)
        assert try_open("http://old") == 101
        until(lambda: counters(server)["connections"] == 1)
        assert try_open("http://new") == 403

        reload(server, conf % (50_000, "ahoy", 4, "http://new"),
               "app.conf.lua")
        assert say(a, "x") == "ahoy 1"
        assert try_open("http://old") == 403
        others = [Peer(server.port).open() for _ in range(3)]
        assert try_open() == 503
        assert say(others[0], "x" * 50_000) == "ahoy 50000"
        # And for who was there before.
        assert say(a, "x" * 50_000) == "ahoy 50000"


def test_bounds_of_the_outbox_change_under_connected_clients(tmp_path):
    conf = 'return { outbox = { hard = "%s", policy = "%s" }, ping = "1h" }'
    source = """
    function on_message(client, text)
      local q, d = broadcast(("x"):rep(60000), { except = client })
      client:send { queued = q, dropped = d }
    end
    """
    with by_hand(tmp_path, source, conf=conf % ("4MB", "close")) as server:
        boss = Peer(server.port).open()
        sleeper = Peer(server.port, rcvbuf=4096).open()
        for _ in range(40):
            assert json.loads(say(boss, "go")) == {"queued": 1, "dropped": 0}
        reload(server, conf % ("128KB", "drop_newest"), "app.conf.lua")
        assert json.loads(say(boss, "go")) == {"queued": 0, "dropped": 1}
        for _ in range(40):
            assert len(sleeper.message()) == 60000
        assert json.loads(say(boss, "go")) == {"queued": 1, "dropped": 0}


# ---- how it begins


def test_a_saved_file_is_enough(tmp_path):
    with serve(tmp_path, "local words = require 'lib.words'\n"
               "function on_message(c, t) c:send(words.say .. t) end\n",
               files={"lib/words.lua": "return { say = '1' }\n"}) as server:
        peer = Peer(server.port).open()
        assert say(peer, "a") == "1a"

        def saved(text, name="lib/words.lua", way=server.write):
            mark = server.mark()
            way(name, text)
            server.wait_log(lambda r: r.get("event") == "reload", since=mark)

        def in_place(name, text):
            (server.dir / name).write_text(text)

        def by_backup(name, text):      # as vim does it
            path = server.dir / name
            path.rename(path.with_name(path.name + "~"))
            path.write_text(text)
            path.with_name(path.name + "~").unlink()

        for n, way in enumerate([server.write, in_place, by_backup] * 2, 2):
            saved("return { say = '%d' }\n" % n, way=way)
            # By rename and unlink the directory changes more than once; the
            # last look counts.
            until(lambda: say(peer, "x") == "%dx" % n)
        saved("local words = require 'lib.more'\n"
              "function on_message(c, t) c:send(words .. t) end\n",
              name="main.lua")
        assert lines(server, "reload failed.*lib.more")
        (server.dir / "lib/more.lua").write_text("return 'new '")
        until(lambda: say(peer, "x") == "new x")


def test_a_burst_of_saves_ends_with_the_last(tmp_path):
    with serve(tmp_path, VERSION % 0) as server:
        peer = Peer(server.port).open()
        for n in range(1, 60):
            server.write("main.lua", VERSION % n)
            assert say(peer, "x").endswith(" x")
        until(lambda: say(peer, "x") == "59 x")
        assert not [r for r in server.log if r["level"] == "error"]


# ---- under traffic


TRAFFIC = """
-- version %d
function on_connect(request)
  return { user = request.query.name,
           data = { name = request.query.name, count = 0 },
           rooms = { "all" } }
end

function on_message(client, text)
  local d = client.data
  d.count = d.count + 1
  local n = tonumber(text)
  if n %% 5 == 0 then sleep(0.01) end
  if n %% 7 == 0 then lock("l", function() sleep(0.001) end) end
  client:send { n = n, count = d.count, generation = app.generation }
  room("all"):broadcast({ from = d.name, n = n }, { except = client })
end

function on_close(client)
  print(("closed %%s %%d"):format(client.data.name, client.data.count))
end
"""


class Talker(threading.Thread):
    """Sends numbers, some ahead; checks every answer."""

    def __init__(self, server, name, count):
        super().__init__(daemon=True)
        self.peer = Peer(server.port).open("/?name=" + name)
        self.name, self.count = name, count
        self.heard = {}         # name -> last number
        self.generations = []
        self.failure = None
        self.start()

    def run(self):
        try:
            sent = answered = 0
            while answered < self.count:
                while sent < self.count and sent - answered < 10:
                    sent += 1
                    self.peer.text(str(sent))
                m = json.loads(self.peer.message())
                if "from" in m:
                    self.hear(m)
                else:
                    answered += 1
                    assert m["n"] == m["count"] == answered, (answered, m)
                    self.generations.append(m["generation"])
        except BaseException as e:
            self.failure = e
            raise

    def hear(self, m):
        last = self.heard.get(m["from"])
        assert last is None or m["n"] == last + 1, (last, m)
        self.heard[m["from"]] = m["n"]


def test_many_quick_reloads_lose_and_double_nothing(tmp_path):
    with by_hand(tmp_path, TRAFFIC % 0) as server:
        names = ["t%d" % i for i in range(8)]
        talkers = [Talker(server, name, 600) for name in names]
        version = 0
        while any(t.is_alive() for t in talkers):
            version += 1
            reload(server, TRAFFIC % version)
        for t in talkers:
            t.join()
            assert t.failure is None
            assert t.generations == sorted(t.generations)
        # A signal that TSan loses costs seconds of the talk.
        assert version > (4 if IS_TSAN else 10)
        assert talkers[0].generations[-1] > 5
        count = counters(server)
        assert count["reloads_total"] == version
        assert count["messages_in_total"] == 8 * 600
        assert "handler_errors_total" not in count
        for t in talkers:
            t.peer.close()
        for name in names:
            server.wait_log(lambda r: r["msg"] == "closed %s 600" % name)
        assert len(lines(server, "^closed ")) == 8


def test_reloads_leave_no_memory_behind(tmp_path):
    source = "-- %d\n" + "local big = ('x'):rep(1000000)\n" + AWAIT
    with by_hand(tmp_path, source % (0, 0)) as server:
        peers = [Peer(server.port).open() for _ in range(4)]
        for n in range(1, 21):
            reload(server, source % (n, n))
        before, _ = memory(server.pid)
        for n in range(21, 121):
            if n % 10 == 0:
                peers[n // 10 % 4].text("slow")
            reload(server, source % (n, n))
        until(lambda: memory(server.pid)[0] - before < 16 << 20,
              what="for the memory of 100 versions")

"""Handlers that wait: from anywhere Lua code can be, many at once."""
import json
import time

import pytest

from support import wires
from support.lab import IS_TSAN, ask, counters, lines, memory, serve
from support.wire import CLOSE, PING, TEXT, Peer, close_payload, encode, until

WIRES = [wires.PLAIN, wires.TLS]

KINDS = r"""
local kinds = {}

local function nap() sleep(0.001) end

function kinds.sort(n)
  local t = {}
  for i = 1, n do t[i] = i * 7919 % (n + 1) end
  table.sort(t, function(a, b)
    if (a + b) % 7 == 0 then nap() end
    return a < b
  end)
  for i = 2, n do assert(t[i - 1] <= t[i]) end
  return t[1] .. ".." .. t[n]
end

function kinds.gsub(n)
  local s = ("ab12-"):rep(n)
  return #s:gsub("%d+", function(d) nap() return "<" .. d .. ">" end)
end

function kinds.gsub_table(n)
  local t = setmetatable({}, { __index = function(_, k) nap() return k .. k end })
  return (("x y z "):rep(n):gsub("%a", t))
end

function kinds.metamethods(n)
  local mt = {}
  local function num(x) return setmetatable({ x = x }, mt) end
  function mt.__add(a, b) nap() return num(a.x + b.x) end
  function mt.__eq(a, b) nap() return a.x == b.x end
  function mt.__lt(a, b) nap() return a.x < b.x end
  function mt.__le(a, b) nap() return a.x <= b.x end
  function mt.__call(self, y) nap() return self.x * y end
  function mt.__len(self) nap() return self.x end
  function mt.__unm(self) nap() return num(-self.x) end
  function mt.__index(_, k) nap() return k end
  function mt.__newindex(t, k, v) nap() rawset(t, k, v * 2) end
  function mt.__tostring(self) nap() return "n" .. self.x end
  local a, b = num(n), num(n + 1)
  b.y = 21
  assert(a == num(n) and a ~= b and a < b and a <= b and not (b < a))
  assert(a.nothing == "nothing" and b.y == 42)
  return table.concat({ (a + b).x, a(3), #b, (-a).x, tostring(b),
                        ("%s"):format(a) }, " ")
end

function kinds.pairs(n)
  local t = setmetatable({}, { __pairs = function()
    nap()
    local i = 0
    return function() nap() i = i + 1 if i <= n then return i, i * i end end
  end })
  local sum = 0
  for _, v in pairs(t) do sum = sum + v end
  return sum
end

function kinds.coroutine(n)
  local function gen(depth)
    return coroutine.wrap(function()
      for i = 1, n do
        nap()
        if depth > 0 then
          for v in gen(depth - 1) do coroutine.yield(v + i) end
        else
          coroutine.yield(i)
        end
      end
    end)
  end
  local sum = 0
  for v in gen(2) do sum = sum + v end
  return sum
end

function kinds.close(n)
  local order = {}
  do
    local first <close> = setmetatable({}, { __close = function()
      nap() order[#order + 1] = "first"
    end })
    local second <close> = setmetatable({}, { __close = function()
      nap() order[#order + 1] = "second"
    end })
    nap()
    order[#order + 1] = "body" .. n
  end
  local co = coroutine.create(function()
    local held <close> = setmetatable({}, { __close = function()
      nap() order[#order + 1] = "closed"
    end })
    coroutine.yield()
  end)
  coroutine.resume(co)
  assert(coroutine.close(co))
  return table.concat(order, " ")
end

function kinds.pcall(n)
  local ok, err = pcall(function()
    nap()
    local inner, why = pcall(function() nap() error({ code = n }) end)
    assert(not inner and why.code == n)
    nap()
    error("outer " .. n, 0)
  end)
  local good, text = xpcall(function() nap() error("x" .. n, 0) end,
                            function(e) nap() return e .. "!" end)
  assert(not good)
  return tostring(ok) .. " " .. err .. " " .. text
end

function kinds.all(n)
  local jobs = {}
  for i = 1, n do
    jobs[i] = function() sleep((n - i) / 1000) return i * 10 end
  end
  local results = task.all(jobs)
  local ok, err = pcall(task.all, {
    function() nap() return 1 end,
    function() nap() error("one of them failed", 0) end,
  })
  assert(not ok and tostring(err):find("one of them failed", 1, true))
  assert(#task.all {} == 0)
  return table.concat(results, ",")
end

local shared = 0
function kinds.lock(n)
  return lock("shared", function(by)
    local before = shared
    nap()
    shared = before + by
    assert(pcall(lock, "other", function() error("through") end) == false)
    nap()
    assert(shared == before + by)
    return "added " .. by
  end, n)
end

function kinds.deep(n)
  local function down(depth)
    if depth == 0 then nap() return 0 end
    return 1 + down(depth - 1)
  end
  local t = {}
  for i = 1, 8 do t[i] = (i * 5) % 8 end
  local text = ("a"):gsub("a", function()
    table.sort(t, function(x, y)
      local _, less = pcall(coroutine.wrap(function() nap() return x < y end))
      return less
    end)
    return "ok"
  end)
  return text .. table.concat(t) .. down(100 + n)
end

function on_connect(request)
  sleep(0.005)
  return { data = { name = request.query.name, count = 0 } }
end

function on_message(client, text)
  local m = json.decode(text)
  if m.kind == "shared" then return client:send { result = shared } end
  local result = kinds[m.kind](m.n)
  client.data.count = client.data.count + 1
  client:send { kind = m.kind, n = m.n, result = result,
                name = client.data.name, count = client.data.count }
end
"""


def expected(kind, n):
    if kind == "sort":
        values = [i * 7919 % (n + 1) for i in range(1, n + 1)]
        return "%d..%d" % (min(values), max(values))
    if kind == "metamethods":
        return "%d %d %d %d n%d n%d" % (
            2 * n + 1, 3 * n, n + 1, -n, n + 1, n)
    if kind == "coroutine":
        return sum(a + b + c for a in range(1, n + 1)
                   for b in range(1, n + 1) for c in range(1, n + 1))
    return {
        "gsub": 7 * n,
        "gsub_table": "xx yy zz " * n,
        "pairs": sum(i * i for i in range(1, n + 1)),
        "close": "body%d second first closed" % n,
        "pcall": "false outer %d x%d!" % (n, n),
        "all": ",".join(str(i * 10) for i in range(1, n + 1)),
        "lock": "added %d" % n,
        "deep": "ok01234567%d" % (100 + n),
    }[kind]


ALL = ["sort", "gsub", "gsub_table", "metamethods", "pairs", "coroutine",
       "close", "pcall", "all", "lock", "deep"]


@pytest.mark.parametrize("kind", ALL)
def test_waiting_inside(tmp_path, kind):
    with serve(tmp_path, KINDS) as server:
        peer = Peer(server.port).open("/?name=one")
        for n in (1, 2, 6):
            answer = ask(peer, kind=kind, n=n)
            assert answer["result"] == expected(kind, n)


def test_forty_clients_wait_everywhere_at_once(tmp_path):
    with serve(tmp_path, KINDS) as server:
        names = ["c%d" % i for i in range(40)]
        peers = [Peer(server.port).open("/?name=" + name) for name in names]
        orders = []
        for i, peer in enumerate(peers):
            order = ALL[i % len(ALL):] + ALL[:i % len(ALL)]
            orders.append([(kind, 2 + (i + k) % 5)
                           for k, kind in enumerate(order * 2)])
            peer.send(b"".join(
                encode(TEXT, json.dumps({"kind": kind, "n": n}).encode())
                for kind, n in orders[-1]))
        for name, peer, order in zip(names, peers, orders):
            for count, (kind, n) in enumerate(order, 1):
                answer = json.loads(peer.message())
                assert answer == {"kind": kind, "n": n, "name": name,
                                  "count": count,
                                  "result": expected(kind, n)}
        total = sum(n for order in orders for kind, n in order
                    if kind == "lock")
        assert ask(peers[0], kind="shared")["result"] == total
        assert not [r for r in server.log if r["level"] == "error"]


ORDER = """
local trail = {}

function on_connect(request)
  sleep(tonumber(request.query.think or "0.02"))
  return { data = { name = request.query.name } }
end

local function note(client, what)
  local name = client.data.name
  trail[name] = (trail[name] or "") .. what
end

function on_open(client)
  note(client, "(")
  sleep(0.05)
  note(client, "o")
end

function on_message(client, text)
  if text:match("^ask ") then
    return client:send { trail = trail[text:sub(5)] or "" }
  end
  note(client, "<")
  sleep(tonumber(text) / 1000)
  note(client, ">")
end

function on_close(client)
  note(client, "c")
  sleep(0.03)
  note(client, ")")
end
"""


def trail(boss, name, ends=")"):
    def look():
        boss.text("ask " + name)
        said = json.loads(boss.message())["trail"]
        return said if said.endswith(ends) else None
    return until(look, what="for the end of " + name)


def test_a_clients_events_never_overlap(tmp_path):
    """on_open first, on_close last, each message between the two, also when
    all of it came in one packet with the handshake."""
    with serve(tmp_path, ORDER) as server:
        boss = Peer(server.port).open("/?name=boss")
        many = [Peer(server.port) for _ in range(40)]
        words = b"".join(encode(TEXT, b"%d" % ms) for ms in (9, 0, 4, 0, 1))
        for i, peer in enumerate(many):
            peer.send(peer.request("/?name=p%d" % i) + words)
        for i, peer in enumerate(many):
            assert peer.response().status == 101
            if i % 4 == 0:
                peer.frame(CLOSE, close_payload(1000))
            elif i % 4 == 1:
                peer.reset()
            elif i % 4 == 2:
                peer.half_close()
        for i, peer in enumerate(many):
            if i % 4 == 3:
                assert trail(boss, "p%d" % i, "o<><><><><>")
                assert peer.goodbye(4001) == (4001, "")
            said = trail(boss, "p%d" % i)
            assert said.startswith("(o<") or said == "(oc)"
            assert said.endswith(">c)") or said == "(oc)"
            assert said == "(o" + "<>" * said.count("<") + "c)"
            if i % 4 != 1:      # an RST may take along what was not read
                assert said.count("<>") == 5


def test_who_dies_while_on_connect_thinks_was_never_there(tmp_path):
    with serve(tmp_path, ORDER) as server:
        boss = Peer(server.port).open("/?name=boss")
        for i in range(10):
            peer = Peer(server.port)
            peer.send(peer.request("/?name=dead&think=0.4"))
            time.sleep(0.005 * i)
            peer.reset()
        # Its verdict comes after all of theirs.
        Peer(server.port).open("/?name=after&think=0.5").goodbye()
        assert trail(boss, "after") == "(oc)"
        boss.text("ask dead")
        assert json.loads(boss.message()) == {"trail": ""}


LOCKS = """
local held, most, order = 0, 0, {}

function on_message(client, text)
  local n = tonumber(text)
  if n == 0 then
    return client:send { most = most, order = json.array(order), held = held }
  end
  pcall(lock, "gate", function()
    held = held + 1
    most = math.max(most, held)
    order[#order + 1] = n
    sleep(0.002)
    held = held - 1
    if n % 3 == 0 then error("freed all the same") end
  end)
  client:send("done " .. n)
end
"""


def test_a_lock_is_held_by_one_and_given_in_order(tmp_path):
    with serve(tmp_path, LOCKS) as server:
        peers = [Peer(server.port).open() for _ in range(40)]
        for i, peer in enumerate(peers, 1):
            # One after the other, each known to have come.
            peer.text(str(i))
            peer.frame(PING)
            peer.pong()
        for i, peer in enumerate(peers, 1):
            assert peer.message() == "done %d" % i
        result = ask_text(peers[0], "0")
        assert result == {"most": 1, "held": 0,
                          "order": list(range(1, 41))}


def ask_text(peer, text):
    peer.text(text)
    return json.loads(peer.message())


LOCK_DEATH = """
local log_of = {}
function on_message(client, text)
  if text == "?" then return client:send { said = json.array(log_of) } end
  lock("gate", function()
    log_of[#log_of + 1] = "in " .. text
    sleep(0.05)
    log_of[#log_of + 1] = tostring(client:send("x")) .. " " .. text
  end)
end
"""


def test_a_client_that_dies_with_a_lock_holds_up_nobody(tmp_path):
    with serve(tmp_path, LOCK_DEATH) as server:
        boss, a, b, c = [Peer(server.port).open() for _ in range(4)]
        for name, peer in (("a", a), ("b", b), ("c", c)):
            peer.text(name)
            peer.frame(PING)
            peer.pong()
        a.reset()
        b.reset()
        assert c.message() == "x"
        assert ask_text(boss, "?")["said"] == [
            "in a", "nil a", "in b", "nil b", "in c", "true c"]


def test_where_nobody_may_wait_an_error_says_so(tmp_path):
    main = """
    function on_message(client, text)
      local ok, err = pcall(broadcast, "x", { where = function(c)
        sleep(0.01)
        return true
      end })
      client:send { ok = ok, err = err }
      sleep(0.001)
      client:send { ok = pcall(sleep, 0.001) }
    end
    """
    with serve(tmp_path, main) as server:
        peer = Peer(server.port).open()
        first = ask_text(peer, "go")
        assert first["ok"] is False and "wait" in first["err"]
        assert json.loads(peer.message()) == {"ok": True}


TICKS = """
local ticks, running, most = 0, 0, 0
timer.every(0.01, function()
  running = running + 1
  most = math.max(most, running)
  ticks = ticks + 1
  sleep(0.03)
  running = running - 1
end)
local spawned = {}
function on_message(client, text)
  if text == "ticks" then
    return client:send { ticks = ticks, most = most }
  end
  for i = 1, 20 do
    task.spawn(function(a, b)
      sleep(0.001 * (20 - i))
      spawned[#spawned + 1] = a + b
      if #spawned == 20 then
        table.sort(spawned)
        client:send { sum = spawned[20], first = spawned[1] }
      end
    end, i, 100)
  end
  timer.after(0.02, function(what) client:send { what = what } end, "late")
end
"""


def test_timers_and_tasks_wait_as_handlers_do(tmp_path):
    with serve(tmp_path, TICKS) as server:
        peer = Peer(server.port).open()
        assert until(lambda: ask_text(peer, "ticks")["ticks"] > 5)
        # A tick that finds the last one under way is left out.
        assert ask_text(peer, "ticks")["most"] == 1
        peer.text("spawn")
        got = [json.loads(m) for m in peer.messages(2)]
        assert {"what": "late"} in got
        assert {"sum": 120, "first": 101} in got


def test_an_error_behind_an_await_ends_that_event_only(tmp_path):
    main = """
    function on_message(client, text)
      sleep(0.01)
      if text == "bad" then error("went wrong after a while") end
      client:send(text)
    end
    """
    with serve(tmp_path, main) as server:
        peer = Peer(server.port).open()
        for text in ("one", "bad", "two"):
            peer.text(text)
        assert peer.messages(2) == ["one", "two"]
        (line,) = lines(server, "went wrong after a while")
        assert "main.lua:4:" in line["msg"]
        assert "traceback" in line["err"]
        assert line["event"] == "on_message" and line["kind"] == "error"


def test_4096_handlers_wait_and_no_more(tmp_path):
    """What is over the bound stays in the inbox until a fiber is free."""
    main = """
    local open = false
    function on_message(client, text)
      if text == "spawn" then
        local n = 0
        -- They end by themselves: once all have begun there is no fiber left
        -- for a handler that would tell them to.
        local function wait() if not open then sleep(1) open = true end end
        while task.spawn(lock, "door", wait) do n = n + 1 end
        return client:send { spawned = n }
      end
      client:send(text)
    end
    """
    with serve(tmp_path, main, 'return { limits = { memory = "512MB" } }'
               ) as server:
        peer, other = Peer(server.port).open(), Peer(server.port).open()
        spawned = ask_text(peer, "spawn")["spawned"]
        assert 4000 <= spawned <= 4096
        time.sleep(0.3)
        # Handlers that do not wait find a fiber, or wait for one.
        for i in range(20):
            other.text("m%d" % i)
        assert other.messages(20) == ["m%d" % i for i in range(20)]


def test_who_sleeps_for_ever_and_holds_all_memory_is_ended(tmp_path):
    """Otherwise its app would answer nobody any more."""
    main = """
    function on_open(client)
      client:send("generation " .. app.generation)
    end
    function on_message(client, text)
      if text == "fill" then
        while task.spawn(sleep, 1e6) do sleep(0) end
      end
      client:send(text)
    end
    """
    with serve(tmp_path, main, 'return { limits = { memory = "512KB" } }'
               ) as server:
        peer, other = Peer(server.port).open(), Peer(server.port).open()
        for p in peer, other:
            assert p.message() == "generation 1"
        peer.text("fill")
        server.wait_log(lambda r: r["msg"] == "no memory to begin")
        # Some are lost until it is sure that nothing will change.
        for _ in range(10):
            other.text("hello")
        assert other.message() == "generation 2"
        assert other.messages(6) == ["hello"] * 6
        server.wait_log(lambda r: r["msg"].startswith(
            "restarted: generation 2, 2 clients"))
        ended = lines(server, "leaves its events no memory to begin")
        assert [r["kind"] for r in ended] == ["memory"]
        figures = counters(server)
        assert figures["app_deaths_total"] == 1
        assert figures["app_restarts_total"] == 1
        peer.text("still here")
        while peer.message() != "still here":
            pass


@pytest.mark.skipif(IS_TSAN, reason="what it keeps of a fiber is as large")
def test_who_waits_keeps_no_stack_that_it_does_not_stand_on(tmp_path):
    """Hundreds go deep, come back, and sleep: what they have touched of their C
    stacks goes back to the system, for it counts against nobody's memory."""
    main = """
    local function deep(n)
      if n == 0 then return "x" end
      return (("x"):gsub(".", function() return deep(n - 1) end))
    end
    function on_message(client, text)
      local n = tonumber(text)
      for _ = 1, n do
        task.spawn(function()
          deep(150)
          client:send("asleep")
          sleep(1e6)
        end)
      end
    end
    """
    tasks, most = 400, 64 * 1024
    with serve(tmp_path, main) as server:
        peer = Peer(server.port).open()
        # What one of them takes, and what is kept for the next, is there now.
        peer.text("10")
        assert peer.messages(10) == ["asleep"] * 10
        before, _ = memory(server.pid)
        peer.text(str(tasks))
        assert peer.messages(tasks) == ["asleep"] * tasks
        after, _ = memory(server.pid)
        assert after - before < tasks * most, (before, after)

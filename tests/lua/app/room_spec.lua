local spec, play = require "spec", require "play"
local it, expect, describe = spec.it, spec.expect, spec.describe

describe("room", function()
  it("is a name and can be compared", function()
    local r = room("lobby")
    expect(r.name).is("lobby")
    expect(tostring(r)).is("room lobby")
    expect(r == room("lobby")).is(true)
    expect(r == room("other")).is(false)
    expect(r.nothing).is(nil)
    expect(r[1]).is(nil)
    expect(getmetatable(r)).is(false)
    expect(room("a\0b").name).is("a\0b")
    expect(room("a\0b") == room("a\0c")).is(false)
    expect(function() room() end).fails_with("bad argument 'name' (string expected, got nothing)")
    expect(function() room("") end).fails_with("bad argument 'name' (1 to 128 bytes")
    expect(function() room(("x"):rep(129)) end).fails_with("got 129")
    expect(function() r.name = "x" end).fails_with("")
    local _, client = play.connect()
    expect(r == client).is(false)
    play.reset()
  end)

  it("counts, lists and reaches its members", function()
    local r = room("lobby")
    expect(r:count()).is(0)
    for _ in r:clients() do error("nobody is there") end
    expect({ r:broadcast("x") }).equals { 0, 0 }
    local p1, c1 = play.connect()
    local p2, c2 = play.connect()
    local p3 = play.connect()
    c1:join("lobby") c2:join("lobby")
    expect(r:count()).is(2)
    local n = 0
    for c in r:clients() do
      expect(c == c1 or c == c2).is(true)
      n = n + 1
    end
    expect(n).is(2)
    expect({ r:broadcast("all") }).equals { 2, 0 }
    expect({ r:broadcast("not 2", { except = c2, key = "k", compress = true }) }).equals { 1, 0 }
    expect({ r:broadcast("only 2", { where = function(c) return c == c2 end }) }).equals { 1, 0 }
    expect({ r:broadcast({ t = 1 }, { binary = true }) }).equals { 2, 0 }
    broadcast("end")
    expect(p1:words(4)).equals { "all", "not 2", '{"t":1}', "end" }
    expect(p2:words(4)).equals { "all", "only 2", '{"t":1}', "end" }
    expect(p3:words(1)).equals { "end" }
    local queued, word = r:broadcast("\xff")
    expect(queued).is(nil)
    expect(word).is("utf8")
    expect(function() r:broadcast("x", { room = "y" }) end).fails_with(
      "room:broadcast: unknown option 'room'")
    expect(function() r:broadcast(nil) end).fails_with("bad argument 'message'")
    for _, method in ipairs { "broadcast", "clients", "count", "close" } do
      expect(function() r[method]("x") end).fails_with("bad argument 'room' (room expected, got string")
    end
    play.reset()
  end)

  it("closes its members", function()
    local reasons = {}
    play.on_close = function(_, code, reason) reasons[#reasons + 1] = code .. reason end
    local p1, c1 = play.connect()
    local _, c2 = play.connect()
    c1:join("out")
    expect(room("out"):close(4000, "closing time")).is(1)
    expect(c1.closed).is(true)
    expect(c2.closed).is(false)
    expect(room("out"):close()).is(0)
    expect((p1:closing())).is(4000)
    play.wait_for(function() return #reasons == 1 end)
    expect(reasons).equals { "4000closing time" }
    expect(function() room("out"):close(1) end).fails_with("bad argument 'code'")
    expect(function() room("out"):close(1000, {}) end).fails_with("bad argument 'reason'")
    play.reset()
  end)
end)

describe("rooms", function()
  it("are listed while they have members", function()
    local _, c = play.connect()
    expect(rooms.list()).equals({})
    c:join("game/1") c:join("game/2") c:join("lobby")
    local names = rooms.list()
    table.sort(names)
    expect(names).equals { "game/1", "game/2", "lobby" }
    names = rooms.list("game/")
    table.sort(names)
    expect(names).equals { "game/1", "game/2" }
    expect(rooms.list("nothing")).equals({})
    expect(#rooms.list("")).is(3)
    expect(function() rooms.list(5) end).fails_with("bad argument 'prefix' (string expected, got number)")
    play.reset()
    expect(rooms.list()).equals({})
  end)

  it("have rules by name or prefix", function()
    expect(rooms.define("tiny*", { max_clients = 1 })).is(true)
    expect(rooms.define("exact", { slow = "drop_oldest", max_clients = 2 })).is(true)
    expect(rooms.define("any", {})).is(true)
    local _, a = play.connect()
    local _, b = play.connect()
    expect(a:join("tiny/1")).is(true)
    local ok, word = b:join("tiny/1")
    expect(ok).is(nil)
    expect(word).is("full")
    expect(b:join("tiny/2")).is(true)
    expect(a:join("tiny/1")).is(true) -- is in already
    a:leave("tiny/1")
    expect(b:join("tiny/1")).is(true)
    -- The same again replaces it, for rooms made from then on.
    for _ = 1, 100 do
      expect(rooms.define("tiny*", { max_clients = 2 })).is(true)
    end
    expect(a:join("tiny/3")).is(true)
    expect(b:join("tiny/3")).is(true)
    play.reset()
  end)

  it("take 64 rules", function()
    local made = 0
    for i = 1, 100 do
      local ok, word = rooms.define("rule" .. i, {})
      if not ok then
        expect(word).is("quota")
        break
      end
      made = made + 1
    end
    expect(made).is(64 - 3)
  end)

  it("name what is wrong with a rule", function()
    local cases = {
      { { 5, {} }, "bad argument 'pattern'" },
      { { "", {} }, "bad argument 'pattern'" },
      { { "a*b", {} }, "'*' may only stand at the end" },
      { { "a" }, "bad argument 'rule' (table expected, got nothing)" },
      { { "a", { max = 1 } }, "rooms.define: unknown option 'max'" },
      { { "a", { slow = "never" } }, 'slow must be "close", "drop_oldest" or "drop_newest"' },
      { { "a", { slow = true } }, "slow must be" },
      { { "a", { max_clients = 0 } }, "max_clients must be 1 to 1000000" },
      { { "a", { max_clients = 1.5 } }, "max_clients must be" },
      { { "a", { max_clients = "many" } }, "max_clients must be" },
    }
    for _, case in ipairs(cases) do
      expect(function() rooms.define(table.unpack(case[1])) end).fails_with(case[2])
    end
  end)
end)

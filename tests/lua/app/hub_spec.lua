local spec, play = require "spec", require "play"
local it, expect, describe = spec.it, spec.expect, spec.describe

-- Peers and clients of these users.
local function house(users)
  local peers, them, next_user = {}, {}, 0
  play.on_connect = function()
    next_user = next_user + 1
    return { user = users[next_user] }
  end
  for i = 1, #users do
    peers[i], them[i] = play.connect()
  end
  return peers, them
end

-- Who of the peers has got the word that was broadcast, as "13".
local function who_got(peers, message, options)
  local queued, dropped = broadcast(message, options)
  expect(dropped).is(0)
  broadcast("end")
  local got, n = "", 0
  for i, peer in ipairs(peers) do
    local words = peer:words(1)
    while words[#words] ~= "end" do
      for _, word in ipairs(peer:words(1)) do
        words[#words + 1] = word
      end
    end
    for k = 1, #words - 1 do
      expect(words[k]).is(message)
      got, n = got .. i, n + 1
    end
  end
  expect(queued).is(n)
  return got
end

describe("broadcast", function()
  it("reaches everybody, or whom the options name, once each", function()
    local peers, them = house { "ann", "bob", "ann", "cy" }
    them[1]:join("r") them[2]:join("r") them[2]:join("s") them[4]:join("s")
    local cases = {
      { nil, "1234" },
      { {}, "1234" },
      { { room = "r" }, "12" },
      { { rooms = { "r", "s" } }, "124" },
      { { rooms = { "r", "r", "r" } }, "12" },
      { { rooms = {} }, "" },
      { { room = "nowhere" }, "" },
      { { user = "ann" }, "13" },
      { { users = { "bob", "cy", "nobody" } }, "24" },
      { { users = {} }, "" },
      { { room = "r", user = "cy" }, "124" },
      { { except = them[1] }, "234" },
      { { except = "ann" }, "24" },
      { { except = { "ann", them[4] } }, "2" },
      { { except = {} }, "1234" },
      { { room = "r", except = them[2] }, "1" },
      { { where = function(c) return c.user == "ann" end }, "13" },
      { { where = function() end }, "" },
      { { rooms = { "r", "s" }, where = function(c) return c ~= them[1] end }, "24" },
      { { room = "s", except = "cy", where = function() return true end }, "2" },
      { { key = "k", compress = false }, "1234" },
      { { binary = true }, "1234" },
    }
    for i, case in ipairs(cases) do
      local got = who_got(peers, "m" .. i, case[1])
      if got ~= case[2] then
        error(string.format("case %d: %s instead of %s", i, got, case[2]))
      end
    end
    play.reset()
  end)

  it("sends a table as JSON and bytes as they are", function()
    local peer = play.connect()
    expect(broadcast { a = { 1, 2 } }).is(1)
    expect(broadcast("\xfe", { binary = true })).is(1)
    expect(peer:words(2)).equals { '{"a":[1,2]}', "\xfe" }
    play.reset()
  end)

  it("says why it does not send", function()
    local queued, word, detail = broadcast("\xff")
    expect(queued).is(nil)
    expect(word).is("utf8")
    expect(detail).is_a("string")
    queued, word = broadcast(("x"):rep(1024 * 1024 + 1))
    expect(queued).is(nil)
    expect(word).is("too_big")
  end)

  it("names the argument that is wrong", function()
    local _, client = play.connect()
    local cases = {
      { { 5 }, "bad argument 'message'" },
      { {}, "bad argument 'message'" },
      { { "x", "y" }, "bad argument 'options' (table expected, got string)" },
      { { "x", { rom = "r" } }, "broadcast: unknown option 'rom'; did you mean 'room'?" },
      { { "x", { [1] = 1 } }, "broadcast: unknown option" },
      { { "x", { room = 5 } }, "bad argument 'room' (string expected, got number)" },
      { { "x", { room = "" } }, "bad argument 'room' (1 to 128 bytes" },
      { { "x", { rooms = { "a", 5 } } }, "bad argument 'room'" },
      { { "x", { user = client } }, "bad argument 'user'" },
      { { "x", { user = ("u"):rep(129) } }, "bad argument 'user'" },
      { { "x", { except = 5 } }, "bad argument 'except' (client, user, or a table of them" },
      { { "x", { except = { {} } } }, "bad argument 'except'" },
      { { "x", { where = "x" } }, "bad argument 'where' (function expected, got string)" },
      { { "x", { key = {} } }, "bad argument 'key'" },
      { { { f = print } }, "bad argument 'message'" },
    }
    for _, case in ipairs(cases) do
      expect(function() broadcast(table.unpack(case[1])) end).fails_with(case[2])
    end
    play.reset()
  end)

  it("does not wait in where, and lets its error through", function()
    local _, client = play.connect()
    expect(function()
      broadcast("x", { where = function() sleep(0) end })
    end).fails_with("cannot wait inside the 'where' function of broadcast")
    expect(function()
      broadcast("x", { where = function() error("on purpose") end })
    end).fails_with("on purpose")
    sleep(0) -- and here it still may
    -- A where function may do what it likes.
    expect((broadcast("x", {
      where = function(c)
        broadcast("inner")
        c:close()
        collectgarbage()
        return true
      end,
    }))).is(0)
    expect(client.closed).is(true)
    play.reset()
  end)

  it("is not confused by a where function that takes its options away", function()
    local peer = play.connect()
    local options
    options = {
      room = "room" .. tostring(1), key = "k" .. ("y"):rep(60), except = { "u" .. tostring(2) },
      where = function()
        for k in pairs(options) do
          options[k] = nil
        end
        collectgarbage()
        local junk = {}
        for i = 1, 1000 do junk[i] = ("z"):rep(61) .. i end
        return #junk > 0
      end,
    }
    for c in clients() do c:join("room1") end
    expect((broadcast("x", options))).is(1)
    expect(peer:words(1)[1]).is("x")
    play.reset()
  end)
end)

describe("clients", function()
  it("are found by iteration, number and user", function()
    local _, them = house { "ann", "bob", "ann" }
    local seen, n = {}, 0
    for c in clients() do
      seen[c] = true
      n = n + 1
    end
    expect(n).is(3)
    expect(clients.count()).is(3)
    for _, c in ipairs(them) do
      expect(seen[c]).is(true)
      expect(clients.get(c.id)).is(c)
    end
    expect(clients.of("ann")).equals { them[1], them[3] }
    expect(clients.of("nobody")).equals({})
    expect(clients.get(1 << 40)).is(nil)
    expect(clients.get(-1)).is(nil)
    expect(function() clients.get("1") end).fails_with("bad argument 'id' (integer expected, got string)")
    expect(function() clients.of() end).fails_with("bad argument 'user'")
    play.reset()
    for c in clients() do
      error("nobody should be there, but " .. tostring(c))
    end
  end)

  it("may leave and come while they are iterated", function()
    local _, them = house { "a", "b", "c", "d" }
    local n = 0
    for c in clients() do
      n = n + 1
      if n == 1 then
        for _, other in ipairs(them) do
          if other ~= c then other:close() end
        end
      end
    end
    expect(n).is(1)
    local iterator = clients()
    expect(iterator() ~= nil).is(true)
    expect(iterator()).is(nil)
    expect(iterator()).is(nil)
    play.reset()
  end)
end)

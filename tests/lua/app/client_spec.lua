local spec, play = require "spec", require "play"
local it, expect, describe = spec.it, spec.expect, spec.describe

describe("client", function()
  it("has fields that say who it is", function()
    play.on_connect = function()
      return { user = "ann", protocol = "chat", data = { n = 1 } }
    end
    local before = time.now()
    local _, client = play.connect("?x=1", "Sec-WebSocket-Protocol: chat\r\n")
    expect(math.type(client.id)).is("integer")
    expect(client.user).is("ann")
    expect(client.path).matches("^/peer%d+$")
    expect(client.protocol).is("chat")
    expect(client.data.n).is(1)
    expect(client.ip).is(nil) -- a socket pair has none
    expect(client.closed).is(false)
    expect(client.restored).is(false)
    expect(client.generation).is(app.generation)
    expect(client.connected_at >= before - 0.001 and client.connected_at <= time.now()).is(true)
    expect(client.no_such_field).is(nil)
    expect(client[1]).is(nil)
    expect(client[client]).is(nil)
    expect(tostring(client)).is("client " .. client.id)
    expect(type(client)).is("userdata")
    play.reset()
  end)

  it("is the same object wherever it comes from", function()
    local _, client = play.connect()
    expect(clients.get(client.id)).is(client)
    for c in clients() do
      expect(c).is(client)
    end
    local key = { [client] = "yes" }
    expect(key[clients.get(client.id)]).is("yes")
    expect(getmetatable(client)).is(false)
    play.reset()
  end)

  it("has data of its own, which is a table and nothing else", function()
    local _, a = play.connect()
    local _, b = play.connect()
    a.data.x = 1
    expect(b.data.x).is(nil)
    expect(a.data).is(a.data)
    a.data = { y = 2 }
    expect(a.data.x).is(nil)
    expect(a.data.y).is(2)
    expect(function() a.data = 5 end).fails_with("bad argument 'client.data' (table expected, got number)")
    expect(function() a.data = nil end).fails_with("(table expected, got nil)")
    expect(function() a.user = "bob" end).fails_with(
      "client.user cannot be set; keep what is yours in client.data")
    expect(function() a[1] = 1 end).fails_with("client.? cannot be set")
    play.reset()
  end)

  it("sends texts, bytes and tables", function()
    local peer, client = play.connect()
    expect(client:send("one")).is(true)
    expect(client:send({ n = 2 })).is(true)
    expect(client:send("three", { binary = true })).is(true)
    expect(client:send("\xff\0", { binary = true })).is(true)
    expect(client:send("")).is(true)
    expect(client:send("five", { key = "k", compress = true })).is(true)
    expect(client:send("six", nil)).is(true)
    expect(client:send("seven", {})).is(true)
    local words = peer:words(6)
    expect(words[1]).is("one")
    expect(words[2]).is('{"n":2}')
    expect(words[3]).is("three")
    expect(words[4]).is("\xff")
    expect(words[5]).is("five")
    play.reset()
  end)

  it("says why it does not send", function()
    local peer, client = play.connect()
    local ok, word, detail = client:send("\xff")
    expect(ok).is(nil)
    expect(word).is("utf8")
    expect(detail).contains("binary = true")
    ok, word, detail = client:send(("x"):rep(1024 * 1024 + 1))
    expect(ok).is(nil)
    expect(word).is("too_big")
    expect(detail).contains("outbox.hard")
    expect(client:send(("x"):rep(1024 * 1024))).is(true)
    peer:cut()
    play.wait_for(function() return client.closed end)
    ok, word, detail = client:send("late")
    expect(ok).is(nil)
    expect(word).is("closed")
    expect(detail).is(nil)
    play.reset()
  end)

  it("names the argument that is wrong", function()
    local _, client = play.connect()
    expect(function() client:send(5) end).fails_with(
      "bad argument 'message' (string, or table to be sent as JSON expected, got number)")
    expect(function() client:send() end).fails_with("bad argument 'message'")
    expect(function() client:send("x", 5) end).fails_with(
      "bad argument 'options' (table expected, got number)")
    expect(function() client:send("x", { bnary = true }) end).fails_with(
      "client:send: unknown option 'bnary'; did you mean 'binary'?")
    expect(function() client:send("x", { "binary" }) end).fails_with("unknown option")
    expect(function() client:send("x", { key = 5 }) end).fails_with("bad argument 'key'")
    expect(function() client:send("x", { key = "" }) end).fails_with("(1 to 64 bytes expected, got 0)")
    expect(function() client:send("x", { key = ("k"):rep(65) }) end).fails_with("got 65")
    expect(function() client:send { f = print } end).fails_with("bad argument 'message'")
    expect(function() client.send("x") end).fails_with("bad argument 'client' (client expected")
    expect(function() client.send(io, "x") end).fails_with("not '.'")
    expect(function() client:close("x") end).fails_with("bad argument 'code' (integer expected")
    expect(function() client:close(1.5) end).fails_with("bad argument 'code'")
    expect(function() client:close(999) end).fails_with(
      "bad argument 'code' (999 cannot be sent; 4000 to 4999 are the app's own)")
    for _, code in ipairs { 0, -1, 1005, 1006, 1015, 5000, 1 << 40, math.mininteger } do
      expect(function() client:close(code) end).fails_with("bad argument 'code' (" .. code)
    end
    expect(function() client:close(1000, 5) end).fails_with("bad argument 'reason' (string expected")
    expect(function() client:close(1000, ("x"):rep(124)) end).fails_with("at most 123 bytes")
    expect(function() client:close(1000, "\xff") end).fails_with("bad argument 'reason'")
    expect(function() client:join() end).fails_with("bad argument 'room' (string expected, got nothing)")
    expect(function() client:join("") end).fails_with("1 to 128 bytes expected")
    expect(function() client:leave(5) end).fails_with("bad argument 'room'")
    expect(function() client:is_in(("x"):rep(129)) end).fails_with("got 129")
    expect(client.closed).is(false)
    play.reset()
  end)

  it("closes once, behind what is queued", function()
    local closes = {}
    play.on_close = function(client, code, reason)
      closes[#closes + 1] = { client.id, code, reason }
    end
    local peer, client = play.connect()
    client:send("last words")
    expect(client:close(4001, "enough")).is(true)
    expect(client.closed).is(true)
    local ok, word = client:close()
    expect(ok).is(nil)
    expect(word).is("closed")
    local code, reason = peer:closing()
    expect(code).is(4001)
    expect(reason).is("enough")
    expect(peer:words(1)[1]).is("last words")
    play.wait_for(function() return #closes > 0 end)
    expect(closes).equals { { client.id, 4001, "enough" } }
    local other, its_client = play.connect()
    its_client:close()
    expect((other:closing())).is(1000)
    play.reset()
  end)

  it("hears what code and reason the peer gave", function()
    local closes = {}
    play.on_close = function(_, code, reason) closes[#closes + 1] = { code, reason } end
    local peer = play.connect()
    peer:close(4321, "good bye")
    play.wait_for(function() return #closes > 0 end)
    expect(closes).equals { { 4321, "good bye" } }
    play.reset()
  end)

  it("joins and leaves rooms", function()
    local _, client = play.connect()
    expect(client:rooms()).equals({})
    expect(client:join("b")).is(true)
    expect(client:join("a")).is(true)
    expect(client:join("a")).is(true)
    expect(client:rooms()).equals { "b", "a" }
    expect(client:is_in("a")).is(true)
    expect(client:is_in("c")).is(false)
    expect(client:leave("b")).is(true)
    expect(client:leave("b")).is(false)
    expect(client:rooms()).equals { "a" }
    for i = 1, 127 do
      if not client:join("r" .. i) then
        expect(i).is(127 + 1)
      end
    end
    local ok, word = client:join("one too many")
    expect(ok).is(nil)
    expect(word).is("quota")
    play.reset()
  end)

  it("is harmless once it has gone", function()
    local rooms_at_the_end
    play.on_close = function(c) rooms_at_the_end = c:rooms() end
    local peer, client = play.connect()
    client:join("r")
    client.data.n = 1
    peer:cut()
    play.wait_for(function() return rooms_at_the_end end)
    expect(rooms_at_the_end).equals { "r" }
    expect(client.closed).is(true)
    expect(math.type(client.id)).is("integer")
    expect(client.user).is(nil)
    expect(client.path).is(nil)
    expect(client.data).equals({})
    client.data = { lost = true }
    expect(client.data).equals({})
    for _, result in ipairs {
      { client:send("x") }, { client:close() }, { client:join("r") },
    } do
      expect(result[1]).is(nil)
      expect(result[2]).is("closed")
    end
    expect(client:leave("r")).is(false)
    expect(client:is_in("r")).is(false)
    expect(client:rooms()).equals({})
    expect(client:queue()).equals { messages = 0, bytes = 0, dropped = 0 }
    expect(tostring(client)).is("client " .. client.id)
    expect(clients.get(client.id)).is(nil)
    play.reset()
  end)

  it("tells what waits in its outbox", function()
    local peer, client = play.connect()
    expect(client:queue()).equals { messages = 0, bytes = 0, dropped = 0 }
    client:send("12345")
    if not _G.peers.are_far then -- of those elsewhere it is known as last told
      local queue = client:queue()
      expect(queue.messages).is(1)
      expect(queue.bytes > 5).is(true)
    end
    peer:words(1)
    expect(client:queue().messages).is(0)
    play.reset()
  end)
end)

-- Where what may not be done: this file is loaded with the main chunk, and
-- notes what it is told there.
local spec, play = require "spec", require "play"
local it, expect, describe = spec.it, spec.expect, spec.describe

local attempts = {
  { "broadcast", function() broadcast("x") end },
  { "clients", function() clients() end },
  { "clients.get", function() clients.get(1) end },
  { "clients.of", function() clients.of("x") end },
  { "clients.count", function() clients.count() end },
  { "room:broadcast", function() room("r"):broadcast("x") end },
  { "room:clients", function() room("r"):clients() end },
  { "room:count", function() room("r"):count() end },
  { "room:close", function() room("r"):close() end },
  { "rooms.list", function() rooms.list() end },
  { "task.spawn", function() task.spawn(print) end },
  { "task.all", function() task.all {} end },
}
local waits = {
  { "sleep", function() sleep(0) end },
  { "lock", function() lock("l", print) end },
  { "a coroutine that sleeps", function() coroutine.wrap(sleep)(0) end },
}

local told = {}
for _, attempt in ipairs(attempts) do
  told[attempt[1]] = select(2, pcall(attempt[2]))
end
for _, wait in ipairs(waits) do
  told[wait[1]] = select(2, pcall(wait[2]))
end

local early = 0
local early_timer = timer.every(0.001, function() early = early + 1 end)
local cancelled_early = timer.after(0, error, "cancelled while the app loaded"):cancel()
local defined_early = rooms.define("early*", { max_clients = 1 })
local room_early = room("r").name
local time_early = time.now() > 0 and time.iso() ~= nil and crypto.uuid() ~= nil
local limit_early = limit.new { rate = 1 }:take("k")

describe("while main.lua loads", function()
  it("the hub is out of reach", function()
    for _, attempt in ipairs(attempts) do
      expect(told[attempt[1]]).contains(attempt[1] .. " cannot be called while the app loads")
      expect(told[attempt[1]]).contains("on_start")
    end
  end)

  it("nothing waits", function()
    for _, wait in ipairs(waits) do
      expect(told[wait[1]]).contains("cannot wait inside ")
    end
  end)

  it("timers, rules, names and helpers are there", function()
    expect(cancelled_early).is(true)
    expect(defined_early).is(true)
    expect(room_early).is("r")
    expect(time_early).is(true)
    expect(limit_early).is(true)
    play.wait_for(function() return early > 1 end)
    expect(early_timer:cancel()).is(true)
    local _, a = play.connect()
    local _, b = play.connect()
    expect(a:join("early1")).is(true)
    expect(select(2, b:join("early1"))).is("full")
    play.reset()
  end)
end)

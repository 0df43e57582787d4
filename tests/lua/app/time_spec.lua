local spec, play = require "spec", require "play"
local it, expect, describe = spec.it, spec.expect, spec.describe

local function took(f, ...)
  local before = time.monotonic()
  f(...)
  return time.monotonic() - before
end

describe("sleep", function()
  it("waits as long as it is told, never less", function()
    for _, duration in ipairs { 0, 0.01, "10ms", "0.01s" } do
      local wanted = duration == 0 and 0 or 0.01
      local s = took(sleep, duration)
      expect(s >= wanted - 0.001 and s < wanted + 1).is(true)
    end
  end)

  it("waits wherever Lua can be", function()
    local co = coroutine.wrap(function()
      sleep(0.001)
      coroutine.yield(1)
      sleep(0.001)
      return 2
    end)
    expect(co()).is(1)
    expect(co()).is(2)
    expect(pcall(sleep, 0.001)).is(true)
    local t = { 3, 1, 2 }
    table.sort(t, function(a, b) sleep(0) return a < b end)
    expect(t).equals { 1, 2, 3 }
    expect((("abc"):gsub(".", function(c) sleep(0) return c:upper() end))).is("ABC")
    local mt = setmetatable({}, { __index = function(_, k) sleep(0) return k end })
    expect(mt.x).is("x")
    for v in function(_, i) sleep(0) if (i or 0) < 2 then return (i or 0) + 1 end end do
      expect(v <= 2).is(true)
    end
  end)

  it("names the argument that is wrong", function()
    local cases = {
      { nil, "bad argument 'seconds' (seconds or a text like \"5m\" expected, got nil)" },
      { {}, "bad argument 'seconds'" },
      { -1, "0 to 1e9 seconds expected" },
      { 0 / 0, "0 to 1e9 seconds expected" },
      { math.huge, "0 to 1e9 seconds expected" },
      { "soon", "\"soon\" is no duration" },
      { "5 years", "is no duration" },
      { "", "is no duration" },
    }
    for _, case in ipairs(cases) do
      expect(function() sleep(case[1]) end).fails_with(case[2])
    end
    expect(function() sleep() end).fails_with("got nothing")
  end)
end)

describe("timer", function()
  it("calls once after a while, with its arguments", function()
    local got
    local t = timer.after(0.01, function(...) got = table.pack(...) end, 1, nil, "x", nil)
    expect(type(t)).is("userdata")
    expect(getmetatable(t)).is(false)
    local s = took(play.wait_for, function() return got end)
    expect(s >= 0.009).is(true)
    expect(got).equals { 1, nil, "x", nil, n = 4 }
    expect(t:cancel()).is(false)
  end)

  it("calls again and again until it is cancelled", function()
    local n, t = 0, nil
    t = timer.every("2ms", function()
      n = n + 1
      if n == 3 then expect(t:cancel()).is(true) end
    end)
    play.wait_for(function() return n == 3 end)
    sleep(0.01)
    expect(n).is(3)
    expect(t:cancel()).is(false)
  end)

  it("leaves out ticks that find the last call under way", function()
    local running, most, n = 0, 0, 0
    local t = timer.every(0.001, function()
      running = running + 1
      most = math.max(most, running)
      n = n + 1
      sleep(0.01)
      running = running - 1
    end)
    play.wait_for(function() return n >= 3 end)
    t:cancel()
    expect(most).is(1)
    sleep(0.02)
    local after = n
    sleep(0.005)
    expect(n).is(after)
  end)

  it("does not call once it is cancelled, even if it was due", function()
    local called, timers = 0, {}
    for i = 1, 20 do
      timers[i] = timer.after(0.001, function()
        called = called + 1
        for k = 1, 20 do timers[k]:cancel() end
      end)
    end
    sleep(0.02)
    expect(called).is(1)
    local t = timer.after(0.005, error, "not this")
    expect(t:cancel()).is(true)
    expect(t:cancel()).is(false)
    sleep(0.01)
  end)

  it("goes on after an error in its function", function()
    local n = 0
    local t = timer.every(0.001, function() n = n + 1 error("a tick fails on purpose") end)
    play.wait_for(function() return n > 2 end)
    t:cancel()
  end)

  it("may cancel itself, and be collected before it fires", function()
    local n = 0
    timer.after(0.002, function() n = n + 1 end)
    collectgarbage()
    play.wait_for(function() return n == 1 end)
  end)

  it("has a bound", function()
    local timers, word = {}, nil
    for i = 1, 16385 do
      local t, err = timer.after(1000, print)
      if not t then
        word = err
        break
      end
      timers[i] = t
    end
    expect(word).is("quota")
    expect(#timers > 16000).is(true)
    for _, t in ipairs(timers) do t:cancel() end
    expect(timer.after(1000, print):cancel()).is(true)
  end)

  it("names the argument that is wrong", function()
    for _, make in ipairs { timer.after, timer.every } do
      expect(function() make("x", print) end).fails_with("bad argument 'seconds'")
      expect(function() make(1) end).fails_with("bad argument 'fn' (function expected, got nothing)")
      expect(function() make(1, "print") end).fails_with("bad argument 'fn'")
    end
    local t = timer.after(1000, print)
    expect(function() t.cancel() end).fails_with("bad argument 'timer' (timer expected, got nothing")
    expect(function() t.cancel(room("x")) end).fails_with("bad argument 'timer'")
    t:cancel()
  end)
end)

describe("time", function()
  it("tells the time of day and one that never jumps", function()
    local now = time.now()
    expect(math.type(now)).is("float")
    expect(math.abs(now - os.time()) < 2).is(true)
    local a = time.monotonic()
    sleep(0.002)
    local b = time.monotonic()
    expect(b > a and b - a < 1).is(true)
    -- To the millisecond and no finer.
    expect(math.abs(a * 1000 - math.floor(a * 1000 + 0.5)) < 1e-3).is(true)
  end)

  it("is written as RFC 3339 has it", function()
    expect(time.iso(0)).is("1970-01-01T00:00:00.000Z")
    expect(time.iso(951782400.5)).is("2000-02-29T00:00:00.500Z")
    expect(time.iso(1e9)).is("2001-09-09T01:46:40.000Z")
    expect(time.iso(253402300799)).is("9999-12-31T23:59:59.000Z")
    expect(time.iso(253402300799.9999)).is("9999-12-31T23:59:59.999Z")
    expect(time.iso()).matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$")
    for _, t in ipairs { -1, 253402300800, 0 / 0, math.huge, "0", {} } do
      expect(function() time.iso(t) end).fails_with("bad argument 't'")
    end
  end)
end)

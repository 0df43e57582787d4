-- Where a script is: as stock Lua tells it, at a cost that a deep stack does
-- not raise.
local spec = ...
local it, expect, describe = spec.it, spec.expect, spec.describe

describe("debug.traceback", function()
  it("tells all of a stack that is not long", function()
    local function deep(n) if n == 0 then return debug.traceback("here") end return (deep(n - 1)) end
    local trace = deep(30)
    expect(trace).matches("^here\nstack traceback:\n\t[^\n]+: in upvalue 'deep'\n")
    expect(trace).matches("skipping %d+ levels")
    expect(trace).matches("\n\t%[C%]: in function 'xpcall'\n") -- whoever runs this
  end)

  it("takes what the stock one takes", function()
    expect(debug.traceback("x", 100)).is("x\nstack traceback:")
    expect(debug.traceback(7, 100)).is("7\nstack traceback:")
    expect(debug.traceback(nil, 100)).is("stack traceback:")
    local t = {}
    expect(debug.traceback(t)).is(t)
    expect(function() debug.traceback("x", {}) end).fails_with("number expected")
    local co = coroutine.create(function() coroutine.yield() end)
    coroutine.resume(co)
    expect(debug.traceback(co, "co")).matches("^co\nstack traceback:\n\t%[C%]: in function 'coroutine.yield'\n")
    expect(debug.traceback(co, "co", 1)).matches("^co\nstack traceback:\n\t[^\n]+: in function <[^\n]+>$")
  end)

  it("tells where a long one is", function()
    local co = coroutine.create(function()
      local function deep(n) if n == 0 then coroutine.yield() end return 1 + deep(n - 1) end
      local x = deep(5000)
      return x
    end)
    coroutine.resume(co)
    local trace = debug.traceback(co, "long")
    expect(trace).matches("^long\nstack traceback:\n\t%[C%]: in [^\n]+yield'\n"
      .. "\t[^\n]+:%d+: in upvalue 'deep'\n")
    expect(trace).matches("\n\t%.%.%.\t%(and so on: over 2000 levels%)$")
    expect(select(2, trace:gsub("upvalue 'deep'", ""))).is(9)
    -- From a level on, as ever; of its outer end all.
    expect(debug.traceback(co, "x", 5001)).matches("^x\nstack traceback:\n"
      .. "\t[^\n]+: in [^\n]+ 'deep'\n\t[^\n]+: in function <[^\n]+>$")
    expect(debug.traceback(co, "x", 6000)).is("x\nstack traceback:")
    local t = {}
    expect(debug.traceback(co, t)).is(t)
  end)

  it("costs little where a recursion went far", function()
    local co = coroutine.create(function()
      local function deep(n) if n == 0 then coroutine.yield() end return 1 + deep(n - 1) end
      return deep(150000)
    end)
    coroutine.resume(co)
    local start = os.clock()
    for _ = 1, 4 do debug.traceback(co) end
    -- Lua's own takes 100 ms and more for one.
    expect(os.clock() - start < 0.1).is(true)
  end)

  it("is at hand where a recursion has no end", function()
    local function endless(x) local y = x return endless(y) + 1 end
    local _, trace = xpcall(endless, debug.traceback, 1)
    expect(trace).matches("stack overflow\nstack traceback:\n\t[^\n]+: in upvalue 'endless'\n")
  end)

  it("as a message handler tells of no one but the script", function()
    local _, trace = xpcall(function() local t = nil; return t.x end, debug.traceback)
    expect(trace).matches("attempt to index a nil value %(local 't'%)\n"
      .. "stack traceback:\n\t[^\n]+:%d+: in function <")
  end)
end)

-- Coroutines behave as in stock Lua, but for what the server must not allow.
local spec = ...
local it, expect, describe = spec.it, spec.expect, spec.describe

describe("coroutines", function()
  it("pass values both ways", function()
    local co = coroutine.create(function(a, b)
      local c = coroutine.yield(a + b)
      local d, e = coroutine.yield(c * 2)
      return d, e
    end)
    expect({ coroutine.resume(co, 1, 2) }).equals { true, 3 }
    expect({ coroutine.resume(co, 10) }).equals { true, 20 }
    expect({ coroutine.resume(co, "x", "y") }).equals { true, "x", "y" }
    expect({ coroutine.resume(co) }).equals { false, "cannot resume dead coroutine" }
  end)

  it("end with their error", function()
    local co = coroutine.create(function() error("oops", 0) end)
    expect({ coroutine.resume(co) }).equals { false, "oops" }
    expect(coroutine.status(co)).is("dead")
    local object = {}
    co = coroutine.create(function() error(object) end)
    expect(select(2, coroutine.resume(co))).is(object)
  end)

  it("know their status", function()
    local co, other
    other = coroutine.create(function()
      expect(coroutine.status(co)).is("normal")
      expect({ coroutine.resume(co) }).equals { false, "cannot resume non-suspended coroutine" }
    end)
    co = coroutine.create(function()
      expect(coroutine.status(co)).is("running")
      assert(coroutine.resume(other))
      coroutine.yield()
    end)
    expect(coroutine.status(co)).is("suspended")
    assert(coroutine.resume(co))
    expect(coroutine.status(co)).is("suspended")
    assert(coroutine.resume(co))
    expect(coroutine.status(co)).is("dead")
    expect(function() coroutine.status(1) end).fails_with("coroutine expected")
  end)

  it("are iterators when wrapped", function()
    local seen = {}
    for i in coroutine.wrap(function()
      for i = 1, 3 do
        coroutine.yield(i)
      end
    end) do
      seen[#seen + 1] = i
    end
    expect(seen).equals { 1, 2, 3 }
  end)

  it("raise when wrapped, with the caller's position", function()
    local f = coroutine.wrap(function() error("oops", 0) end)
    local ok, err = pcall(load("local f = ... f()", "=main.lua"), f)
    expect(ok).is(false)
    expect(err).is("main.lua:1: oops")
    expect(f).fails_with("cannot resume dead coroutine")
  end)

  it("close what they left open when wrapped and failed", function()
    local closed = spec.counted(1)
    local f = coroutine.wrap(function()
      local _ <close> = setmetatable({}, { __close = function() closed() end })
      error("oops")
    end)
    expect(f).fails_with("oops")
  end)

  it("yield through pcall, xpcall, metamethods and iterators", function()
    local t = setmetatable({}, { __index = function(_, k) return coroutine.yield(k) end })
    local co = coroutine.wrap(function()
      local ok, v = pcall(function() return t.a end)
      assert(ok and v == 1)
      local passed
      ok, passed = xpcall(function(x)
        coroutine.yield(x)
        error("inside", 0)
      end, function(err) return "handled " .. err end, "b")
      assert(not ok and passed == "handled inside")
      return "done"
    end)
    expect(co()).is("a")
    expect(co(1)).is("b")
    expect(co()).is("done")
  end)

  it("run inside each other, to a depth", function()
    local function nest(n)
      if n == 0 then
        return "bottom"
      end
      return coroutine.wrap(function() return nest(n - 1) end)()
    end
    expect(nest(30)).is("bottom")
    local ok, err = pcall(nest, 500)
    expect(ok).is(false)
    assert(err:find("C stack overflow", 1, true) or err:find("too many nested", 1, true), err)
  end)

  it("yield only from inside", function()
    expect(function() coroutine.yield() end).fails_with("outside a coroutine")
    expect(coroutine.isyieldable()).is(false)
    local co = coroutine.create(function() return coroutine.isyieldable() end)
    expect(coroutine.isyieldable(co)).is(true)
    expect({ coroutine.resume(co) }).equals { true, true }
  end)

  it("do not keep each other alive", function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local co = coroutine.create(function() coroutine.yield() end)
      coroutine.resume(co)
      weak[co] = true
    end
    collectgarbage()
    expect(next(weak)).is(nil)
  end)
end)

describe("the server's thread", function()
  it("is called the main one", function()
    local thread, is_main = coroutine.running()
    expect(is_main).is(true)
    expect(coroutine.status(thread)).is("running")
    local co = coroutine.create(function() return coroutine.running() end)
    expect({ coroutine.resume(co) }).equals { true, co, false }
  end)

  it("can be neither resumed nor closed", function()
    local thread = coroutine.running()
    expect({ coroutine.resume(thread) }).equals { false, "cannot resume non-suspended coroutine" }
    expect(function() coroutine.close(thread) end).fails_with("cannot close a running coroutine")
    local co = coroutine.wrap(function()
      expect(coroutine.status(thread)).is("normal")
      expect({ coroutine.resume(thread) }).equals { false,
        "cannot resume non-suspended coroutine" }
      expect(function() coroutine.close(thread) end).fails_with("cannot close a normal coroutine")
      expect(coroutine.isyieldable(thread)).is(false)
      return "ok"
    end)
    expect(co()).is("ok")
  end)
end)

describe("coroutine.close", function()
  it("closes variables, and reports their errors", function()
    local closed = spec.counted(1)
    local co = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function() closed() end })
      coroutine.yield()
    end)
    coroutine.resume(co)
    expect(coroutine.close(co)).is(true)
    expect(coroutine.status(co)).is("dead")
    expect(coroutine.close(co)).is(true)

    co = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function() error("in close", 0) end })
      coroutine.yield()
    end)
    coroutine.resume(co)
    expect({ coroutine.close(co) }).equals { false, "in close" }

    co = coroutine.create(function() error("died", 0) end)
    coroutine.resume(co)
    expect({ coroutine.close(co) }).equals { false, "died" }
  end)

  it("is refused inside xpcall, whose handler Lua would lose", function()
    local co = coroutine.create(function()
      xpcall(function()
        local _ <close> = setmetatable({}, { __close = function() error("x") end })
        coroutine.yield()
      end, function(err) return err end)
      coroutine.yield("outside")
    end)
    coroutine.resume(co)
    expect(function() coroutine.close(co) end).fails_with("inside xpcall")
    expect(coroutine.status(co)).is("suspended")
    -- It goes on, and once the xpcall is over it can be closed.
    expect({ coroutine.resume(co) }).equals { true, "outside" }
    expect(coroutine.close(co)).is(true)
  end)

  it("is refused inside nested xpcalls until the last has ended", function()
    local co = coroutine.create(function()
      xpcall(xpcall, print, function()
        coroutine.yield(1)
        error("x")
      end, function() return "handled" end)
      coroutine.yield(2)
    end)
    expect({ coroutine.resume(co) }).equals { true, 1 }
    expect(function() coroutine.close(co) end).fails_with("inside xpcall")
    expect({ coroutine.resume(co) }).equals { true, 2 }
    expect(coroutine.close(co)).is(true)
  end)

  it("inside close inside close does not run off the stack", function()
    local co = false
    local errors = {}
    for _ = 1, 20000 do
      local previous = co
      co = coroutine.create(function()
        local _ <close> = setmetatable({}, {
          __close = function()
            if previous then
              local ok, err = pcall(coroutine.close, previous)
              errors[#errors + 1] = not ok and err or nil
            end
          end,
        })
        coroutine.yield()
      end)
      coroutine.resume(co)
    end
    expect(coroutine.close(co)).is(true)
    expect(#errors).is(1)
    expect(errors[1]).contains("too many nested coroutines")
  end)

  it("inside deep calls inside close does not run off the stack", function()
    -- Each close starts from a fresh count of C calls: 150 levels of gsub in
    -- each of them would be more than any stack has.
    local function deep(n, f)
      if n == 0 then
        return f()
      end
      ("x"):gsub("x", function() deep(n - 1, f) end)
    end
    local co = false
    local refused = false
    for _ = 1, 50 do
      local previous = co
      co = coroutine.create(function()
        local _ <close> = setmetatable({}, {
          __close = function()
            deep(150, function()
              if previous then
                local ok = pcall(coroutine.close, previous)
                refused = refused or not ok
              end
            end)
          end,
        })
        coroutine.yield()
      end)
      coroutine.resume(co)
    end
    coroutine.close(co)
    expect(refused).is(true)
  end)
end)

describe("xpcall", function()
  it("passes arguments and results", function()
    expect({ xpcall(function(...) return ... end, print, 1, nil, 3) }).equals { true, 1, nil, 3 }
    expect({ xpcall(error, function(err) return err .. "!" end, "oops", 0) }).equals { false,
      "oops!" }
    expect(function() xpcall(print) end).fails_with("bad argument #2 to 'xpcall'")
    expect(function() xpcall(print, {}) end).fails_with("function expected")
    expect(xpcall(nil, tostring)).is(false)
  end)

  it("survives an error in its handler", function()
    local ok = xpcall(error, function() error("again") end, "first")
    expect(ok).is(false)
  end)
end)

describe("pcall", function()
  it("passes arguments and results", function()
    expect({ pcall(function(...) return ... end, 1, 2) }).equals { true, 1, 2 }
    expect(select("#", pcall(function() return nil, nil end))).is(3)
    expect({ pcall(error) }).equals { false }
    expect({ pcall(error, "x", 0) }).equals { false, "x" }
    expect(function() pcall() end).fails_with("value expected")
    expect(pcall(nil)).is(false)
  end)
end)

local spec, play = require "spec", require "play"
local it, expect, describe = spec.it, spec.expect, spec.describe

describe("task.spawn", function()
  it("calls a function on its own, later", function()
    local got
    expect(task.spawn(function(...) got = table.pack(...) end, 1, nil, 3, nil)).is(true)
    expect(got).is(nil)
    play.wait_for(function() return got end)
    expect(got).equals { 1, nil, 3, nil, n = 4 }
  end)

  it("takes C functions and many arguments", function()
    local n
    local many = {}
    for i = 1, 2000 do many[i] = i end
    task.spawn(function(...) n = select("#", ...) end, table.unpack(many))
    task.spawn(type, 1)
    play.wait_for(function() return n end)
    expect(n).is(2000)
  end)

  it("does not care for an error", function()
    local after
    task.spawn(error, "a task fails on purpose")
    task.spawn(function() after = true end)
    play.wait_for(function() return after end)
  end)

  it("names the argument that is wrong", function()
    expect(function() task.spawn() end).fails_with("bad argument 'fn' (function expected, got nothing)")
    expect(function() task.spawn({}) end).fails_with("bad argument 'fn'")
  end)
end)

describe("task.all", function()
  it("runs all at once and gives the first result of each", function()
    local before = time.monotonic()
    local results = task.all {
      function() sleep(0.02) return "a", "not this" end,
      function() sleep(0.02) return nil end,
      function() return 3 end,
      function() end,
    }
    expect(time.monotonic() - before < 0.039).is(true)
    expect(results).equals { [1] = "a", [3] = 3 }
    expect(task.all {}).equals({})
  end)

  it("waits for all and raises the first error", function()
    local ended = 0
    expect(function()
      task.all {
        function() sleep(0.005) ended = ended + 1 end,
        function() error("the first") end,
        function() sleep(0.002) error("the second") end,
        function() sleep(0.005) ended = ended + 1 end,
      }
    end).fails_with("the first")
    expect(ended).is(2)
    local ok, err = pcall(task.all, { function() error({ code = 5 }) end })
    expect(ok).is(false)
    expect(err).equals { code = 5 }
    ok, err = pcall(task.all, { function() error() end })
    expect(ok).is(false)
    expect(err).is(nil)
  end)

  it("can be nested", function()
    local function level(n)
      if n == 0 then return 1 end
      local r = task.all { function() return level(n - 1) end, function() return level(n - 1) end }
      return r[1] + r[2]
    end
    expect(level(5)).is(32)
  end)

  it("names the argument that is wrong, and starts none then", function()
    local started = false
    expect(function() task.all() end).fails_with("bad argument 'functions' (table expected, got nothing)")
    expect(function() task.all(print) end).fails_with("bad argument 'functions'")
    expect(function()
      task.all { function() started = true end, "x" }
    end).fails_with("task.all: entry 2 is not a function")
    sleep(0.002)
    expect(started).is(false)
    local many = {}
    for i = 1, 4097 do many[i] = print end
    local ok, word = task.all(many)
    expect(ok).is(nil)
    expect(word).is("quota")
  end)
end)

describe("lock", function()
  it("lets one in at a time, first come first served", function()
    local order, inside = {}, 0
    local functions = {}
    for i = 1, 5 do
      functions[i] = function()
        lock("door", function(n)
          inside = inside + 1
          expect(inside).is(1)
          sleep(0.001)
          inside = inside - 1
          order[#order + 1] = n
        end, i)
      end
    end
    task.all(functions)
    expect(order).equals { 1, 2, 3, 4, 5 }
  end)

  it("gives what the function gives", function()
    expect({ lock("l", function(...) return ... end, 1, nil, 3) }).equals { 1, nil, 3 }
    expect(select("#", lock("l", function() end))).is(0)
    expect(lock("l", math.max, 3, 9, 5)).is(9)
  end)

  it("is freed by an error, which passes through", function()
    expect(function() lock("l", function() error("on purpose") end) end).fails_with("on purpose")
    expect(lock("l", function() return "free" end)).is("free")
    local ok, err = pcall(lock, "l", error, { code = 1 })
    expect(ok).is(false)
    expect(err).equals { code = 1 }
  end)

  it("knows its name from others", function()
    local r = task.all {
      function() return lock("a", function() sleep(0.01) return 1 end) end,
      function() return lock("b", function() return 2 end) end,
      function() return lock("a\0", function() return 3 end) end,
    }
    expect(r).equals { 1, 2, 3 }
    expect(lock("outer", function() return lock("inner", function() return 4 end) end)).is(4)
  end)

  it("names the argument that is wrong", function()
    expect(function() lock() end).fails_with("bad argument 'name' (string expected, got nothing)")
    expect(function() lock("") end).fails_with("bad argument 'name' (1 to 128 bytes")
    expect(function() lock(("x"):rep(129), print) end).fails_with("got 129")
    expect(function() lock("x") end).fails_with("bad argument 'fn' (function expected, got nothing)")
    expect(function() lock("x", {}) end).fails_with("bad argument 'fn'")
  end)

  it("has a bound on how many are held at once", function()
    -- Nested as deep as Lua lets C functions be, in many tasks.
    local n, quota, hold = 0, false, true
    local function deeper(prefix, depth)
      n = n + 1
      if depth == 0 or quota then
        play.wait_for(function() return not hold end)
        return
      end
      local ok, word = lock(prefix .. depth, deeper, prefix, depth - 1)
      if ok == nil and word == "quota" then
        quota = true
      end
    end
    for i = 1, 60 do
      task.spawn(deeper, "task" .. i .. "/", 80)
    end
    play.wait_for(function() return quota end, "the bound")
    hold = false
    expect(n > 4000).is(true)
    play.wait_for(function()
      return lock("again", function() return true end) == true
    end)
  end)
end)

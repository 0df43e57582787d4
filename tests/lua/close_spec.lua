-- Variables that are to be closed are closed: once each, in time, in order,
-- whichever way a block is left. Lua 5.4.4 by itself does not, for the closing
-- value of a loop that is left by a break out of a block with captured
-- variables, and writes all over the memory when the next one comes.
local spec = ...
local it, expect, describe = spec.it, spec.expect, spec.describe

local log = {}

local function closing(name)
  return setmetatable({}, { __close = function() log[#log + 1] = name end })
end

local function ones() return 1 end

local function run(f, ...)
  log = {}
  f(...)
  return table.concat(log, " ")
end

describe("the closing value of a loop", function()
  it("is closed by a break out of a block with a captured variable", function()
    local keep
    expect(run(function()
      for x in ones, nil, nil, closing("loop") do
        local y = x
        keep = function() return y end
        do if x then break end end
      end
      log[#log + 1] = "after"
      local _ <close> = closing("next")
    end)).is("loop after next")
    expect(keep()).is(1)
  end)

  it("is closed by a break out of a block with a closed variable", function()
    expect(run(function()
      for x in ones, nil, nil, closing("loop") do
        do
          local _ <close> = closing("inner")
          if x then break end
        end
      end
      log[#log + 1] = "after"
      local _ <close> = closing("next")
    end)).is("inner loop after next")
  end)

  it("is closed at the natural end of a loop that has such a break", function()
    local keep
    expect(run(function(n)
      for x in function() n = n - 1 return n > 0 and n or nil end, nil, nil, closing("loop") do
        do
          local y = x
          keep = function() return y end
          if x > 5 then break end
        end
      end
      log[#log + 1] = "after"
      local _ <close> = closing("next")
    end, 3)).is("loop after next")
    expect(keep()).is(1)
  end)

  it("is closed in functions inside functions, and in what load makes", function()
    local source = [[
      local ones, closing, log = ...
      return function() return function()
        for x in ones, nil, nil, closing("loop") do
          do local _ <close> = closing("inner") if x then break end end
        end
        log("after")
        local _ <close> = closing("next")
      end end
    ]]
    local function add(text) log[#log + 1] = text end
    expect(run(load(source)(ones, closing, add)())).is("inner loop after next")
    local at = 0
    local pieces = load(function()
      at = at + 7
      return source:sub(at - 6, at)
    end)
    expect(run(pieces(ones, closing, add)())).is("inner loop after next")
  end)

  it("is closed when loops are inside each other", function()
    expect(run(function()
      for x in ones, nil, nil, closing("a") do
        for y in ones, nil, nil, closing("b") do
          do local _ <close> = closing("c") if y then break end end
        end
        do local _ <close> = closing("d") if x then break end end
      end
      local _ <close> = closing("e")
    end)).is("c b d a e")
  end)

  it("is closed once by a return, a goto and an error", function()
    expect(run(function()
      for x in ones, nil, nil, closing("loop") do
        do local _ <close> = closing("inner") if x then return end end
      end
    end)).is("inner loop")
    expect(run(function()
      for x in ones, nil, nil, closing("loop") do
        do local _ <close> = closing("inner") if x then goto out end end
      end
      ::out::
      local _ <close> = closing("next")
    end)).is("inner loop next")
    expect(run(function()
      pcall(function()
        for x in ones, nil, nil, closing("loop") do
          do local _ <close> = closing("inner") if x < 2 then error("x") end end
          do local _ <close> = closing("never") if x then break end end
        end
      end)
      local _ <close> = closing("next")
    end)).is("inner loop next")
  end)
end)

-- Programs made at random, of loops in all forms, blocks, gotos, breaks,
-- returns, captured variables and closed ones: whatever was made is closed
-- once, and what is left behind is not.
local dice = 1

local function roll(n)
  dice = (dice * 1103515245 + 12345) % 2147483648
  return dice // 65536 % n + 1
end

local labels = 0
local statement

local function block(depth, in_loop)
  local out = {}
  for i = 1, roll(4) do
    out[i] = statement(depth, in_loop)
  end
  return table.concat(out, " ")
end

local leaves = {
  function() return ("local c%d <close> = make()"):format(roll(9)) end,
  function() return "do local u = roll(9) keep[roll(5)] = function() u = u + 1 return u end end" end,
  function(in_loop) return in_loop and "if roll(3) == 1 then break end" or "v = v + 1" end,
  function() return "if roll(12) == 1 then do return end end" end,
  function() return ("local a%d = roll(9)"):format(roll(9)) end,
}

local branches = {
  function(b) return ("do %s end"):format(b()) end,
  function(b) return ("for i = 1, roll(3) do keep[roll(5)] = function() return i end %s end"):format(b(true)) end,
  function(b) return ("for x in three(), nil, nil, make() do %s end"):format(b(true)) end,
  function(b) return ("for x in three(), nil, nil, make() do local y = x keep[1] = function() return y, x end %s end")
    :format(b(true)) end,
  function(b) return ("do local w = 0 while w < 2 do w = w + 1 %s end end"):format(b(true)) end,
  function(b) return ("do local r = 0 repeat r = r + 1 local z = r keep[2] = function() return z end %s until z > 1 end")
    :format(b(true)) end,
  function(b, in_loop)
    labels = labels + 1
    return ("do %s if roll(2) == 1 then goto l%d end do %s end ::l%d:: end"):format(
      b(in_loop), labels, b(in_loop), labels)
  end,
  function()
    labels = labels + 1
    return ("do local n = 0 ::l%d:: n = n + 1 local q <close> = make() if n < 3 and roll(2) == 1 then goto l%d end end")
      :format(labels, labels)
  end,
}

function statement(depth, in_loop)
  if depth == 0 or roll(2) == 1 then
    return leaves[roll(#leaves)](in_loop)
  end
  return branches[roll(#branches)](function(inside)
    return block(depth - 1, inside or in_loop)
  end, in_loop)
end

local function three()
  local n = 0
  return function()
    n = n + 1
    return n <= 3 and n or nil
  end
end

local function run_random(f)
  local made, closed, open = 0, 0, {}
  local meta = {
    __close = function(o)
      assert(open[o], "closed twice, or never made")
      open[o] = nil
      closed = closed + 1
    end,
  }
  local function make()
    local o = setmetatable({}, meta)
    open[o] = true
    made = made + 1
    return o
  end
  local keep = {}
  coroutine.wrap(f)(roll, make, three, keep)
  for _, g in pairs(keep) do
    g()
  end
  return made, closed
end

describe("programs at random", function()
  it("close what they made", function()
    local ran, all = 0, 0
    for seed = 1, 1500 do
      dice = seed
      local source = "local roll, make, three, keep = ... local v = 0 " .. block(4, false)
      local f = load(source)
      -- A goto may jump into the scope of a local: that is no program.
      if f then
        local ok, made, closed = pcall(run_random, f)
        if not ok or made ~= closed then
          error(("seed %d: %s %s\n%s"):format(seed, made, closed or "", source))
        end
        ran, all = ran + 1, all + made
      end
    end
    assert(ran > 1000 and all > 5000, ran .. " " .. all)
  end)
end)

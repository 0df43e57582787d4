-- Known ways out of a Lua sandbox, tried.
local spec = ...
local it, expect, describe = spec.it, spec.expect, spec.describe

describe("bytecode", function()
  it("cannot be made", function()
    expect(function() return string.dump(function() end) end).fails_with("not available")
    expect(function() return (""):dump() end).fails_with("not available")
  end)

  it("cannot be loaded, whatever the mode says", function()
    local binary = "\27Lua\x54\0\x19\x93\r\n\x1a\n"
    for _, mode in ipairs { "b", "bt", "t", "tb" } do
      local f, err = load(binary, "x", mode)
      expect(f).is(nil)
      expect(err).contains("binary chunk")
    end
    local f, err = load(binary)
    expect(f).is(nil)
    expect(err).contains("binary chunk")
  end)

  it("cannot be loaded in pieces", function()
    local pieces = { "\27", "Lua", "\x54" }
    local i = 0
    local f, err = load(function()
      i = i + 1
      return pieces[i]
    end)
    expect(f).is(nil)
    expect(err).contains("binary chunk")
  end)
end)

describe("finalizers", function()
  it("are refused", function()
    expect(function() setmetatable({}, { __gc = function() end }) end).fails_with(
      "__gc is not available to apps")
    expect(function() setmetatable({}, { __gc = false }) end).fails_with("__gc")
  end)

  it("do not come in by the back door", function()
    local ran = false
    local mt = {}
    setmetatable({}, mt)
    mt.__gc = function() ran = true end
    collectgarbage()
    collectgarbage()
    expect(ran).is(false)
    -- A `__gc` that only an `__index` shows is none.
    setmetatable({}, setmetatable({}, { __index = { __gc = function() ran = true end } }))
    collectgarbage()
    expect(ran).is(false)
  end)
end)

-- Where this matters Lua is 5.4.4 as patched against CVE-2022-33099: if the
-- stack moves while `__concat` runs, `..` goes on in freed memory.
describe("the concatenation of tables", function()
  local function deep(n) return n == 0 and 0 or 1 + deep(n - 1) end

  it("does not go on where the stack was", function()
    local mt = {}
    local o = setmetatable({}, mt)
    mt.__concat = function() deep(150) return "x" end
    for _ = 1, 20 do
      local ok, r = coroutine.resume(coroutine.create(function()
        local a, b = "A", "s"
        return a .. b .. o
      end))
      expect(ok and r or r:match("attempt to concatenate a table value") and "Ax").is("Ax")
    end
  end)

  it("is there, or is refused early", function()
    local ok, r = pcall(setmetatable, {}, { __concat = function() return "x" end })
    if ok then
      expect(r .. "y").is("x")
    else
      expect(r).contains("__concat is not available to apps")
    end
  end)

  -- It has another name then, which must not be found out: whoever knows it
  -- needs luck with its hash, and has metamethods that Lua is not safe with.
  it("is not found by a name that a traceback tells", function()
    local function trace(message) return debug.traceback(message) end
    local seen = { select(2, xpcall(function() return {} .. nil end, trace)),
      select(2, xpcall(function() return {} .. nil end, debug.traceback)) }
    for _, text in ipairs(seen) do
      local name = text:match("in metamethod '(.-)'\n")
      expect(name == nil or name == "concat" or name == "").is(true)
    end
  end)
end)

-- Before Lua 5.4.8 a table that is found as `__newindex` through a weak value
-- may be freed while it grows.
describe("weak tables", function()
  local function is_weak(t)
    t[{}] = true
    t[1] = {}
    collectgarbage()
    return next(t) == nil, t[1] == nil
  end

  it("may have weak keys", function()
    local t = setmetatable({}, { __mode = "k" })
    t[{}] = true
    collectgarbage()
    expect(next(t)).is(nil)
    expect(getmetatable(t) == nil).is(false)
  end)

  it("have weak values where that is safe", function()
    local ok, t = pcall(setmetatable, {}, { __mode = "v" })
    if not ok then
      expect(t).contains("weak values are not available to apps")
      expect(function() setmetatable({}, { __mode = "vk" }) end).fails_with("weak values")
      expect(function() setmetatable({}, { __mode = "k", __index = {} }) end).fails_with("__mode")
      local mt = {}
      t = setmetatable({}, mt)
      for _, mode in ipairs { "v", "kv", "k" } do
        mt.__mode = mode
        local keys, values = is_weak(t)
        expect(keys).is(false)
        expect(values).is(false)
      end
    else
      t[1] = {}
      collectgarbage()
      expect(t[1]).is(nil)
    end
  end)

  it("do not lend the metatable that makes them so", function()
    local t = setmetatable({}, { __mode = "k" })
    if getmetatable(t) == false then
      expect(function() setmetatable(t, {}) end).fails_with("protected metatable")
      expect(function() setmetatable(t, nil) end).fails_with("protected metatable")
    end
  end)
end)

describe("the string metatable", function()
  it("cannot be had", function()
    expect(getmetatable("")).is(false)
    expect(function() return getmetatable("").__index end).fails_with("attempt to index")
    expect(function() setmetatable("", {}) end).fails_with("bad argument")
  end)

  it("leads to the script's own string library", function()
    expect(("x").rep).is(string.rep)
    expect(("%s"):format("a")).is("a")
    local saved = string.upper
    rawset(string, "upper", function() return "mine" end)
    expect(("x"):upper()).is("mine")
    rawset(string, "upper", saved)
  end)
end)

describe("metatables", function()
  it("that are protected stay", function()
    local t = setmetatable({}, { __metatable = "locked" })
    expect(getmetatable(t)).is("locked")
    expect(function() setmetatable(t, {}) end).fails_with("cannot change a protected metatable")
    expect(function() setmetatable(t, nil) end).fails_with("protected")
  end)

  it("can be set and taken away otherwise", function()
    local mt = { __index = { a = 1 } }
    local t = {}
    expect(setmetatable(t, mt)).is(t)
    expect(t.a).is(1)
    setmetatable(t, nil)
    expect(t.a).is(nil)
    expect(function() setmetatable({}) end).fails_with("nil or table expected")
    expect(function() setmetatable({}, 1) end).fails_with("nil or table expected")
    expect(function() setmetatable(1, {}) end).fails_with("table expected")
  end)
end)

describe("load", function()
  it("takes text, a name and an environment", function()
    expect(load("return 1 + 1")()).is(2)
    expect(load("return x", "name", "t", { x = 7 })()).is(7)
    expect(load("return ...", "name", "bt")(3)).is(3)
    local pieces = { nil, 2, 4, "return " } -- numbers are text, too
    expect(load(function() return table.remove(pieces) end)()).is(42)
    local f, err = load("return +", "=here")
    expect(f).is(nil)
    expect(err).contains("here:1:")
    expect(load("return x", "n", "t", nil)).is_a("function")
    expect(function() load("return x", "n", "t", nil)() end).fails_with("attempt to index")
  end)

  it("takes pieces from a function", function()
    local pieces = { "return ", "1", " + 2", nil }
    local i = 0
    expect(load(function()
      i = i + 1
      return pieces[i]
    end)()).is(3)
    expect(load(function() return nil end)).is_a("function")
    local f, err = load(function() error("no more", 0) end)
    expect(f).is(nil)
    expect(err).contains("no more")
    f, err = load(function() return {} end)
    expect(f).is(nil)
    expect(err).contains("must return a string")
  end)

  it("reads the globals of this state when it is given no environment", function()
    expect(load("return _G")()).is(_G)
  end)

  it("does not take more than a mebibyte", function()
    local long = (" "):rep(1024 * 1024)
    expect(load(long)).is_a("function")
    local f, err = load(long .. " ")
    expect(f).is(nil)
    expect(err).contains("too long")
    f, err = load(function() return long end)
    expect(f).is(nil)
    expect(err).contains("too long")
  end)
end)

describe("endless loops in C", function()
  it("of string.rep end at once", function()
    expect((""):rep(1 << 60)).is("")
    expect((""):rep(1 << 60, "")).is("")
    expect(("ab"):rep(3, "-")).is("ab-ab-ab")
    expect(("ab"):rep(0)).is("")
    expect(("ab"):rep(-1, "x")).is("")
    expect((""):rep(3, "x")).is("xx")
    expect(function() (""):rep() end).fails_with("number expected")
  end)

  it("over fake lengths are refused", function()
    local long = setmetatable({}, { __len = function() return 1 << 50 end })
    expect(function() table.insert(long, 1, 1) end).fails_with("too long")
    expect(function() table.remove(long, 1) end).fails_with("too long")
    expect(function() table.concat(long) end).fails_with("too long")
    expect(function() table.sort(long, function() return false end) end).fails_with("too long")
    expect(function() table.move({}, 1, 1e15, 2) end).fails_with("too long")
    expect(function() table.move({}, math.mininteger, math.maxinteger, 2) end).fails_with("too")
    expect(function() table.concat({}, "", 1, 1 << 50) end).fails_with("too long")
    expect(function() table.concat({}, "", math.mininteger) end).fails_with("too long")
    expect(function() table.unpack({}, 1, 1e7) end).fails_with("too many results")
  end)

  it("over lengths that a plain table makes up are refused", function()
    local t = {}
    for i = 0, 61 do
      t[1 << i] = true
    end
    t[3] = true
    if #t > 1e8 then
      expect(function() table.insert(t, 1, 1) end).fails_with("too long")
    end
  end)

  it("are judged by what the app has room for", function()
    -- A million items that are made up as they are read are fine; twenty
    -- million would have to lie somewhere.
    local made_up = { __len = function() return 1000000 end, __index = function() return "x" end }
    expect(#table.concat(setmetatable({}, made_up))).is(1000000)
    expect(function() table.move({}, 1, 2e7, 2) end).fails_with("too long")
    expect(function() table.concat({}, "", 1, 2e7) end).fails_with("too long")
    local long = setmetatable({}, { __len = function() return 20000000 end })
    expect(function() table.insert(long, 1, 1) end).fails_with("too long")
    expect(function() table.remove(long, 1) end).fails_with("too long")
    -- An honest table of any length passes.
    local honest = {}
    for i = 1, 1200000 do
      honest[i] = i
    end
    expect(#table.move(honest, 1, #honest, 2)).is(1200001)
    table.insert(honest, 1, 0)
    expect(table.remove(honest, 1)).is(0)
  end)

  it("do not cost the table library its use", function()
    local t = { 3, 1, 2 }
    table.sort(t)
    expect(t).equals { 1, 2, 3 }
    table.insert(t, 4)
    table.insert(t, 1, 0)
    expect(t).equals { 0, 1, 2, 3, 4 }
    expect(table.remove(t)).is(4)
    expect(table.remove(t, 1)).is(0)
    expect(table.concat(t, ",")).is("1,2,3")
    expect(table.concat(t, ",", 2, 3)).is("2,3")
    expect(table.concat(t, ",", 3, 1)).is("")
    expect(table.move({ 1, 2, 3 }, 2, 3, 1)).equals { 2, 3, 3 }
    expect(function() table.insert({}, 5, 1) end).fails_with("position out of bounds")
    expect(function() table.insert(1, 2) end).fails_with("table expected")
    expect(function() table.insert({}) end).fails_with("wrong number of arguments to 'insert'")
  end)
end)

describe("depth", function()
  it("of recursion ends in an error", function()
    local function deep(n) return 1 + deep(n + 1) end
    expect(function() deep(1) end).fails_with("stack overflow")
    local function nested() return ("x"):gsub(".", nested) end
    expect(nested).fails_with("C stack overflow")
  end)

  it("of pcall in pcall ends in an error", function()
    local function nested() return select(2, pcall(nested)) end
    expect(pcall(nested)).is(true)
  end)
end)

-- What a script sees, name by name: a name more is a hole, a name less is a
-- broken app.
local spec = ...
local it, expect, describe = spec.it, spec.expect, spec.describe

local libraries = {
  coroutine = "close create isyieldable resume running status wrap yield",
  debug = "traceback",
  math = "abs acos asin atan ceil cos deg exp floor fmod huge log max maxinteger min mininteger "
    .. "modf pi rad random randomseed sin sqrt tan tointeger type ult",
  os = "clock date time",
  string = "byte char find format gmatch gsub len lower match pack packsize rep reverse sub "
    .. "unpack upper",
  table = "concat insert move pack remove sort unpack",
  utf8 = "char charpattern codepoint codes len offset",
}

local globals = "_G _VERSION assert collectgarbage error getmetatable ipairs load next pairs "
  .. "pcall rawequal rawget rawlen rawset select setmetatable tonumber tostring type xpcall"

-- Names that are there to say that they are not.
local refusing = {
  "dofile", "loadfile", "require", "warn", "string.dump",
  "os.difftime", "os.execute", "os.exit", "os.getenv", "os.remove", "os.rename", "os.setlocale",
  "os.tmpname",
  "debug.debug", "debug.gethook", "debug.getinfo", "debug.getlocal", "debug.getmetatable",
  "debug.getregistry", "debug.getupvalue", "debug.getuservalue", "debug.sethook",
  "debug.setlocal", "debug.setmetatable", "debug.setupvalue", "debug.setuservalue",
  "debug.upvalueid", "debug.upvaluejoin",
}

local function find(name)
  local library, field = name:match("^(%w+)%.(%w+)$")
  if library then
    return _G[library][field]
  end
  return _G[name]
end

-- The runner's own additions.
local extra = { print = true, json = true, io = true, package = true }

describe("the allowlist", function()
  it("has every name that it promises", function()
    for name in globals:gmatch("%S+") do
      assert(_G[name] ~= nil, name)
    end
    for library, names in pairs(libraries) do
      for name in names:gmatch("%S+") do
        assert(_G[library][name] ~= nil, library .. "." .. name)
      end
    end
  end)

  it("has no other global", function()
    local known = {}
    for name in globals:gmatch("%S+") do
      known[name] = true
    end
    for _, name in ipairs(refusing) do
      known[name] = true
    end
    for name in next, _G do
      assert(known[name] or libraries[name] or extra[name], name)
    end
  end)

  it("has no other field in any library", function()
    for library, names in pairs(libraries) do
      local known = {}
      for name in names:gmatch("%S+") do
        known[name] = true
      end
      for _, name in ipairs(refusing) do
        known[name:match("^" .. library .. "%.(.*)$") or false] = true
      end
      for name in next, _G[library] do
        assert(known[name], library .. "." .. name)
      end
    end
  end)

  it("says of each name left out that it is", function()
    for _, name in ipairs(refusing) do
      expect(find(name)).is_a("function")
      expect(find(name)).fails_with(name .. " is not available to apps")
    end
  end)

  it("names the line that called what is not there", function()
    local f = load("local x = 1\nos.execute('ls')", "=main.lua")
    local _, err = pcall(f)
    expect(err).is("main.lua:2: os.execute is not available to apps")
  end)

  it("refuses io and package at the first look", function()
    expect(function() return io.open end).fails_with("io.open is not available to apps")
    expect(function() io.write("x") end).fails_with("io.write is not available to apps")
    expect(function() return package.path end).fails_with("package.path is not available to apps")
    local key = 1
    local module = _G["io"]
    expect(function() return module[key] end).fails_with("io is not available to apps")
    expect(getmetatable(io)).is(false)
  end)

  it("knows its globals table by name", function()
    expect(_G._G).is(_G)
    expect(_VERSION).is("Lua 5.4")
  end)
end)

describe("collectgarbage", function()
  it("counts, steps and collects", function()
    expect(collectgarbage("count")).is_a("number")
    assert(collectgarbage("count") > 1)
    expect(collectgarbage("step")).is_a("boolean")
    expect(collectgarbage("collect")).is(0)
    expect(collectgarbage()).is(0)
  end)

  it("does not tune the collector", function()
    for _, option in ipairs { "stop", "restart", "incremental", "generational", "isrunning",
      "setpause", "setstepmul", "nonsense" } do
      expect(function() collectgarbage(option) end).fails_with(
        'collectgarbage("' .. option .. '") is not available to apps')
    end
  end)
end)

describe("math.random", function()
  it("needs no seed and takes one", function()
    local a = math.random()
    assert(a >= 0 and a < 1)
    math.randomseed(42)
    local first = { math.random(1000), math.random(1000), math.random(1000) }
    math.randomseed(42)
    expect({ math.random(1000), math.random(1000), math.random(1000) }).equals(first)
  end)

  it("is seeded anew without telling with what", function()
    expect(select("#", math.randomseed())).is(0)
    local a = math.random(0)
    math.randomseed()
    assert(a ~= math.random(0))
  end)
end)

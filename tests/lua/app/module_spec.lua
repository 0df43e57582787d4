local spec = require "spec"
local it, expect, describe = spec.it, spec.expect, spec.describe

describe("require", function()
  it("loads one of the app's files, once", function()
    local a = require "lib.values"
    expect(a.name).is("lib.values")
    expect(a.times).is(1)
    expect(require "lib.values").is(a)
    expect(require("lib.package").is).is("init.lua")
    expect(require "lib.nothing").is(true)
  end)

  it("sees no other file, and says so", function()
    for _, name in ipairs { "nowhere", "lib", "/etc/passwd", "..", "../x", "lib.values.lua", "io",
      "lib/values\0" } do
      expect(function() require(name) end).fails_with("is not among the app's files")
    end
    expect(function() require() end).fails_with("bad argument 'module' (string expected, got nothing)")
    expect(function() require(5) end).fails_with("bad argument 'module'")
    expect(function() require("") end).fails_with("bad argument 'module'")
  end)

  it("tells where a module is broken, and may try it again", function()
    expect(function() require "lib.syntax" end).fails_with("lib/syntax.lua:2:")
    for _ = 1, 2 do
      expect(function() require "lib.raises" end).fails_with("lib/raises.lua:1: on purpose")
    end
    expect(function() require "lib.circle" end).fails_with("module 'lib.circle' requires itself")
    expect(function() require "lib.circle" end).fails_with("requires itself")
  end)

  it("does not wait", function()
    expect(function() require "lib.waits" end).fails_with(
      "cannot wait inside a module that is being loaded")
    sleep(0)
  end)
end)

local function set(t, key)
  t[key] = "x"
end

describe("env", function()
  it("is what the settings say, read only", function()
    expect(env.GREETING).is("hello")
    expect(env.NUMBER).is("42")
    expect(env.PATH).is(nil)
    expect(env[1]).is(nil)
    expect(function() set(env, "GREETING") end).fails_with("env is what app.conf.lua says")
    expect(function() set(env, "NEW") end).fails_with("cannot be changed")
    local all = {}
    for k, v in pairs(env) do
      all[k] = v
    end
    expect(all).equals { GREETING = "hello", NUMBER = "42" }
    local _, t = pairs(env)
    t.GREETING = "changed"
    expect(env.GREETING).is("hello")
    expect(getmetatable(env)).is(false)
  end)
end)

describe("app", function()
  it("says which it is", function()
    expect(app.name).is("play")
    expect(app.generation).is(1)
    expect(app.node).is("local")
    expect(app.version).matches("^%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x$")
    expect(app.nothing).is(nil)
    expect(app[1]).is(nil)
    expect(function() set(app, "name") end).fails_with("app cannot be changed")
    expect(getmetatable(app)).is(false)
  end)
end)

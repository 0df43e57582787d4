-- lua/api.lua, from which the reference is made, and the running sandbox are
-- of one mind.
local spec, play = require "spec", require "play"
local it, expect, describe = spec.it, spec.expect, spec.describe

local standard = [[
  _G _VERSION assert collectgarbage error getmetatable ipairs load next pairs pcall rawequal
  rawget rawlen rawset select setmetatable tonumber tostring type xpcall
  coroutine debug math os string table utf8
  dofile loadfile warn io package
]]

-- Set by the test itself.
local ours = "peers on_connect on_open on_message on_close on_start"

local sections = require "api"

local function each_item(f)
  for _, section in ipairs(sections) do
    for _, item in ipairs(section.items) do
      f(item, section)
    end
  end
end

describe("the reference", function()
  it("promises no name that is not there", function()
    each_item(function(item)
      local library, field = item.name:match("^(%w+)%.([%w_]+)$")
      if item.kind == "function" then
        local value = _G[item.name]
        if library then
          value = _G[library][field]
        end
        local is_callable = type(value) == "function" or item.name == "clients"
        if not is_callable then
          error(item.name .. " is a " .. type(value))
        end
      elseif item.kind == "value" then
        local value = _G[item.name]
        if library then
          value = _G[library][field]
        end
        assert(value ~= nil, item.name)
      end
    end)
  end)

  it("promises no method or field that is not there", function()
    local request
    play.on_connect = function(r)
      request = r
      return { user = "u", protocol = "p" }
    end
    local _, client = play.connect("", "Origin: http://test\r\nSec-WebSocket-Protocol: p\r\n")
    local t = timer.after(1000, print)
    local objects = {
      client = client, request = request, room = room("r"), timer = t,
      limit = limit.new { rate = 1 }, app = app,
    }
    local n = 0
    each_item(function(item)
      local class, name = item.name:match("^(%w+)[.:]([%w_]+)$")
      if item.kind == "method" then
        if type(objects[class][name]) ~= "function" then
          error(item.name .. " is a " .. type(objects[class][name]))
        end
        n = n + 1
      elseif item.kind == "field" then
        local value = objects[class][name]
        local wanted = item.type:match("^%w+")
        if item.type:sub(-2) == "[]" then
          wanted = "table"
        end
        local got = math.type(value) == "integer" and wanted == "integer" and "integer" or type(value)
        -- A peer on a socket pair has no address.
        if got ~= wanted and not (item.name == "client.ip" and value == nil) then
          error(item.name .. " is a " .. got .. ", not a " .. wanted)
        end
        n = n + 1
      end
    end)
    expect(n > 30).is(true)
    t:cancel()
    play.reset()
  end)

  it("leaves no name out", function()
    local known = {}
    for name in (standard .. ours):gmatch("%S+") do
      known[name] = true
    end
    each_item(function(item)
      if item.kind ~= "event" then
        known[item.name] = true
        known[item.name:match("^%w+")] = true
      end
    end)
    for name, value in pairs(_G) do
      if not known[name] then
        error("not in the reference: " .. tostring(name))
      end
      if type(value) == "table" and not standard:find("%f[%w_]" .. name .. "%f[^%w_]") then
        for field in next, value do
          if not known[name .. "." .. tostring(field)] and name ~= "peers" then
            error("not in the reference: " .. name .. "." .. tostring(field))
          end
        end
      end
    end
  end)

  it("marks what waits, and nothing else", function()
    local waiting = {}
    each_item(function(item)
      if item.await then
        waiting[#waiting + 1] = item.name
      end
    end)
    table.sort(waiting)
    expect(waiting).equals { "lock", "sleep", "task.all" }
  end)
end)

each_item(function(item)
  if item.kind == "event" then
    print("# event " .. item.name)
  end
end)

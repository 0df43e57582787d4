"""The app of the stress tests, and what its clients and it agree upon."""
from support.lab import IS_TINY

ROOMS = ["r%d" % i for i in range(8)]
LOSSY = ["drop1", "drop2"]
GENERATION = 10_000_000     # (generation, number in it) as one integer


def conf(ping_s=1, placement="auto", hard="64KB", soft=100):
    return """return {
  outbox = { hard = "%s", soft = %d, soft_for = "500ms" }, ping = "%ds",
  placement = "%s", env = { TINY = "%s" },
}
""" % (hard, soft, ping_s, placement, "yes" if IS_TINY else "no")


MAIN = """
-- version %d
local TINY = env.TINY == "yes"
local STRICT = { "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7" }
local ROOMS = { "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7",
                "drop1", "drop2", "*" }
rooms.define("drop*", { slow = "drop_oldest" })

local number = {}                   -- room -> broadcasts of this generation
local stopped = false

-- Atomic: what is numbered here is broadcast here.
local function cast(sender, seq, names, except, pad)
  local at = {}
  for i, name in ipairs(names) do
    number[name] = (number[name] or 0) + 1
    at[i] = name .. "=" .. number[name]
  end
  local text = table.concat({ "B", app.generation, sender, seq,
    except and except.id or 0, table.concat(at, ","), ("p"):rep(pad) }, " ")
  if names[1] == "*" then
    broadcast(text, { rooms = STRICT })
  elseif #names == 1 then
    room(names[1]):broadcast(text, { except = except })
  else
    broadcast(text, { rooms = names, except = except })
  end
end

for i, name in ipairs(ROOMS) do
  local n, who = 0, "timer" .. app.generation .. "." .. i
  local often, pad = 0.1 + i * 0.013, TINY and i or 40 * i
  if name == "*" then often, pad = 0.7, 10 end
  if name:find("^drop") then often, pad = 0.02, TINY and 20 or 2000 end
  timer.every(often, function()
    if stopped then return end
    n = n + 1
    if i %% 3 == 0 then sleep(0.005) end
    cast(who, n, { name }, nil, pad)
  end)
end

local function keeper(text) broadcast(text, { user = "keeper" }) end

function on_connect(request)
  local q = request.query
  if q.think then sleep(tonumber(q.think)) end
  local names, since = {}, {}
  for name in (q.rooms or ""):gmatch("[^,]+") do
    names[#names + 1] = name
    since[#since + 1] = name .. "=" .. (number[name] or 0)
  end
  since = app.generation .. " " .. table.concat(since, ",")
  return { user = q.user ~= "" and q.user or nil, rooms = names,
           data = { said = 0, since = since } }
end

function on_open(client)
  keeper("open " .. client.id)
  client:send("hello " .. client.id .. " " .. client.data.since)
end

function on_slow(client) keeper("slow " .. client.id) end
function on_drain(client) keeper("drain " .. client.id) end

function on_close(client, code)
  if client.id %% 4 == 0 then sleep(0.003) end
  keeper("close " .. client.id .. " " .. code)
end

local how = {}
function how.now() end
function how.sleep() sleep(0.01) end
function how.lock() lock("l", sleep, 0.001) end
function how.sort() table.sort({ 3, 1, 2 }, function(a, b) sleep(0.001) return a < b end) end
function how.all() task.all { function() sleep(0.002) end, function() end } end

local commands = {}

function commands.say(client, seq, names, way, except, pad)
  local data = client.data
  data.said = data.said + 1
  local said = data.said
  how[way]()
  local list = {}
  for name in names:gmatch("[^,]+") do list[#list + 1] = name end
  cast(client.id, seq, list, except == "except" and client or nil,
       tonumber(pad))
  client:send("ack " .. seq .. " " .. said)
end

function commands.join(client, name)
  assert(client:join(name) or client.closed)
  client:send(("joined %%s %%d"):format(name, number[name] or 0)
              .. " " .. app.generation)
end

function commands.leave(client, name)
  assert(client:leave(name) or client.closed)
  client:send("left " .. name)
end

function commands.spawn(client, name, pad)
  for i = 1, 3 do
    task.spawn(function()
      sleep(0.001 * i)
      cast("-", 0, { name }, nil, tonumber(pad))
    end)
  end
end

function commands.stop() stopped = true keeper("stopped") end
function commands.finish()
  sleep(TINY and 1 or 0.3)          -- whoever began before the stop has ended
  broadcast("END")
end
function commands.count() keeper("count " .. clients.count()) end

function on_message(client, text, is_binary)
  local words = {}
  for word in text:gmatch("%%S+") do words[#words + 1] = word end
  commands[words[1]](client, table.unpack(words, 2))
end
"""

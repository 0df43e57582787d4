-- Chat: nicknames, rooms, who is here, who is typing, the last messages.
--
-- Save this file while people talk: the app is reloaded under them, and nobody
-- is disconnected. client.data and the rooms stay, `history` starts anew.

local OPEN = { lobby = true, music = true, random = true } -- listed even if empty
local KEEP = 50                                 -- messages that a room remembers
local MAX_ROOMS = 100
local talk = limit.new { rate = 1, burst = 10 } -- per person: messages
local fuss = limit.new { rate = 2, burst = 10 } -- per person: typing, moving about

local history = {}      -- room name -> its last messages, oldest first
local is_stirred = true -- the list of rooms has changed since it was sent

-- Trimmed; or nil, if it is no text of 1 to `most` characters.
local function text_of(value, most)
  local text = type(value) == "string" and value:match("^%s*(.-)%s*$")
  local length = text and utf8.len(text)
  return length and length > 0 and length <= most and text or nil
end

-- No control characters, and none of U+2000 to U+207F: some of those are
-- invisible, and two people would bear what looks like one name.
local function name_of(value)
  local name = text_of(value, 20)
  return name and not name:find("%c") and not name:find("\xE2[\x80\x81]") and name or nil
end

local function list_rooms()
  local list = {}
  for name in pairs(OPEN) do list[name] = { here = 0, last = 0 } end
  for _, name in ipairs(rooms.list()) do list[name] = { here = room(name):count(), last = 0 } end
  for name, messages in pairs(history) do
    if list[name] then list[name].last = messages[#messages].at end
  end
  return list
end

local function enter(client, name)
  local here, people = room(name), json.array {}
  client.data.room = name
  client:join(name)
  for other in here:clients() do people[#people + 1] = other.data.name end
  client:send { type = "welcome", name = client.data.name, room = name, here = people,
                history = history[name] or json.array {}, rooms = list_rooms() }
  here:broadcast({ type = "join", name = client.data.name }, { except = client })
  is_stirred = true
end

local function depart(client)
  local name = client.data.room
  client.data.room = nil
  client:leave(name)
  room(name):broadcast { type = "leave", name = client.data.name }
  if room(name):count() == 0 and not OPEN[name] then history[name] = nil end
  is_stirred = true
end

function on_connect(request)
  local query = request.query
  local name, place, secret = name_of(query.name), name_of(query.room), text_of(query.secret, 64)
  -- A page cannot see why a handshake was refused: let it in, to be told.
  if not name or not place then
    return { data = { refused = "A name has 1 to 20 plain characters." } }
  end
  for _, other in ipairs(clients.of(name:lower())) do
    if not secret or other.data.secret ~= secret then
      return { data = { refused = other.data.name .. " is here already." } }
    end
    if other.data.room then depart(other) end
    other:close(4001, "You are here with another page.")
  end
  return { user = name:lower(), data = { name = name, secret = secret, wants = place:lower() } }
end

function on_open(client)
  if client.data.refused then return client:close(4000, client.data.refused) end
  enter(client, client.data.wants)
end

local on = {} -- what a page may say, by its type

function on.say(client, said)
  local name, text = client.data.room, text_of(said.text, 1000)
  if not text then return client:send { type = "error", text = "1 to 1000 characters, please." } end
  local ok, wait = talk:take(client.user)
  if not ok then return client:send { type = "slow_down", retry_after = wait } end
  local message = { type = "say", name = client.data.name, text = text, at = time.now(),
                    ref = text_of(said.ref, 40) }
  local messages = history[name] or {}
  history[name] = messages
  messages[#messages + 1] = message
  if #messages > KEEP then table.remove(messages, 1) end
  room(name):broadcast(message)
  is_stirred = true
end

-- Whoever lags needs only the newest of these: that is what a key is for.
function on.typing(client, said)
  if not fuss:take(client.user) then return end
  local sign = { type = "typing", name = client.data.name, on = said.on == true }
  room(client.data.room):broadcast(sign, { except = client, key = "typing " .. client.id })
end

function on.move(client, said)
  local name = name_of(said.room)
  name = name and name:lower()
  local is_new = name and not OPEN[name] and room(name):count() == 0
  if not name or is_new and #rooms.list() >= MAX_ROOMS or not fuss:take(client.user) then
    return client:send { type = "error", text = "That room cannot be entered now." }
  end
  depart(client)
  enter(client, name)
end

function on_message(client, message, is_binary)
  local said = not is_binary and json.decode(message)
  local answer = type(said) == "table" and on[said.type]
  if not answer or not client.data.room then return client:close(1008, "not understood") end
  answer(client, said)
end

function on_close(client)
  if client.data.room then depart(client) end
end

-- Once a second at most, however many talk, come and go.
timer.every(1, function()
  if is_stirred then broadcast({ type = "rooms", rooms = list_rooms() }, { key = "rooms" }) end
  is_stirred = false
end)

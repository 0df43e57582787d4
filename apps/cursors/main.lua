-- Cursors: whoever is on a board sees everybody else's pointer, and what it draws.
--
-- The page says bytes: where its pointer is. Text is its new name.
--
--   place:   mode B  0 away, 1 here, 2 pressed: it draws
--            press B how often it was pressed, modulo 256: a new number is a ripple
--            x, y I2 0 is the left or upper edge of the board, 65535 the other one
--
-- The app answers with records, one or more to a message:
--
--   1 you    id I4                         who you are; the first record of all
--   2 here   id I4, place, hue B, name s1  somebody came, or was there, or has a new name
--   3 moved  id I4, place
--   4 gone   id I4
--
-- All numbers are big-endian. A place says everything about a pointer, so whoever
-- lags needs only the newest one of each: that is what the key of a broadcast is for.

local PLACE <const> = ">BBI2I2"
local YOU <const>, HERE <const>, MOVED <const>, GONE <const> = 1, 2, 3, 4
local KINDS = { "Amber", "Brave", "Calm", "Dandy", "Eager", "Fuzzy", "Gentle", "Happy", "Jolly", "Lucky",
                "Merry", "Nimble", "Proud", "Quiet", "Rapid", "Shiny", "Sunny", "Witty" }
local BEASTS = { "Badger", "Bear", "Crane", "Dingo", "Fox", "Gecko", "Heron", "Ibex", "Koala", "Lynx",
                 "Newt", "Otter", "Panda", "Puffin", "Raven", "Seal", "Tiger", "Yak" }

rooms.define("*", { max_clients = 100 })            -- of one board
local moves = limit.new { rate = 60, burst = 120 }  -- a page sends 30 a second, and each press
local fuss = limit.new { rate = 1, burst = 5 }      -- per client, as above: new names

-- 1 to 20 characters, none of them control characters or invisible (U+2000 to U+207F).
local function name_of(value)
  local name = value and value:match("^%s*(.-)%s*$")
  local length = name and utf8.len(name)
  if length and length > 0 and length <= 20 and not name:find("%c") and not name:find("\xE2[\x80\x81]") then
    return name
  end
end

local function id_of(client)
  return client.id & 0xFFFFFFFF
end

local function here(client)
  local data = client.data
  return string.pack(">BI4c6Bs1", HERE, id_of(client), data.place, data.hue, data.name)
end

function on_connect(request)
  local query = request.query
  local board = (query.board or "lobby"):match("^[%w_-]+$")
  if not board or #board > 32 then return nil, 400, "a board of 1 to 32 letters, digits, _ and -" end
  local name = name_of(query.name) or KINDS[math.random(#KINDS)] .. " " .. BEASTS[math.random(#BEASTS)]
  -- Who comes back brings the colour along.
  local hue = math.tointeger(tonumber(query.hue or ""))
  return { data = { board = board, name = name, hue = hue and hue & 255, place = PLACE:pack(0, 0, 0, 0) } }
end

function on_open(client)
  local data = client.data
  if not client:join(data.board) then return client:close(4000, "This board is full.") end
  data.hue = data.hue or client.id * 159 & 255 -- the golden angle: neighbours differ
  local records = { string.pack(">BI4", YOU, id_of(client)) }
  for other in room(data.board):clients() do records[#records + 1] = here(other) end
  client:send(table.concat(records), { binary = true })
  room(data.board):broadcast(here(client), { binary = true, except = client })
end

function on_message(client, message, is_binary)
  local data = client.data
  if not is_binary then
    local name = fuss:take(client.id) and name_of(message)
    if not name then return client:send(here(client), { binary = true }) end -- the old one stays
    data.name = name
    return room(data.board):broadcast(here(client), { binary = true })
  end
  if #message ~= PLACE:packsize() or PLACE:unpack(message) > 2 then
    return client:close(1008, "not understood")
  end
  if not moves:take(client.id) then return end
  data.place = message
  room(data.board):broadcast(string.pack(">BI4", MOVED, id_of(client)) .. message,
    { binary = true, except = client, key = "cursor " .. client.id })
end

function on_close(client)
  room(client.data.board):broadcast(string.pack(">BI4", GONE, id_of(client)), { binary = true })
end

-- play.lua -- what the specs of the API share: peers that the test program
-- holds the other ends of, and the app's handlers, which call what a spec has
-- put into `play` under their names.
local peers = _G.peers -- the test program's

local play = {}

local opened = {} -- path -> client
local number = 0
local here = 0 -- opened, and on_close has not ended

function on_connect(request)
  if play.on_connect then
    return play.on_connect(request)
  end
  return true
end

function on_open(client)
  opened[client.path] = client
  here = here + 1
  if play.on_open then
    play.on_open(client)
  end
end

function on_message(client, message, is_binary)
  if play.on_message then
    play.on_message(client, message, is_binary)
  end
end

function on_close(client, code, reason)
  if play.on_close then
    play.on_close(client, code, reason)
  end
  here = here - 1
end

-- Waits until `condition` gives something true, and returns that.
function play.wait_for(condition, what)
  for _ = 1, 2000 do
    local value = condition()
    if value then
      return value
    end
    sleep(0.002)
  end
  error("waited in vain for " .. (what or "a condition"), 2)
end

local Peer = {}
Peer.__index = Peer

-- The text messages that have come since the last call, `n` at least.
function Peer:words(n)
  local words = {}
  play.wait_for(function()
    for word in peers.words(self.number):gmatch("[^\0]+") do
      words[#words + 1] = word
    end
    return #words >= n
  end, n .. " messages")
  return words
end

function Peer:say(text)
  peers.send(self.number, 1, text)
end

function Peer:say_bytes(bytes)
  peers.send(self.number, 2, bytes)
end

function Peer:close(code, reason)
  peers.send(self.number, 8, string.pack(">I2", code) .. (reason or ""))
end

function Peer:cut()
  peers.cut(self.number)
end

-- The status of the answer to its request, and its head and body.
function Peer:answer()
  play.wait_for(function()
    return peers.status(self.number) ~= 0
  end, "an answer")
  return peers.status(self.number), peers.head(self.number), peers.body(self.number)
end

-- Code and reason of the Close that has come.
function Peer:closing()
  play.wait_for(function()
    return peers.code(self.number) ~= 0
  end, "a close")
  return peers.code(self.number)
end

function play.ask(target, headers)
  return setmetatable({ number = peers.open(target, headers or "") }, Peer)
end

-- A peer that has been let in, and its client.
function play.connect(query, headers)
  number = number + 1
  local path = "/peer" .. number
  local peer = play.ask(path .. (query or ""), headers)
  local client = play.wait_for(function()
    return opened[path]
  end, "a client")
  return peer, client
end

-- Forgets handlers, and sends everybody away.
function play.reset()
  for _, name in ipairs { "on_connect", "on_open", "on_message", "on_close" } do
    play[name] = nil
  end
  for client in clients() do
    client:close()
  end
  opened = {}
  play.wait_for(function()
    return here == 0
  end, "an empty house")
end

return play

-- @NAME@: everybody who has the page open sees what everybody says.
--
-- Save this file while the page is open: the app is reloaded under its
-- clients, and nobody is disconnected. A mistake is harmless: the old version
-- goes on, and the log says what is wrong.

local function tell_who_is_here()
  broadcast { type = "here", count = clients.count() }
end

function on_open()
  tell_who_is_here()
end

function on_message(client, message, is_binary)
  if is_binary then
    return client:close(1003, "text only")
  end
  local said = json.decode(message)
  if type(said) ~= "table" or type(said.text) ~= "string" then
    return client:send { type = "error", error = "a text, please" }
  end
  broadcast { type = "say", from = client.id, text = said.text }
end

function on_close()
  tell_who_is_here()
end

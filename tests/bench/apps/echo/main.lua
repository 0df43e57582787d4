function on_message(client, message, is_binary)
  client:send(message, is_binary and { binary = true } or nil)
end

-- The smallest app: what comes in goes out.

function on_message(client, message, is_binary)
  client:send(message, { binary = is_binary })
end

function on_open(client)
  client:join("all")
end

function on_message(_, message)
  broadcast(message, { room = "all" })
end

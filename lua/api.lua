-- api.lua -- what an app sees, as data. docs/LUA-API.md, the LuaLS stubs
-- (lua/moonwire.d.lua) and the globals of .luacheckrc are made from this one
-- table by lua/docgen.lua; a test holds it against the running sandbox.
--
-- A section: { title, text, items }. An item:
--   name     "client:send", "timer.every", "on_open", "client.id"
--   kind     "event" | "function" | "method" | "field" | "value"
--   params   { { name, type, text }, ... }; a "?" behind the name: optional
--   returns  { { type, text }, ... }
--   await    true: other handlers of the app may run meanwhile
--   text     what it does, units, what fails and how
-- Types are LuaLS types.

local send_options = {
  { "binary", "boolean", "a binary frame; without it the message is text and must be UTF-8" },
  { "key", "string", "1 to 64 bytes: if the client lags, a queued message with the same key is dropped for this one (cursors, prices, “is typing”)" },
  { "compress", "boolean", "whether it is compressed for clients that take that; without it, if it is as long as `compress.threshold` says" },
}

return {
  {
    title = "Events",
    text = [[
Handlers are globals of main.lua, or fields of a table that it returns; they are looked up once,
when main.lua has run. All are optional, and all may wait (`sleep`, `lock`, `task.all`). One client's events
run in order and never overlap, also when a handler waits: `on_open` first, `on_close` last, exactly once each.
An error in a handler is logged with its traceback and ends that event only.]],
    items = {
      { name = "on_start", kind = "event", params = {}, text = "The app has been loaded and serves. Not called at a reload." },
      {
        name = "on_connect", kind = "event",
        params = { { "request", "request", "what the client asks with" } },
        returns = {
          { "connection|boolean|nil", "a table with any of `user`, `data`, `rooms`, `protocol`, `headers` (or `true`) lets the client in; nil or false refuses it" },
          { "integer?", "the HTTP status of a refusal, 400 to 599; 403 if left out" },
          { "string?", "the text of a refusal" },
        },
        text = [[Asked before the handshake is answered. `user` (string, up to 128 bytes) is who the client is, for `clients.of` and `broadcast`;
`data` becomes `client.data`; `rooms` are joined at once; `protocol` must be one of `request.protocols`; `headers` go into the response.
An error refuses with 500, a decision that takes longer than the setting `answer` (30 s) with 504. If the connection dies meanwhile, neither `on_open` nor `on_close` runs.]],
      },
      { name = "on_open", kind = "event", params = { { "client", "client", "who" } }, text = "A client is connected and can be addressed." },
      {
        name = "on_message", kind = "event",
        params = { { "client", "client", "who" }, { "message", "string", "the bytes; valid UTF-8 if text" }, { "is_binary", "boolean", "a binary message" } },
        text = "A whole message came.",
      },
      {
        name = "on_close", kind = "event",
        params = { { "client", "client", "who; sending to it is harmless" }, { "code", "integer", "as a browser sees it: 1000, 1001, …, 1005 (none given), 1006 (cut off), 4000-4999" }, { "reason", "string", "may be empty" } },
        text = "A client has gone. It is in no room any more; `client:rooms()` still tells which it was in.",
      },
      {
        name = "on_slow", kind = "event",
        params = { { "client", "client", "who" }, { "queue", "queue", "what waits for it" } },
        text = "A client lags: more than half of a bound of its outbox is used.",
      },
      {
        name = "on_drain", kind = "event",
        params = { { "client", "client", "who" }, { "queue", "queue", "what waits for it" } },
        text = "A client that lagged has caught up: less than an eighth is used.",
      },
      {
        name = "on_request", kind = "event",
        params = { { "request", "request", "what is asked for, with its body" } },
        returns = { { "response|string|nil", "a table with any of `status` (200), `headers` (values are strings, or lists of them) and `body` (a string, or a table that is sent as JSON); a string is a body of plain text; nil is a 404" } },
        text = [[A plain HTTP request came, of any method, that is no file of `public/`. The body has come whole before the handler is called
(the operator's `--max-body` bounds it). The body of an answer has up to 16 MB. HEAD is answered like GET, without the body. An error answers with 500; who takes longer than the setting `answer` (30 s), waits included, has the client answered with 504.]],
      },
      {
        name = "on_stop", kind = "event",
        params = { { "reason", "string", "why, for example \"shutdown\"" } },
        text = "The server is about to stop; every client is still connected. The handler has 2 seconds.",
      },
      {
        name = "on_error", kind = "event",
        params = { { "message", "string", "what went wrong, with a traceback where there is one" }, { "context", "table", "`event`: the handler's name; `kind`: \"error\", \"cpu\", \"memory\" or \"crash\"; `client`, if it was a client's and is still there" } },
        text = "An event has failed: it raised an error, or it was ended because it used too much CPU time or memory. The log has it, too. After a crash the new state hears of it.",
      },
    },
  },
  {
    title = "Request",
    text = "What `on_connect` and `on_request` are asked with. Read-only.",
    class = "request",
    items = {
      { name = "request.method", kind = "field", type = "string", text = "\"GET\"." },
      { name = "request.path", kind = "field", type = "string", text = "Percent-decoded, without the query." },
      { name = "request.query", kind = "field", type = "table<string, string>", text = "Decoded; the last of a name wins." },
      { name = "request.headers", kind = "field", type = "table<string, string>", text = "Names in lower case; values of the same name joined with \", \"." },
      { name = "request.cookies", kind = "field", type = "table<string, string>", text = "The first of a name wins." },
      { name = "request.ip", kind = "field", type = "string", text = "The client's address: the peer's, or whom a trusted proxy names." },
      { name = "request.origin", kind = "field", type = "string?", text = "The Origin header." },
      { name = "request.host", kind = "field", type = "string?", text = "The host that is asked for: the Host header's, or what a trusted proxy names." },
      { name = "request.protocols", kind = "field", type = "string[]", text = "Subprotocols that the client offers." },
      { name = "request:token", kind = "method", params = {}, returns = { { "string?", "the token" } }, text = "The token of `Authorization: Bearer …`, else `query.token`." },
      { name = "request:body", kind = "method", params = {}, returns = { { "string", "its bytes; \"\" if there is none" } }, text = "The body." },
      { name = "request:json", kind = "method", params = {}, returns = { { "any", "the value; nil if the body is no JSON" }, { "string?", "\"line:column: what is wrong\"" } }, text = "The body as JSON, as `json.decode` reads it." },
    },
  },
  {
    title = "Client",
    text = [[
The same client is the same object while you hold it, so clients work as table keys. An object may be kept for as long as you like:
once its client has gone, `closed` is true and every call says `nil, "closed"`.]],
    class = "client",
    items = {
      { name = "client.id", kind = "field", type = "integer", text = "Unique for the life of the server." },
      { name = "client.user", kind = "field", type = "string?", text = "As `on_connect` said." },
      { name = "client.ip", kind = "field", type = "string?", text = "The client's address, as `request.ip`." },
      { name = "client.path", kind = "field", type = "string?", text = "The path it connected to." },
      { name = "client.protocol", kind = "field", type = "string?", text = "The subprotocol chosen." },
      { name = "client.data", kind = "field", type = "table", text = "Yours. Survives a reload, so it holds plain data only: a function, userdata, coroutine or a table with a metatable in it fails the reload." },
      { name = "client.connected_at", kind = "field", type = "number?", text = "Seconds since 1970." },
      { name = "client.generation", kind = "field", type = "integer?", text = "Of the app's code that serves it." },
      { name = "client.closed", kind = "field", type = "boolean", text = "It has gone, or is closing." },
      { name = "client.restored", kind = "field", type = "boolean?", text = "True once the app's state was lost and began anew: the client and its rooms are as they were, `client.data` is empty, and `on_open` is called again." },
      {
        name = "client:send", kind = "method",
        params = { { "message", "string|table", "bytes, or a table to be sent as JSON text" }, { "options?", "send_options", "" } },
        options = send_options,
        returns = { { "true?", "queued" }, { "string?", "\"closed\", \"full\" (its outbox, or all outboxes of the app together), \"too_big\" or \"utf8\"" }, { "string?", "detail" } },
        text = "Queues a message. Never waits and never writes by itself: what a turn queues leaves together at its end.",
      },
      {
        name = "client:close", kind = "method",
        params = { { "code?", "integer", "1000 if left out; 4000-4999 are the app's own" }, { "reason?", "string", "up to 123 bytes of UTF-8" } },
        returns = { { "true?", "" }, { "string?", "\"closed\": it was already" } },
        text = "Closes behind what is queued. `on_close` follows.",
      },
      {
        name = "client:join", kind = "method", params = { { "room", "string", "1 to 128 bytes" } },
        returns = { { "true?", "in, also if it was already" }, { "string?", "\"closed\", \"full\" (the room's max_clients) or \"quota\"" }, { "string?", "which setting that was: limits.rooms_per_client (128), limits.rooms (100,000)" } },
        text = "Enters a room; a room exists while somebody is in it.",
      },
      { name = "client:leave", kind = "method", params = { { "room", "string", "" } }, returns = { { "boolean", "it was in" } }, text = "Leaves a room." },
      { name = "client:rooms", kind = "method", params = {}, returns = { { "string[]", "names, in the order of joining" } }, text = "The rooms it is in; in `on_close`, those it was in." },
      { name = "client:is_in", kind = "method", params = { { "room", "string", "" } }, returns = { { "boolean", "" } }, text = "Is it in that room?" },
      { name = "client:queue", kind = "method", params = {}, returns = { { "queue", "{ messages, bytes, dropped }" } }, text = "What waits in its outbox now, and how many messages a policy has dropped since it connected." },
    },
  },
  {
    title = "Everybody",
    text = "None of these may be called while main.lua loads; use `on_start`.",
    items = {
      {
        name = "broadcast", kind = "function",
        params = { { "message", "string|table", "bytes, or a table to be sent as JSON text" }, { "options?", "broadcast_options", "" } },
        options = {
          { "room", "string", "only its members" },
          { "rooms", "string[]", "members of any of these; each gets one copy" },
          { "user", "string", "only this user's clients" },
          { "users", "string[]", "clients of any of these" },
          { "except", "client|string|(client|string)[]", "not these clients or users" },
          { "where", "fun(client: client): boolean", "only clients for which it is true; must not wait" },
          send_options[1], send_options[2], send_options[3],
        },
        returns = { { "integer?", "messages queued" }, { "integer|string", "messages dropped because somebody's outbox was full; or the word of a failure (\"too_big\", \"utf8\")" } },
        text = "Sends to every client of the app, the sender too, or to those the options name. Encoded once, whatever the number; the order of broadcasts is the same at every member.",
      },
      { name = "clients", kind = "function", params = {}, returns = { { "fun(): client?", "an iterator over everybody there now" } }, text = "`for client in clients() do … end`" },
      { name = "clients.get", kind = "function", params = { { "id", "integer", "" } }, returns = { { "client?", "" } }, text = "The client of that id; nil if it has gone." },
      { name = "clients.of", kind = "function", params = { { "user", "string", "" } }, returns = { { "client[]", "" } }, text = "All clients of a user." },
      { name = "clients.count", kind = "function", params = {}, returns = { { "integer", "" } }, text = "How many there are." },
    },
  },
  {
    title = "Rooms",
    text = "A room object holds only the name: it may be made at any time, kept, and compared.",
    class = "room",
    items = {
      { name = "room", kind = "function", params = { { "name", "string", "1 to 128 bytes" } }, returns = { { "room", "" } }, text = "The room of that name, whether anybody is in it or not." },
      { name = "room.name", kind = "field", type = "string", text = "Its name." },
      { name = "room:broadcast", kind = "method", params = { { "message", "string|table", "" }, { "options?", "broadcast_options", "except, where, binary, key, compress" } }, returns = { { "integer?", "queued" }, { "integer|string", "dropped" } }, text = "`broadcast` to its members." },
      { name = "room:clients", kind = "method", params = {}, returns = { { "fun(): client?", "an iterator" } }, text = "`for client in room(\"lobby\"):clients() do … end`" },
      { name = "room:count", kind = "method", params = {}, returns = { { "integer", "" } }, text = "How many are in it." },
      { name = "room:close", kind = "method", params = { { "code?", "integer", "" }, { "reason?", "string", "" } }, returns = { { "integer", "how many were closed" } }, text = "Closes every client in it, as `client:close` does." },
      { name = "rooms.list", kind = "function", params = { { "prefix?", "string", "" } }, returns = { { "string[]", "in no order" } }, text = "The rooms that have members." },
      {
        name = "rooms.define", kind = "function",
        params = { { "pattern", "string", "a name, or a prefix and \"*\"" }, { "rule", "room_rule", "" } },
        options = {
          { "slow", "\"close\"|\"drop_oldest\"|\"drop_newest\"", "what happens to a member that lags when something is sent to this room" },
          { "max_clients", "integer", "members at most" },
        },
        returns = { { "true?", "" }, { "string?", "\"quota\": more than 64 rules" } },
        text = "A rule for rooms made from now on; the first that matches holds. May be called while main.lua loads.",
      },
    },
  },
  {
    title = "Time",
    text = "Durations are seconds (fractions too) or texts: \"100ms\", \"30s\", \"5m\", \"1h\", \"1d\".",
    items = {
      { name = "sleep", kind = "function", await = true, params = { { "seconds", "number|string", "" } }, text = "Waits. Other handlers run meanwhile, this client's do not." },
      { name = "timer.after", kind = "function", params = { { "seconds", "number|string", "" }, { "fn", "function", "" }, { "...", "any", "its arguments" } }, returns = { { "timer?", "" }, { "string?", "\"quota\"; \"closed\": a newer generation has taken over" }, { "string?", "which setting that was: limits.timers (16,384)" } }, text = "Calls `fn` once. Timers die with their generation: the new main.lua makes its own." },
      { name = "timer.every", kind = "function", params = { { "seconds", "number|string", "" }, { "fn", "function", "" }, { "...", "any", "its arguments" } }, returns = { { "timer?", "" }, { "string?", "as timer.after" } }, text = "Calls `fn` again and again, on a beat that does not drift. A tick that finds the last call still under way is left out." },
      { name = "timer:cancel", kind = "method", class = "timer", params = {}, returns = { { "boolean", "it was still to fire" } }, text = "Nothing begins after it; a call under way is not stopped." },
      { name = "time.now", kind = "function", params = {}, returns = { { "number", "seconds since 1970, to the millisecond" } }, text = "The wall clock." },
      { name = "time.monotonic", kind = "function", params = {}, returns = { { "number", "seconds, to the millisecond" } }, text = "A clock that never jumps, for measuring." },
      { name = "time.iso", kind = "function", params = { { "t?", "number", "seconds since 1970; now if left out" } }, returns = { { "string", "\"2026-11-21T12:00:00.000Z\"" } }, text = "As RFC 3339 writes it, in UTC." },
    },
  },
  {
    title = "Tasks",
    text = "Several things under way in one app.",
    items = {
      { name = "task.spawn", kind = "function", params = { { "fn", "function", "" }, { "...", "any", "its arguments" } }, returns = { { "true?", "" }, { "string?", "\"quota\"" }, { "string?", "which setting that was: limits.tasks (4,096)" } }, text = "Calls `fn` on its own, when the present handler ends or waits." },
      { name = "task.all", kind = "function", await = true, params = { { "functions", "function[]", "" } }, returns = { { "any[]?", "the first result of each" }, { "string?", "\"quota\"" }, { "string?", "as task.spawn" } }, text = "Runs all of them, waits for all, and raises the first error if there was one." },
      { name = "lock", kind = "function", await = true, params = { { "name", "string", "1 to 128 bytes" }, { "fn", "function", "" }, { "...", "any", "its arguments" } }, returns = { { "any", "what `fn` returns" } }, text = "Calls `fn` while nobody else of this generation of the app holds the lock of that name; first come, first served. An error passes through and frees the lock. Taking it again inside waits for ever. With 4096 locks held it returns nil, \"quota\"." },
    },
  },
  {
    title = "Helpers",
    text = "Everything here is atomic and works inside the app's own memory.",
    items = {
      { name = "json.encode", kind = "function", params = { { "value", "any", "" } }, returns = { { "string", "" } }, text = "A table with keys 1..n is an array, any other an object; an empty one is {} unless it is a json.array. Raises on functions, cycles, NaN and bytes that are not UTF-8, naming the path." },
      { name = "json.decode", kind = "function", params = { { "text", "string", "" } }, returns = { { "any", "the value; nil if it is not JSON" }, { "string?", "line:column: what is wrong" } }, text = "Strict (RFC 8259). null becomes json.null." },
      { name = "json.null", kind = "value", type = "json_null", text = "JSON's null, in both directions." },
      { name = "json.array", kind = "function", params = { { "t?", "table", "" } }, returns = { { "table", "t itself" } }, text = "Marks a table as an array, so that an empty one is written []." },
      { name = "limit.new", kind = "function", params = { { "options", "limit_options", "" } }, options = { { "rate", "number", "tokens a second" }, { "burst", "number", "tokens at most; the rate if left out" } }, returns = { { "limit", "" } }, text = "A token bucket for every key." },
      { name = "limit:take", kind = "method", class = "limit", params = { { "key", "any", "whose bucket: client.user, client.ip, …" }, { "n?", "number", "tokens; 1 if left out" } }, returns = { { "true?", "taken" }, { "number?", "seconds until it would be" } }, text = "Takes tokens, or says when there will be some." },
      { name = "log.debug", kind = "function", params = { { "text", "string", "" }, { "fields?", "table", "further fields of the line; names that it has already get a `_` behind them" } }, text = "A line in the server's log; at most 100 a second." },
      { name = "log.info", kind = "function", params = { { "text", "string", "" }, { "fields?", "table", "" } }, text = "The same at level info." },
      { name = "log.warn", kind = "function", params = { { "text", "string", "" }, { "fields?", "table", "" } }, text = "The same at level warn." },
      { name = "log.error", kind = "function", params = { { "text", "string", "" }, { "fields?", "table", "" } }, text = "The same at level error." },
      { name = "print", kind = "function", params = { { "...", "any", "" } }, text = "log.info, with tabs between." },
      { name = "crypto.random", kind = "function", params = { { "n", "integer", "1 to 65536" } }, returns = { { "string", "n bytes" } }, text = "Unpredictable bytes." },
      { name = "crypto.uuid", kind = "function", params = {}, returns = { { "string", "" } }, text = "A random UUID (version 4)." },
      { name = "crypto.sha256", kind = "function", params = { { "s", "string", "" }, { "options?", "{ raw: boolean }", "raw: bytes instead of hex" } }, returns = { { "string", "64 hex digits" } }, text = "SHA-256." },
      { name = "crypto.hmac", kind = "function", params = { { "algorithm", "\"sha1\"|\"sha256\"|\"sha512\"", "" }, { "key", "string", "" }, { "s", "string", "" }, { "options?", "{ raw: boolean }", "" } }, returns = { { "string", "hex" } }, text = "HMAC (RFC 2104)." },
      { name = "crypto.equals", kind = "function", params = { { "a", "string", "" }, { "b", "string", "" } }, returns = { { "boolean", "" } }, text = "Equal? Takes the same time wherever they differ." },
      { name = "crypto.base64", kind = "function", params = { { "s", "string", "" } }, returns = { { "string", "" } }, text = "Base64 (RFC 4648), padded." },
      { name = "crypto.unbase64", kind = "function", params = { { "s", "string", "" } }, returns = { { "string?", "bytes" }, { "string?", "\"syntax\"" } }, text = "And back; strict." },
    },
  },
  {
    title = "The app itself",
    text = "",
    items = {
      { name = "require", kind = "function", params = { { "module", "string", "\"lib.words\" is lib/words.lua or lib/words/init.lua" } }, returns = { { "any", "" } }, text = "Loads one of the app's own files, once, from the snapshot taken when the app was loaded. A file may not wait while it is loaded." },
      { name = "env", kind = "value", type = "table<string, string>", text = "`env` of app.conf.lua. Read-only; nothing of the process's environment." },
      { name = "app.name", kind = "field", type = "string", text = "The app's name." },
      { name = "app.version", kind = "field", type = "string", text = "16 hex digits of its files' hash." },
      { name = "app.generation", kind = "field", type = "integer", text = "1 at first, one more with each reload." },
      { name = "app.node", kind = "field", type = "string", text = "The server's name in a cluster; \"local\" for now." },
    },
  },
}

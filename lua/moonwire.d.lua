---@meta
-- Made from lua/api.lua by lua/docgen.lua; edit that table instead.

---@class queue
---@field messages integer
---@field bytes integer
---@field dropped integer

---@class json_null

---@class connection
---@field user? string
---@field data? table
---@field rooms? string[]
---@field protocol? string
---@field headers? table<string, string|string[]>

---@class send_options
---@field binary? boolean a binary frame; without it the message is text and must be UTF-8
---@field key? string 1 to 64 bytes: if the client lags, a queued message with the same key is dropped for this one (cursors, prices, “is typing”)
---@field compress? boolean whether it is compressed for clients that take that; without it, if it is as long as `compress.threshold` says

---@class broadcast_options
---@field room? string only its members
---@field rooms? string[] members of any of these; each gets one copy
---@field user? string only this user's clients
---@field users? string[] clients of any of these
---@field except? client|string|(client|string)[] not these clients or users
---@field where? fun(client: client): boolean only clients for which it is true; must not wait
---@field binary? boolean a binary frame; without it the message is text and must be UTF-8
---@field key? string 1 to 64 bytes: if the client lags, a queued message with the same key is dropped for this one (cursors, prices, “is typing”)
---@field compress? boolean whether it is compressed for clients that take that; without it, if it is as long as `compress.threshold` says

---@class room_rule
---@field slow? "close"|"drop_oldest"|"drop_newest" what happens to a member that lags when something is sent to this room
---@field max_clients? integer members at most

---@class limit_options
---@field rate? number tokens a second
---@field burst? number tokens at most; the rate if left out

--- The app has been loaded and serves. Not called at a reload.
function on_start() end

--- Asked before the handshake is answered. `user` (string, up to 128 bytes) is who the client is, for `clients.of` and `broadcast`; `data` becomes `client.data`; `rooms` are joined at once; `protocol` must be one of `request.protocols`; `headers` go into the response. An error refuses with 500, a decision that takes longer than the setting `answer` (30 s) with 504. If the connection dies meanwhile, neither `on_open` nor `on_close` runs.
---@param request request what the client asks with
---@return connection|boolean|nil # a table with any of `user`, `data`, `rooms`, `protocol`, `headers` (or `true`) lets the client in; nil or false refuses it
---@return integer? # the HTTP status of a refusal, 400 to 599; 403 if left out
---@return string? # the text of a refusal
function on_connect(request) end

--- A client is connected and can be addressed.
---@param client client who
function on_open(client) end

--- A whole message came.
---@param client client who
---@param message string the bytes; valid UTF-8 if text
---@param is_binary boolean a binary message
function on_message(client, message, is_binary) end

--- A client has gone. It is in no room any more; `client:rooms()` still tells which it was in.
---@param client client who; sending to it is harmless
---@param code integer as a browser sees it: 1000, 1001, …, 1005 (none given), 1006 (cut off), 4000-4999
---@param reason string may be empty
function on_close(client, code, reason) end

--- A client lags: more than half of a bound of its outbox is used.
---@param client client who
---@param queue queue what waits for it
function on_slow(client, queue) end

--- A client that lagged has caught up: less than an eighth is used.
---@param client client who
---@param queue queue what waits for it
function on_drain(client, queue) end

--- A plain HTTP request came, of any method, that is no file of `public/`. The body has come whole before the handler is called (the operator's `--max-body` bounds it). The body of an answer has up to 16 MB. HEAD is answered like GET, without the body. An error answers with 500; who takes longer than the setting `answer` (30 s), waits included, has the client answered with 504.
---@param request request what is asked for, with its body
---@return response|string|nil # a table with any of `status` (200), `headers` (values are strings, or lists of them) and `body` (a string, or a table that is sent as JSON); a string is a body of plain text; nil is a 404
function on_request(request) end

--- The server is about to stop; every client is still connected. The handler has 2 seconds.
---@param reason string why, for example "shutdown"
function on_stop(reason) end

--- An event has failed: it raised an error, or it was ended because it used too much CPU time or memory. The log has it, too. After a crash the new state hears of it.
---@param message string what went wrong, with a traceback where there is one
---@param context table `event`: the handler's name; `kind`: "error", "cpu", "memory" or "crash"; `client`, if it was a client's and is still there
function on_error(message, context) end

---@class request
---@field method string "GET".
---@field path string Percent-decoded, without the query.
---@field query table<string, string> Decoded; the last of a name wins.
---@field headers table<string, string> Names in lower case; values of the same name joined with ", ".
---@field cookies table<string, string> The first of a name wins.
---@field ip string The client's address: the peer's, or whom a trusted proxy names.
---@field origin string? The Origin header.
---@field host string? The host that is asked for: the Host header's, or what a trusted proxy names.
---@field protocols string[] Subprotocols that the client offers.
local request_class = {}

--- The token of `Authorization: Bearer …`, else `query.token`.
---@return string? # the token
function request_class:token() end

--- The body.
---@return string # its bytes; "" if there is none
function request_class:body() end

--- The body as JSON, as `json.decode` reads it.
---@return any # the value; nil if the body is no JSON
---@return string? # "line:column: what is wrong"
function request_class:json() end

---@class client
---@field id integer Unique for the life of the server.
---@field user string? As `on_connect` said.
---@field ip string? The client's address, as `request.ip`.
---@field path string? The path it connected to.
---@field protocol string? The subprotocol chosen.
---@field data table Yours. Survives a reload, so it holds plain data only: a function, userdata, coroutine or a table with a metatable in it fails the reload.
---@field connected_at number? Seconds since 1970.
---@field generation integer? Of the app's code that serves it.
---@field closed boolean It has gone, or is closing.
---@field restored boolean? True once the app's state was lost and began anew: the client and its rooms are as they were, `client.data` is empty, and `on_open` is called again.
local client_class = {}

--- Queues a message. Never waits and never writes by itself: what a turn queues leaves together at its end.
---@param message string|table bytes, or a table to be sent as JSON text
---@param options? send_options
---@return true? # queued
---@return string? # "closed", "full" (its outbox, or all outboxes of the app together), "too_big" or "utf8"
---@return string? # detail
function client_class:send(message, options) end

--- Closes behind what is queued. `on_close` follows.
---@param code? integer 1000 if left out; 4000-4999 are the app's own
---@param reason? string up to 123 bytes of UTF-8
---@return true?
---@return string? # "closed": it was already
function client_class:close(code, reason) end

--- Enters a room; a room exists while somebody is in it.
---@param room string 1 to 128 bytes
---@return true? # in, also if it was already
---@return string? # "closed", "full" (the room's max_clients) or "quota"
---@return string? # which setting that was: limits.rooms_per_client (128), limits.rooms (100,000)
function client_class:join(room) end

--- Leaves a room.
---@param room string
---@return boolean # it was in
function client_class:leave(room) end

--- The rooms it is in; in `on_close`, those it was in.
---@return string[] # names, in the order of joining
function client_class:rooms() end

--- Is it in that room?
---@param room string
---@return boolean
function client_class:is_in(room) end

--- What waits in its outbox now, and how many messages a policy has dropped since it connected.
---@return queue # { messages, bytes, dropped }
function client_class:queue() end

--- Sends to every client of the app, the sender too, or to those the options name. Encoded once, whatever the number; the order of broadcasts is the same at every member.
---@param message string|table bytes, or a table to be sent as JSON text
---@param options? broadcast_options
---@return integer? # messages queued
---@return integer|string # messages dropped because somebody's outbox was full; or the word of a failure ("too_big", "utf8")
function broadcast(message, options) end

---@class clients_table
---@overload fun(): fun(): client?
clients = {}

--- The client of that id; nil if it has gone.
---@param id integer
---@return client?
function clients.get(id) end

--- All clients of a user.
---@param user string
---@return client[]
function clients.of(user) end

--- How many there are.
---@return integer
function clients.count() end

---@class room
---@field name string Its name.
local room_class = {}

--- The room of that name, whether anybody is in it or not.
---@param name string 1 to 128 bytes
---@return room
function room(name) end

--- `broadcast` to its members.
---@param message string|table
---@param options? broadcast_options except, where, binary, key, compress
---@return integer? # queued
---@return integer|string # dropped
function room_class:broadcast(message, options) end

--- `for client in room("lobby"):clients() do … end`
---@return fun(): client? # an iterator
function room_class:clients() end

--- How many are in it.
---@return integer
function room_class:count() end

--- Closes every client in it, as `client:close` does.
---@param code? integer
---@param reason? string
---@return integer # how many were closed
function room_class:close(code, reason) end

rooms = {}

--- The rooms that have members.
---@param prefix? string
---@return string[] # in no order
function rooms.list(prefix) end

--- A rule for rooms made from now on; the first that matches holds. May be called while main.lua loads.
---@param pattern string a name, or a prefix and "*"
---@param rule room_rule
---@return true?
---@return string? # "quota": more than 64 rules
function rooms.define(pattern, rule) end

--- Waits. Other handlers run meanwhile, this client's do not.
---@async
---@param seconds number|string
function sleep(seconds) end

timer = {}

--- Calls `fn` once. Timers die with their generation: the new main.lua makes its own.
---@param seconds number|string
---@param fn function
---@param ... any its arguments
---@return timer?
---@return string? # "quota"; "closed": a newer generation has taken over
---@return string? # which setting that was: limits.timers (16,384)
function timer.after(seconds, fn, ...) end

--- Calls `fn` again and again, on a beat that does not drift. A tick that finds the last call still under way is left out.
---@param seconds number|string
---@param fn function
---@param ... any its arguments
---@return timer?
---@return string? # as timer.after
function timer.every(seconds, fn, ...) end

---@class timer
local timer_class = {}

--- Nothing begins after it; a call under way is not stopped.
---@return boolean # it was still to fire
function timer_class:cancel() end

time = {}

--- The wall clock.
---@return number # seconds since 1970, to the millisecond
function time.now() end

--- A clock that never jumps, for measuring.
---@return number # seconds, to the millisecond
function time.monotonic() end

--- As RFC 3339 writes it, in UTC.
---@param t? number seconds since 1970; now if left out
---@return string # "2026-11-21T12:00:00.000Z"
function time.iso(t) end

task = {}

--- Calls `fn` on its own, when the present handler ends or waits.
---@param fn function
---@param ... any its arguments
---@return true?
---@return string? # "quota"
---@return string? # which setting that was: limits.tasks (4,096)
function task.spawn(fn, ...) end

--- Runs all of them, waits for all, and raises the first error if there was one.
---@async
---@param functions function[]
---@return any[]? # the first result of each
---@return string? # "quota"
---@return string? # as task.spawn
function task.all(functions) end

--- Calls `fn` while nobody else of this generation of the app holds the lock of that name; first come, first served. An error passes through and frees the lock. Taking it again inside waits for ever. With 4096 locks held it returns nil, "quota".
---@async
---@param name string 1 to 128 bytes
---@param fn function
---@param ... any its arguments
---@return any # what `fn` returns
function lock(name, fn, ...) end

json = {}

--- A table with keys 1..n is an array, any other an object; an empty one is {} unless it is a json.array. Raises on functions, cycles, NaN and bytes that are not UTF-8, naming the path.
---@param value any
---@return string
function json.encode(value) end

--- Strict (RFC 8259). null becomes json.null.
---@param text string
---@return any # the value; nil if it is not JSON
---@return string? # line:column: what is wrong
function json.decode(text) end

--- JSON's null, in both directions.
---@type json_null
json.null = nil

--- Marks a table as an array, so that an empty one is written [].
---@param t? table
---@return table # t itself
function json.array(t) end

limit = {}

--- A token bucket for every key.
---@param options limit_options
---@return limit
function limit.new(options) end

---@class limit
local limit_class = {}

--- Takes tokens, or says when there will be some.
---@param key any whose bucket: client.user, client.ip, …
---@param n? number tokens; 1 if left out
---@return true? # taken
---@return number? # seconds until it would be
function limit_class:take(key, n) end

log = {}

--- A line in the server's log; at most 100 a second.
---@param text string
---@param fields? table further fields of the line; names that it has already get a `_` behind them
function log.debug(text, fields) end

--- The same at level info.
---@param text string
---@param fields? table
function log.info(text, fields) end

--- The same at level warn.
---@param text string
---@param fields? table
function log.warn(text, fields) end

--- The same at level error.
---@param text string
---@param fields? table
function log.error(text, fields) end

--- log.info, with tabs between.
---@param ... any
function print(...) end

crypto = {}

--- Unpredictable bytes.
---@param n integer 1 to 65536
---@return string # n bytes
function crypto.random(n) end

--- A random UUID (version 4).
---@return string
function crypto.uuid() end

--- SHA-256.
---@param s string
---@param options? { raw: boolean } raw: bytes instead of hex
---@return string # 64 hex digits
function crypto.sha256(s, options) end

--- HMAC (RFC 2104).
---@param algorithm "sha1"|"sha256"|"sha512"
---@param key string
---@param s string
---@param options? { raw: boolean }
---@return string # hex
function crypto.hmac(algorithm, key, s, options) end

--- Equal? Takes the same time wherever they differ.
---@param a string
---@param b string
---@return boolean
function crypto.equals(a, b) end

--- Base64 (RFC 4648), padded.
---@param s string
---@return string
function crypto.base64(s) end

--- And back; strict.
---@param s string
---@return string? # bytes
---@return string? # "syntax"
function crypto.unbase64(s) end

--- Loads one of the app's own files, once, from the snapshot taken when the app was loaded. A file may not wait while it is loaded.
---@param module string "lib.words" is lib/words.lua or lib/words/init.lua
---@return any
function require(module) end

--- `env` of app.conf.lua. Read-only; nothing of the process's environment.
---@type table<string, string>
env = nil

---@class app_table
---@field name string The app's name.
---@field version string 16 hex digits of its files' hash.
---@field generation integer 1 at first, one more with each reload.
---@field node string The server's name in a cluster; "local" for now.
app = {}

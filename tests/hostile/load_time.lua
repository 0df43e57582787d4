--! These are the whole main.lua of an app.
--# endless-main | refused cpu
while true do end
--# endless-main-swallowed | refused cpu
while true do pcall(function() while true do end end) end
--# endless-pattern-main | refused cpu
local n = 100
local _ = (("a"):rep(n)):find(("a?"):rep(n) .. ("a"):rep(n) .. "b")
--# endless-coroutine-main | refused cpu
while true do coroutine.resume(coroutine.create(function() while true do end end)) end
--# rehash-main | refused
local t = {}
for i = 1, 1 << 16 do t[i * ((1 << 17) - 1)] = true end
t[-1] = true
error("so far")
--# memory-main | refused memory
local s = "x"
while true do s = s .. s end
--# memory-main-swallowed | refused
local t = {}
pcall(function() for i = 1, 1e9 do t[i] = ("x"):rep(1000) .. i end end)
error("full")
--# stack-main | refused
local function f() return 1 + f() end
f()
--# syntax-error | refused unexpected symbol
x = = 1
--# runtime-error | refused on purpose
error("on purpose")
--# error-table | refused (error object is a table value)
error({})
--# error-nil | refused (error object is a nil value)
error(nil)
--# error-with-endless-tostring | refused (error object is a table value)
error(setmetatable({}, { __tostring = function() while true do end end }))
--# sleep-in-main | refused the main chunk
sleep(1)
--# broadcast-in-main | refused
broadcast("x")
--# returns-a-number | refused returns a number
return 5
--# returns-a-function | refused returns a function
return function() end
--# handler-is-a-number | refused 'on_message' must be a function
on_message = 5
--# handler-is-callable | refused 'on_message' must be a function
on_message = setmetatable({}, { __call = function() end })
--# returned-table-with-endless-index | pong
local handlers = { on_message = function(client, text) client:send(text == "ping" and "pong" or text) end }
return setmetatable(handlers, { __index = function() while true do end end, __pairs = function() while true do end end })
--# globals-with-endless-index | pong
function on_message(client, text) client:send(text == "ping" and "pong" or text) end
setmetatable(_G, { __index = function() while true do end end })
--# globals-emptied | pong
function on_message(client, text) client:send(text == "ping" and "pong" or text) end
local globals = _G
for k in pairs(globals) do if k ~= "on_message" then globals[k] = nil end end
--# many-globals | pong
function on_message(client, text) client:send(text == "ping" and "pong" or text) end
for i = 1, 10000 do _G["g" .. i] = i end
--# timers-in-main | pong
function on_message(client, text) client:send(text == "ping" and "pong" or text) end
for _ = 1, 100 do timer.every(0.05, function() end) end
--# too-many-timers-in-main | refused or pong
function on_message(client, text) client:send(text == "ping" and "pong" or text) end
for _ = 1, 100000 do assert(timer.after(100, function() end)) end
--# bytecode-main | refused
--%bytes
--# binary-main | refused
--%garbage
--# requires-itself | refused or pong
function on_message(client, text) client:send(text == "ping" and "pong" or text) end
require("main")
--# finalizer-main | refused __gc
setmetatable({}, { __gc = function() end })
--# close-main | refused closing
local _ <close> = setmetatable({}, { __close = function() error("closing") end })
--# on-start-endless | pong
function on_start() while true do end end
function on_message(client, text) client:send(text == "ping" and "pong" or text) end
--# on-start-raises | pong
function on_start() error("no start") end
function on_message(client, text) client:send(text == "ping" and "pong" or text) end
--# on-connect-endless | refused connection
function on_connect() while true do end end
--# on-connect-raises | refused connection
function on_connect() error("x") end
--# on-connect-nonsense | refused connection
function on_connect() return 5 end
--# on-open-raises | pong
function on_open() error("x") end
function on_message(client, text) client:send(text == "ping" and "pong" or text) end
--# on-open-endless | pong
function on_open() while true do end end
function on_message(client, text) client:send(text == "ping" and "pong" or text) end
--# on-close-endless | pong
function on_close() while true do end end
function on_message(client, text) client:send(text == "ping" and "pong" or text) end
--# empty | silence
--# comment-only | silence
-- nothing here
--# every-event-endless-timer | pong
function on_message(client, text) client:send(text == "ping" and "pong" or text) end
timer.every(0.2, function() while true do end end)

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
--# words-by-escapes | pong
local s = "\x73\x6C\x65\x65\x70"
on_message = function(c) c:send("pong") end

--# words-json-of-a-request-unnamed | pong
function on_request(r) local v = r["js" .. "on"](r) return type(v) end
function on_message(c) c:send("pong") end

--# words-env-as-a-table | refused connection or pong
local e = getmetatable("").__index
function on_message(c) c:send("pong") end

--# words-glued-to-numbers | pong
local a=0x1p4 local b=3 local c=a..b
function on_message(c)c:send"pong"end

--# words-after-utf8 | pong
local t = "é" local type=type local x = "ü"..tostring(type)
function on_message(c) c:send(type(tostring) == "function" and "pong" or "no") end

--# words-a-name-in-a-comment-makes-it-there | pong
-- broadcast
function on_message(c) c:send("pong") end

--# words-method-call-on-strings-unnamed | pong
function on_message(c) c:send(("PONG"):lower():rep(1)) end

--# on-error-raises-for-ever | pong
local n = 0
function on_error() error("again") end
function on_open() error("x") end
function on_message(c) c:send("pong") end

--# on-error-loops | pong or refused connection
function on_error() while true do end end
function on_open() error("x") end
function on_message(c) c:send("pong") end

--# on-error-spawns-errors | pong
function on_error() for i = 1, 100 do task.spawn(error, "x") end end
function on_open() error("x") end
function on_message(c) c:send("pong") end

--# on-connect-waits-for-ever | refused connection or silence or pong
local n = 0
function on_connect() n = n + 1 if n == 1 then return true end sleep(1e6) end
function on_message(c) c:send("pong") end

--# on-connect-data-huge | pong or refused connection
function on_connect() local t = {} for i = 1, 50000 do t[i] = {i} end return {data = t} end
function on_message(c) c:send("pong") end

--# on-connect-rooms-lie | pong or refused connection
function on_connect() return {rooms = setmetatable({}, {__len = function() return 1e9 end, __index = function() return "x" end})} end
function on_message(c) c:send("pong") end

--# on-connect-rooms-hundred-thousand | pong or refused connection
function on_connect() local t = {} for i = 1, 100000 do t[i] = "r" .. i end return {rooms = t} end
function on_message(c) c:send("pong") end

--# on-connect-headers-inject | refused connection or pong
function on_connect() return {headers = {["X-A\r\nX-B"] = "1", ["X-C"] = "a\r\nb: c"}} end
function on_message(c) c:send("pong") end

--# on-connect-user-odd | refused connection or pong
function on_connect() return {user = ("\0"):rep(128)} end
function on_message(c) c:send("pong") end

--# on-connect-returns-itself-proxied | refused connection or pong
function on_connect() return setmetatable({}, {__index = function() while true do end end}) end
function on_message(c) c:send("pong") end

--# on-close-never-ends | pong
function on_close() while true do sleep(0) end end
function on_message(c) c:send("pong") end

--# on-start-sleeps-for-ever | pong
function on_start() while true do sleep(0) end end
function on_message(c) c:send("pong") end

--# main-fills-memory-to-the-brim | pong or refused connection
t = {}
pcall(function() while true do t[#t + 1] = ("x"):rep(1000) .. #t end end)
t = nil
function on_message(c) c:send("pong") end

--# main-leaves-no-memory-at-all | pong or refused connection or closed or silence
t = {}
pcall(function() while true do t[#t + 1] = ("x"):rep(1000) .. #t end end)
pcall(function() while true do t[#t + 1] = {} end end)
function on_message(c) c:send("pong") end

--# main-returns-handlers-that-are-proxies | pong or refused connection
return setmetatable({on_message = function(c) c:send("pong") end}, {__index = error, __pairs = error, __len = error})

--# main-deep-brackets | refused
x = [[[[[[[[[[[[[[[[[[[[[[[[[[[

--# main-in-a-coroutine-that-defines | pong
coroutine.wrap(function() function on_message(c) c:send("pong") end coroutine.yield() end)()

--# main-raises-a-coroutine | refused (error object is a thread value)
error(coroutine.create(print))

--# main-closes-with-an-error | refused bye
local x <close> = setmetatable({}, {__close = function() error("bye") end})

--# main-forks-tasks | pong or refused connection
pcall(function() for i = 1, 10000 do task.spawn(function() while true do sleep(0) end end) end end)
function on_message(c) c:send("pong") end

--# main-timers-every-zero | pong or refused connection
pcall(function() for i = 1, 10000 do timer.every(0.001, function() end) end end)
function on_message(c) c:send("pong") end

--# empty-globals | ok nil
local globals = _G
for k in pairs(globals) do globals[k] = nil end
--# globals-index-endless | ok
setmetatable(_G, { __index = function() while true do end end })
--# globals-newindex-endless | killed soft
setmetatable(_G, { __newindex = function() while true do end end })
fresh = 1
--# globals-locked | ok
setmetatable(_G, { __metatable = false, __index = function() error("no") end })
--# handler-is-a-callable-table | ok
on_close = setmetatable({}, { __call = function() while true do end end })
--# handler-is-a-string | ok
on_close = "not a function"
--# handlers-replaced | ok
on_message = function() while true do end end
--# string-methods-replaced | ok
for k in pairs(string) do string[k] = function() error("mine") end end
--# string-methods-endless | ok
for k in pairs(string) do string[k] = function() while true do end end end
--# table-functions-replaced | ok
for k in pairs(table) do table[k] = nil end
--# pcall-replaced | ok
pcall, error, assert, tostring = nil, nil, nil, nil
--# pairs-and-next-replaced | ok
pairs, next, ipairs = nil, nil, nil
--# json-replaced | ok
json.encode, json.decode = function() while true do end end, nil
--# json-null-replaced | ok [null]
local null = json.null
json.null = 5
return json.encode { null }
--# time-replaced | ok
os.time, os.date, os.clock, time.now = nil, nil, nil, nil
--# log-replaced | ok
log.info, log.error, print = error, error, error
--# debug-traceback-replaced | error here
debug.traceback = function() while true do end end
error("here")
--# sandbox-functions-as-globals | ok
_G.setmetatable, _G.getmetatable, _G.rawset, _G.rawget = nil, nil, nil, nil
--# client-methods-are-out-of-reach | ok false
return getmetatable(client)
--# client-field-write | error cannot be set
client.send = function() end
--# client-id-write | error cannot be set
client.id = 1
--# client-rawset | error table expected
rawset(client, "id", 1)
--# client-setmetatable | error table expected
setmetatable(client, {})
--# client-data-not-a-table | error client.data
client.data = 5
--# client-data-with-metatable | ok
client.data = setmetatable({}, { __index = function() while true do end end, __pairs = function() while true do end end })
--# client-as-key | ok true
local t = {}
t[client] = true
return t[client]
--# client-pairs | error
for _ in pairs(client) do end
--# client-length | error attempt to get length
return #client
--# client-call | error attempt to call
client()
--# client-arithmetic | error attempt to perform arithmetic
return client + 1
--# client-compare | error attempt to compare
return client < client
--# client-concat | error attempt to concatenate
return "x" .. client
--# client-tostring | ok /^client %d+$/
return tostring(client)
--# client-method-with-table | error client
return client.send({}, "x")
--# client-method-with-other-userdata | error client
return client.send(room("x"), "x")
--# client-method-with-thread | error client
return client.close(coroutine.running())
--# room-metatable | ok false
return getmetatable(room("x"))
--# room-method-with-client | error room
return room("x").count(client)
--# timer-metatable | ok false
local t = timer.after(1000, function() end)
local mt = getmetatable(t)
t:cancel()
return mt
--# timer-method-with-client | error
return timer.after(1000, function() end).cancel(client)
--# limit-metatable | ok false
return getmetatable(limit.new { rate = 1, burst = 1 })
--# limit-method-with-room | error
return limit.new({ rate = 1, burst = 1 }).take(room("x"), "k")
--# app-table-write | error
app.name = "other"
--# env-write | error
env.X = "1"
--# env-is-not-the-process's | ok nil
return env.PATH or env.HOME or env.USER
--# io | error io.open is not available to apps
io.open("/etc/passwd")
--# io-popen | error io.popen is not available to apps
io.popen("id")
--# os-execute | error os.execute is not available to apps
os.execute("id")
--# os-exit | error os.exit is not available to apps
os.exit(1)
--# os-getenv | error os.getenv is not available to apps
return os.getenv("PATH")
--# os-remove | error os.remove is not available to apps
os.remove("main.lua")
--# os-setlocale | error os.setlocale is not available to apps
os.setlocale("de_DE")
--# package | error package.loadlib is not available to apps
package.loadlib("libc.so.6", "system")
--# dofile | error dofile is not available to apps
dofile("/etc/passwd")
--# loadfile | error loadfile is not available to apps
loadfile("main.lua")
--# require-c | error
require("posix")
--# require-path | error
require("../../../../etc/passwd")
--# require-absolute | error
require("/etc/passwd")
--# require-nul | error
require("main\0.lua")
--# debug-getregistry | error debug.getregistry is not available to apps
debug.getregistry()
--# debug-getinfo | error debug.getinfo is not available to apps
debug.getinfo(1)
--# debug-sethook | error debug.sethook is not available to apps
debug.sethook()
--# debug-setmetatable | error debug.setmetatable is not available to apps
debug.setmetatable("", {})
--# debug-upvalues | error debug.getupvalue is not available to apps
debug.getupvalue(print, 1)
--# no-address-of-a-table | ok /^table: %d+$/
return tostring({})
--# no-address-of-a-function | ok /^function: %d+$/
return tostring(print)
--# no-address-by-format | ok /^0x0*%x+$/
return ("%p"):format({})
--# no-address-of-a-string | ok (null)
return ("%p"):format("text")
--# no-address-in-an-error | error bad argument #1 to 'insert' (table expected, got function)
table.insert(print, 1)
--# no-address-by-randomseed | ok 0
return select("#", math.randomseed())
--# no-address-in-a-thread | ok /^thread: %d+$/
return tostring(coroutine.running())
--# no-address-by-json | error
return json.encode(print)
--# env-of-load-is-one's-own | ok nil
secret = "x"
return load("return secret", "n", "t", {})()
--# shared-nothing-with-the-victim | ok nil
return victim_secret
--# globals-table-replaced | ok
_G = {}
--# env-replaced | ok
_ENV = {}
--# on-error-defined | ok
on_error = function() while true do end end

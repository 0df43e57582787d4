--# string-metatable | ok false
return getmetatable("")
--# string-metatable-set | error bad argument #1 to 'setmetatable'
setmetatable("", {})
--# string-index-endless | error
getmetatable("").__index = function() while true do end end
--# string-arithmetic | ok 3
return "1" + "2"
--# number-metatable | ok nil
return getmetatable(1)
--# function-metatable | ok nil
return getmetatable(print)
--# nil-metatable | error table expected
setmetatable(nil, {})
--# protected | error cannot change a protected metatable
setmetatable(setmetatable({}, { __metatable = 1 }), {})
--# io-metatable | ok false
return getmetatable(io)
--# json-array-metatable | ok
return type(getmetatable(json.array {})) ~= "table"
--# metatable-of-itself | error loop
local t = {}
setmetatable(t, t)
t.__index = t
return t.x
--# index-is-a-client | ok
return setmetatable({}, { __index = client }).id ~= nil
--# newindex-is-a-client | error
setmetatable({}, { __newindex = client }).x = 1
--# name-is-megabytes | error
local o = setmetatable({}, { __name = ("x"):rep(1000000) })
return #tostring(o) > 0 and table.concat { o }
--# name-with-escapes | error
table.concat { setmetatable({}, { __name = "\27[2J" }) }
--# name-in-an-argument-error | error table expected
table.insert(client, 1)
--# tostring-returns-number | ok or error
return tostring(setmetatable({}, { __tostring = function() return 1 end }))
--# tostring-raises | error inside
return tostring(setmetatable({}, { __tostring = function() error("inside", 0) end }))
--# len-negative | ok -1
return #setmetatable({}, { __len = function() return -1 end })
--# len-is-a-table | error object length is not an integer
return table.concat(setmetatable({}, { __len = function() return {} end }))
--# call-with-many | ok 3
return (setmetatable({}, { __call = function(_, ...) return select("#", ...) end })(1, 2, 3))
--# eq-on-different-types | ok false
return setmetatable({}, { __eq = function() return true end }) == 1
--# idiv-and-friends | ok idiv
local mt = { __idiv = function() return "idiv" end }
return setmetatable({}, mt) // 1
--# bitwise-metamethods | ok band
return setmetatable({}, { __band = function() return "band" end }) & 1
--# gc-in-a-shared-metatable | error __gc
local mt = { __index = {}, __gc = true }
setmetatable({}, mt)
--# mode-not-a-string | ok
setmetatable({}, { __mode = 5 })
--# mode-changed-later | ok
local mt = {}
local t = setmetatable({}, mt)
mt.__mode = "kv"
for i = 1, 100 do t[i] = {} end
collectgarbage()
return "alive"
--# pairs-returns-nonsense | error
for _ in pairs(setmetatable({}, { __pairs = function() return 1 end })) do end
--# index-on-nil-via-method | error attempt to index
return (nil):method()
--# rawequal-and-rawlen | ok true
local t = setmetatable({ 1 }, { __len = function() return 5 end, __eq = function() return true end })
return rawlen(t) == 1 and not rawequal(t, {})
--# close-without-metamethod | error variable 'x' got a non-closable value
local x <close> = {}
--# close-changed-later | ok or error
local mt = { __close = function() end }
local x <close> = setmetatable({}, mt)
mt.__close = nil
--# message-is-a-proxy | error or killed
client:send(setmetatable({}, { __pairs = function() while true do end end, __index = function() while true do end end }))
error("sent")
--# options-are-a-proxy | ok or error or killed
broadcast("x", setmetatable({}, { __index = function() while true do end end, __pairs = function() while true do end end }))
return "sent"
--# broadcast-except-proxy | ok or error
broadcast("x", { except = setmetatable({}, { __index = function() return 1 end, __len = function() return 1 << 50 end }) })
return "sent"
--# task-all-proxy | ok or error
task.all(setmetatable({}, { __len = function() return 1 << 40 end, __index = function() return print end }))
return "done"
--# json-proxy | ok or error or killed
return json.encode(setmetatable({}, { __len = function() return 1 << 50 end, __index = function() return 1 end }))
--# sort-with-proxy-elements | error attempt to compare
table.sort { setmetatable({}, {}), setmetatable({}, {}) }
--# limit-options-proxy | error or ok
limit.new(setmetatable({}, { __index = function() return 1e308 end }))
error("made")
--# inherited-handlers | ok
local proxy = setmetatable({}, { __index = function() while true do end end })
rawset(_G, "on_slow", nil)
return rawget(proxy, "x")

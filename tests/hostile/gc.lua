--# finalizer-endless | error __gc is not available to apps
setmetatable({}, { __gc = function() while true do end end })
--# finalizer-later | ok false
local ran = false
local mt = {}
setmetatable({}, mt)
mt.__gc = function() ran = true end
collectgarbage()
return ran
--# finalizer-that-revives | error __gc
local t = {}
t.self = setmetatable({}, { __gc = function(o) t.self = o end })
--# finalizer-by-inheritance | ok
setmetatable({}, setmetatable({}, { __index = { __gc = function() while true do end end } }))
collectgarbage()
--# collect-forever | killed
while true do collectgarbage() end
--# step-forever | killed
while true do collectgarbage("step", 1000) end
--# count-forever | killed
while true do collectgarbage("count") end
--# stop-the-collector | error not available to apps
collectgarbage("stop")
--# tune-the-collector | error not available to apps
collectgarbage("incremental", 1, 1, 1)
--# generational-mode | error not available to apps
collectgarbage("generational")
--# pause-the-collector | error not available to apps
collectgarbage("setpause", 100000)
--# garbage-forever | killed
while true do local _ = { {}, {}, {} } end
--# string-garbage-forever | killed
local i = 0
while true do i = i + 1 local _ = ("x"):rep(100) .. i end
--# closure-garbage-forever | killed
while true do local x = {} local _ = function() return x end end
--# coroutine-garbage-forever | killed
while true do coroutine.wrap(function() coroutine.yield() end)() end
--# ephemeron-chain | ok or error weak
local e = setmetatable({}, { __mode = "k" })
local first = {}
local last = first
for _ = 1, 8000 do local k = {} e[last] = k last = k end
collectgarbage()
return "done"
--# ephemeron-chain-backwards | ok
local e = setmetatable({}, { __mode = "k" })
local keys = {}
for i = 1, 8000 do keys[i] = {} end
for i = 8000, 2, -1 do e[keys[i]] = keys[i - 1] end
local first = keys[8000]
keys = nil
collectgarbage()
return first and "done"
--# weak-values | ok or error weak values are not available to apps
local t = setmetatable({}, { __mode = "v" })
for i = 1, 1000 do t[i] = {} end
collectgarbage()
return t[1]
--# weak-newindex-freed-while-it-grows | ok or error or memory
local mt = {}
local function weaken()
  local inner = {}
  mt.__newindex = inner
  mt.__mode = "v"
end
local o = setmetatable({}, setmetatable(mt, pcall(setmetatable, {}, mt) and nil or nil))
weaken()
pcall(setmetatable, mt, { __mode = "v" })
pcall(function() for i = 1, 100000 do o[i] = ("x"):rep(100) end end)
return "alive"
--# deep-structure | ok
local t = {}
local root = t
for _ = 1, 100000 do t.next = {} t = t.next end
collectgarbage()
return root and "done"
--# wide-structure | ok
local t = {}
for i = 1, 50000 do t[i] = { i } end
collectgarbage()
return #t
--# cycle-of-many | ok
local t = {}
for i = 1, 10000 do t[i] = { t, i } end
t = nil
collectgarbage()
return "done"
--# emergency-collections | killed or memory or ok
local keep = {}
pcall(function() for i = 1, 1e9 do keep[i] = ("x"):rep(1000) end end)
for _ = 1, 1e6 do pcall(string.rep, "x", 1 << 24) end
return "done"
--# close-of-garbage | ok 0
local n = 0
for _ = 1, 100 do
  local co = coroutine.create(function()
    local _ <close> = setmetatable({}, { __close = function() n = n + 1 end })
    coroutine.yield()
  end)
  coroutine.resume(co)
end
collectgarbage()
return n
--# big-string-churn | killed or memory
while true do local _ = ("x"):rep(1 << 20) end

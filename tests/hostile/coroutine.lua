--# endless-inside | killed soft
coroutine.wrap(function() while true do end end)()
--# endless-inside-many | killed soft
local function nest(n) if n == 0 then while true do end end coroutine.wrap(nest)(n - 1) end
nest(50)
--# ping-pong-forever | killed soft
local co = coroutine.wrap(function() while true do coroutine.yield() end end)
while true do co() end
--# resume-each-other | ok
local a, b
a = coroutine.create(function() return coroutine.resume(b) end)
b = coroutine.create(function() return coroutine.resume(a) end)
return select(3, coroutine.resume(a))
--# resume-itself | ok false
local co
co = coroutine.wrap(function() return coroutine.resume((coroutine.running())) end)
return (co())
--# resume-the-task | ok false
local task_thread = coroutine.running()
return (coroutine.resume(task_thread))
--# close-the-task | error cannot close a running coroutine
coroutine.close((coroutine.running()))
--# close-the-task-from-inside | error cannot close a normal coroutine
local main = coroutine.running()
coroutine.wrap(function() coroutine.close(main) end)()
--# yield-out-of-the-task | error outside a coroutine
coroutine.yield("out")
--# yield-in-a-metamethod | ok 5
local t = setmetatable({}, { __index = function() return coroutine.yield() end })
local co = coroutine.wrap(function() return t.x end)
co()
return co(5)
--# yield-in-a-sort-comparator | error attempt to yield across a C-call boundary
local co = coroutine.create(function() table.sort({ 1, 2, 3 }, function() coroutine.yield() end) end)
local ok, err = coroutine.resume(co)
error(err)
--# yield-in-gsub | error attempt to yield across a C-call boundary
local co = coroutine.create(function() ("x"):gsub(".", function() coroutine.yield() end) end)
local ok, err = coroutine.resume(co)
error(err)
--# yield-in-close | ok
local co = coroutine.wrap(function()
  do local _ <close> = setmetatable({}, { __close = function() coroutine.yield(1) end }) end
  return 2
end)
return co() + co()
--# close-runs-endless-close | killed soft
local co = coroutine.create(function()
  local _ <close> = setmetatable({}, { __close = function() while true do end end })
  coroutine.yield()
end)
coroutine.resume(co)
coroutine.close(co)
--# wrap-runs-endless-close | killed soft
coroutine.wrap(function()
  local _ <close> = setmetatable({}, { __close = function() while true do end end })
  error("x")
end)()
--# dead-coroutine | ok cannot resume dead coroutine
local co = coroutine.create(function() end)
coroutine.resume(co)
return select(2, coroutine.resume(co))
--# million-small-coroutines | killed or memory or ok
local n = 0
for i = 1, 1000000 do n = n + coroutine.wrap(function() return 1 end)() end
return n
--# deep-then-yield | ok 100
local function deep(n) if n == 0 then coroutine.yield() return 0 end return 1 + deep(n - 1) end
local co = coroutine.create(deep)
coroutine.resume(co, 100)
return select(2, coroutine.resume(co))
--# sleep-inside-a-coroutine | ok woke
return coroutine.wrap(function() sleep(0.01) return "woke" end)()
--# sleep-inside-sort | ok 3
local t = { 3, 1, 2 }
table.sort(t, function(a, b) sleep(0.001) return a < b end)
return t[3]
--# sleep-inside-gsub | ok yyy
return (("xxx"):gsub("x", function() sleep(0.001) return "y" end))
--# sleep-inside-pcall | ok true
return (pcall(function() sleep(0.001) end))
--# sleep-inside-metamethod | ok 1
return setmetatable({}, { __index = function() sleep(0.001) return 1 end }).x
--# sleep-inside-tostring | ok slow
return tostring(setmetatable({}, { __tostring = function() sleep(0.001) return "slow" end }))
--# sleep-inside-close | ok closed
local s = "open"
do
  local _ <close> = setmetatable({}, { __close = function() sleep(0.001) s = "closed" end })
end
return s
--# sleep-inside-load-reader | ok 1
local i = 0
return load(function() sleep(0.001) i = i + 1 return ({ "return ", "1" })[i] end)()
--# resume-a-sleeper | ok false
local co = coroutine.create(function() sleep(0.05) return "done" end)
local said
task.spawn(function() said = coroutine.resume(co) end)
task.spawn(function() sleep(0.01) said = coroutine.resume(co) end)
sleep(0.02)
return said
--# close-a-sleeper | ok false
local co = coroutine.create(function() sleep(0.05) end)
task.spawn(function() coroutine.resume(co) end)
sleep(0.01)
return (pcall(coroutine.close, co))
--# status-of-a-sleeper | ok normal
local co = coroutine.create(function() sleep(0.05) end)
task.spawn(function() coroutine.resume(co) end)
sleep(0.01)
return coroutine.status(co)
--# isyieldable-lies | ok false
return coroutine.isyieldable((coroutine.running()))
--# generator-abandoned | ok 1
local gen = coroutine.wrap(function() for i = 1, math.huge do coroutine.yield(i) end end)
return gen()
--# wrap-called-by-c | ok 3
local co = coroutine.wrap(function() for i = 1, 9 do coroutine.yield("y") end end)
return select(2, ("xxx"):gsub(".", function() return co() end))
--# coroutine-as-iterator-endless | killed soft
for _ in coroutine.wrap(function() while true do coroutine.yield(1) end end) do end
--# too-many-results | error too many results or memory
local co = coroutine.create(function() return table.unpack({}, 1, 900000) end)
local t = { coroutine.resume(co) }
error(tostring(t[2] or #t))
--# close-twice | ok true
local co = coroutine.create(function() coroutine.yield() end)
coroutine.resume(co)
coroutine.close(co)
return (coroutine.close(co))
--# create-of-c-function | ok true
return (coroutine.resume(coroutine.create(type), 1))
--# wrap-of-pcall | ok true
return (coroutine.wrap(pcall)(type, 1))
--# yield-across-pcall | ok 2
local co = coroutine.wrap(function() return select(2, pcall(function() return coroutine.yield(1) end)) end)
co()
return co(2)
--# error-with-coroutine-as-value | error (error object is a thread value)
error(coroutine.create(function() end))

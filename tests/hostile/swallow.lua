--# pcall-loop | killed soft
while true do pcall(function() while true do end end) end
--# nested-pcall-loop | killed soft
while true do pcall(pcall, pcall, function() while true do end end) end
--# pcall-recursion | killed
local function f() pcall(f) while true do end end
f()
--# xpcall-loop | killed soft
while true do xpcall(function() while true do end end, function() end) end
--# xpcall-handler-endless | killed
xpcall(function() while true do end end, function() while true do end end)
--# xpcall-handler-endless-on-error | killed
xpcall(error, function() while true do end end)
--# xpcall-handler-pcalls | killed
xpcall(function() while true do end end, function() while true do pcall(function() while true do end end) end end)
--# xpcall-traceback-loop | killed soft
while true do xpcall(function() while true do end end, debug.traceback) end
--# xpcall-c-handler | killed soft
while true do xpcall(function() while true do end end, tostring) end
--# wrap-loop | killed soft
while true do pcall(coroutine.wrap(function() while true do end end)) end
--# resume-loop | killed soft
while true do coroutine.resume(coroutine.create(function() while true do end end)) end
--# coroutine-chain | killed soft
local function nest(n)
  if n == 0 then while true do end end
  while true do pcall(coroutine.wrap(nest), n - 1) end
end
nest(60)
--# close-variables-150 | killed
local function nest(n)
  local _ <close> = setmetatable({}, { __close = function() while true do end end })
  if n == 0 then while true do end end
  nest(n - 1)
end
nest(150)
--# close-that-loops-after-the-kill | killed
local _ <close> = setmetatable({}, { __close = function() while true do end end })
while true do end
--# close-that-pcalls-after-the-kill | killed
local _ <close> = setmetatable({}, { __close = function() while true do pcall(function() while true do end end) end end })
while true do end
--# close-is-a-c-function | killed soft
local _ <close> = setmetatable({}, { __close = error })
while true do end
--# close-is-a-wrapped-coroutine | killed
local _ <close> = setmetatable({}, { __close = coroutine.wrap(function() while true do end end) })
while true do end
--# close-of-a-suspended-coroutine-loops | killed
local co = coroutine.create(function()
  local _ <close> = setmetatable({}, { __close = function() while true do pcall(function() while true do end end) end end })
  coroutine.yield()
end)
coroutine.resume(co)
while true do pcall(coroutine.close, co) end
--# tostring-of-the-error | killed soft
while true do local ok, err = pcall(function() while true do end end) tostring(err) end
--# rethrow | killed soft
while true do
  local ok, err = pcall(function() while true do end end)
  pcall(error, err)
end
--# kept-error-value | killed soft
local _ <close> = setmetatable({}, { __close = function(_, err) kept = err end })
while true do end
--# gsub-pcall | killed
while true do ("x"):gsub(".", function() pcall(function() while true do end end) end) end
--# gsub-pcall-in-c | killed
while true do ("x"):rep(100000):gsub(".", pcall) end
--# sort-pcall | killed
while true do
  table.sort({ 3, 2, 1 }, function() return pcall(function() while true do end end) end)
end
--# load-reader | killed soft
while true do load(function() while true do end end) end
--# load-reader-pcall | killed soft
while true do load(function() pcall(function() while true do end end) return "x" end) end
--# metamethod-pcall | killed soft
local t = setmetatable({}, { __index = function() pcall(function() while true do end end) end })
while true do local _ = t.x end
--# iterator-pcall | killed soft
for _ in function() pcall(function() while true do end end) return 1 end do end
--# task-spawned | killed
task.spawn(function() while true do pcall(function() while true do end end) end end)
--# task-all | killed
task.all { function() while true do end end, function() while true do end end }
--# task-all-swallowed | killed
while true do pcall(task.all, { function() while true do end end }) end
--# lock-swallowed | killed
while true do pcall(lock, "l", function() while true do end end) end
--# timer-endless | killed
timer.after(0.001, function() while true do end end)
--# broadcast-where-endless | killed
broadcast("x", { where = function() while true do end end })
--# broadcast-where-swallowed | killed
while true do pcall(broadcast, "x", { where = function() while true do end end }) end
--# sleep-then-endless | killed
sleep(0.01)
while true do pcall(function() while true do end end) end
--# many-short-waits | ok or killed
for _ = 1, 50 do sleep(0.001) for _ = 1, 10000 do end end
return "done"
--# c-loop-swallowed | killed
while true do pcall(string.find, ("a"):rep(30), ("a?"):rep(30) .. ("a"):rep(30) .. "b") end
--# rehash-swallowed | killed or memory
while true do
  pcall(function()
    local t = {}
    for i = 1, 1 << 14 do t[i * ((1 << 15) - 1)] = true end
    t[-1] = true
  end)
end
--# stack-overflow-swallowed | killed
local function f() return 1 + f() end
while true do pcall(f) end
--# memory-error-swallowed | killed or memory
while true do pcall(string.rep, "x", 1 << 40) end

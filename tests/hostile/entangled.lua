-- What apps do with the API under attack: waits inside everything, threads that
-- are somebody else's, filters that do what they must not.
--# sleep-does-not-renew-the-budget | killed
while true do
  local s = 0
  for i = 1, 100000 do s = s + i end
  sleep(0)
end
--# lock-does-not-renew-the-budget | killed
while true do
  for i = 1, 100000 do end
  lock("mine", function() sleep(0) end)
end
--# task-all-does-not-renew-the-budget | killed
while true do
  for i = 1, 100000 do end
  task.all { function() end, function() sleep(0) end }
end
--# budget-is-for-an-event-not-a-life | ok 20
local n = 0
for i = 1, 20 do
  local ends = os.clock() + 0.003
  while os.clock() < ends do end
  sleep(0)
  n = n + 1
end
return n
--# spin-in-every | killed
local t
t = timer.every(0.001, function() t:cancel() while true do end end)
sleep(5)
--# closing-value-in-for-spins | killed
local closer = setmetatable({}, { __close = function() while true do end end })
for i in next, {1}, nil, closer do break end
--# sort-comparator-that-sorts-and-sleeps | ok true
local function s(depth)
  local t = { 3, 1, 2 }
  table.sort(t, function(a, b) if depth > 0 then s(depth - 1) else sleep(0) end return a < b end)
  return t[1] == 1 and t[3] == 3
end
return s(3)
--# move-with-metamethods-that-sleep | ok 9
local got = 0
local src = setmetatable({}, { __index = function(_, k) sleep(0) return k end })
local dst = setmetatable({}, { __newindex = function(t, k, v) sleep(0) got = got + v end })
table.move(src, 2, 4, 1, dst)
return got
--# gsub-table-with-index-that-sleeps | ok <a><b>
return (("ab"):gsub(".", setmetatable({}, { __index = function(_, k) sleep(0) return "<" .. k .. ">" end })))
--# gmatch-iterator-in-other-coroutines | ok abc
local it = ("abc"):gmatch(".")
local t = {}
for i = 1, 3 do t[i] = coroutine.wrap(it)() end
return table.concat(t)
--# pairs-with-a-metamethod-that-sleeps | ok 3
local n = 0
for k in pairs(setmetatable({}, { __pairs = function() sleep(0) return next, { 1, 2, 3 }, nil end })) do n = n + 1 sleep(0) end
return n
--# sort-comparator-that-empties-the-table | ok or error
local t = {} for i = 1, 1000 do t[i] = (i * 7919) % 1000 end
table.sort(t, function(a, b) for k in pairs(t) do t[k] = nil end return (a or 0) < (b or 0) end)
--# lock-nested-deep | ok 100 or error
local deepest = 0
local function go(n) deepest = n if n < 100 then lock("deep" .. n, go, n + 1) end end
go(1)
return deepest
--# lock-errors-free-it | ok true
pcall(lock, "e", error, "x")
pcall(lock, "e", error, setmetatable({}, { __tostring = function() error("y") end }))
return lock("e", function() return true end)
--# limiter-options-of-every-kind | ok 11 or ok /%d/
local n = 0
for _, o in ipairs { {}, { rate = 0 }, { rate = -1 }, { rate = 0/0 }, { rate = 1/0 }, { rate = "x" }, { rate = {} },
    { rate = 1, burst = -1 }, { rate = 1, burst = 0/0 }, { rate = 1e308, burst = 1e308 }, { rate = 1e-308 } } do
  local ok, l = pcall(limit.new, o)
  if ok then
    for _, a in ipairs { 1, 0, -1, 1e308, 0/0, 1/0, -1/0, math.mininteger, 0.5 } do pcall(l.take, l, "k", a) end
  end
  n = n + 1
end
return n
--# data-of-itself | ok
client.data.me = client.data
client.data.f = function() end
client.data.client = client
--# coroutine-stacks-without-end | memory
local keep = {}
local function deep(n) if n == 0 then coroutine.yield() return 0 end return 1 + deep(n - 1) end
while true do
  local co = coroutine.create(deep)
  coroutine.resume(co, 1000)
  keep[#keep + 1] = co
end
--# xpcall-handler-that-sleeps | ok slept
local _, m = xpcall(error, function(m) sleep(0.005) return "slept" end, 1)
return m
--# load-reader-that-sleeps | ok 3
local parts = { "return ", "1", "+2" }
local i = 0
return load(function() sleep(0.001) i = i + 1 return parts[i] end)()
--# load-env-with-metamethods | ok 42
return load("x = 42 return x", "c", "t", setmetatable({}, { __index = function(_, k) sleep(0) return 42 end, __newindex = function() sleep(0) end }))()
--# stack-overflow-with-close-values | ok false or error
local n = 0
local function f()
  local c <close> = setmetatable({}, { __close = function() n = n + 1 end })
  return 1 + f()
end
return (pcall(f))
--# load-chunkname-with-escapes | error
load("error('x')", "=\27[31m\n{\"level\":\"fatal\"}\0\xff")()
--# sleep-at-the-bottom-of-fifty-coroutines | ok 50
local function nest(n) if n == 0 then sleep(0.001) return 0 end return 1 + coroutine.wrap(nest)(n - 1) end
return nest(50)
--# a-coroutine-resumed-by-two-tasks | ok /.*/
local co = coroutine.create(function() sleep(0.01) return 1 end)
local r = task.all { function() return (coroutine.resume(co)) end, function() return (select(2, coroutine.resume(co))) end }
return tostring(r[1]) .. tostring(r[2])
--# a-coroutine-closed-by-another-task-while-it-sleeps | ok /.*/ or error
local co = coroutine.create(function() sleep(0.02) return 1 end)
local r = task.all { function() return select(2, coroutine.resume(co)) end, function() sleep(0.002) return (select(2, pcall(coroutine.close, co))) end }
return tostring(r[1]) .. " " .. tostring(r[2])
--# running-of-a-handler-handed-out | ok /.*/
local main = coroutine.running()
local co = coroutine.create(function()
  local t = {}
  for _, f in ipairs { coroutine.resume, coroutine.close, coroutine.status, coroutine.isyieldable } do
    local ok, a = pcall(f, main)
    t[#t + 1] = tostring(ok) .. tostring(a)
  end
  return table.concat(t, ";")
end)
return select(2, coroutine.resume(co))
--# running-thread-kept-after-its-end-and-resumed | ok /.*/
local kept
task.all { function() kept = coroutine.running() sleep(0) end }
local a, b = pcall(coroutine.resume, kept)
local c, d = pcall(coroutine.close, kept)
local e, f = pcall(coroutine.wrap(function() return coroutine.resume(kept) end))
return table.concat({ tostring(a), tostring(b), tostring(c), tostring(d), tostring(e), tostring(f), coroutine.status(kept) }, " ")
--# running-thread-of-a-sleeping-task-poked | ok /.*/
local kept
task.spawn(function() kept = coroutine.running() sleep(0.05) kept = false end)
sleep(0.005)
local out = {}
for _, f in ipairs { coroutine.resume, coroutine.close, coroutine.status, debug.traceback } do
  out[#out + 1] = tostring(select(2, pcall(f, kept)))
end
sleep(0.1)
return tostring(kept) .. #out
--# traceback-of-a-running-coroutine-of-another-task | ok /.*/
local co = coroutine.create(function() sleep(0.02) end)
task.spawn(coroutine.resume, co)
sleep(0.005)
return #debug.traceback(co, "m", 0)
--# close-a-coroutine-whose-close-sleeps | ok slept
local s
local co = coroutine.create(function()
  local c <close> = setmetatable({}, { __close = function() sleep(0.005) s = "slept" end })
  coroutine.yield()
end)
coroutine.resume(co)
coroutine.close(co)
return s
--# close-a-coroutine-whose-close-spins | killed
local co = coroutine.create(function()
  local c <close> = setmetatable({}, { __close = function() while true do end end })
  coroutine.yield()
end)
coroutine.resume(co)
coroutine.close(co)
--# close-the-one-that-resumed | ok /.*/ or error
local a
a = coroutine.create(function()
  local b = coroutine.create(function() return coroutine.close(a) end)
  return coroutine.resume(b)
end)
return tostring(select(2, coroutine.resume(a)))
--# kill-in-a-coroutine-in-a-sort-in-a-coroutine | killed
coroutine.wrap(function()
  table.sort({ 3, 2, 1 }, function() return coroutine.wrap(function() while true do pcall(coroutine.wrap(function() while true do end end)) end end)() end)
end)()
--# error-with-a-room | error
error(room("x"))
--# error-with-invalid-utf8-and-nuls | error
error("\0\xff\xfe\27[2J\r\n{\"kind\":\"cpu\"}")
--# lock-in-close-when-killed | killed
local c <close> = setmetatable({}, { __close = function() lock("k", sleep, 1000) end })
lock("k", function() while true do end end)
--# killed-in-task-all-the-others-go-on | killed
task.all { function() sleep(0.05) end, function() while true do end end, function() sleep(1) end }
--# spawn-in-close | killed
local c <close> = setmetatable({}, { __close = function() task.spawn(function() while true do end end) end })
while true do end
--# where-filter-broadcasts | ok or error
broadcast("x", { where = function() broadcast("y") room("r"):close() return true end })
--# where-filter-closes-everybody | ok or closed or error
broadcast("x", { where = function(c) c:close(4000) return true end })
--# where-filter-yields | error or ok
local co = coroutine.wrap(function() return broadcast("x", { where = function() coroutine.yield(true) return true end }) end)
co()
--# where-filter-grows-memory | memory
broadcast("x", { where = function() local t = {} while true do t[#t + 1] = {} end end })
--# client-methods-on-strangers | ok 0
local n = 0
for _, f in ipairs { client.send, client.close, client.join, client.leave, client.rooms, client.is_in, client.queue } do
  for _, v in ipairs { 1, "x", {}, room("x"), json.null, print, timer.after(100, print), limit.new { rate = 1 } } do
    if pcall(f, v, "x") then n = n + 1 end
  end
  if pcall(f) then n = n + 1 end
end
return n
--# timer-methods-on-strangers | ok 0
local t = timer.after(100, print)
local n = 0
for _, v in ipairs { 1, "x", {}, client, room("x"), json.null } do if pcall(t.cancel, v) then n = n + 1 end end
return n
--# clients-iterator-kept-and-called-late | ok /.*/ or error
local it = clients()
task.spawn(function() sleep(0.01) it() it() end)
sleep(0.03)
it()
local ok = pcall(it, 1, 2, 3)
return tostring(ok)
--# timer-durations-of-every-kind | ok /%d/
local n = 0
for _, d in ipairs { 0, -1, 0/0, 1/0, -1/0, 1e308, 1e-308, math.maxinteger, math.mininteger, "1", "x", "1ms", "-1s", "1e5s", "99999999999999d", "", {}, true, "1 s", "1h1m" } do
  local ok, t = pcall(timer.after, d, print)
  if ok and t then t:cancel() n = n + 1 end
  ok, t = pcall(timer.every, d, print)
  if ok and t then t:cancel() n = n + 1 end
end
return n
--# sleep-durations-of-every-kind | ok /%d/
local n = 0
for _, d in ipairs { 0, -1, 0/0, -1/0, 1e-308, math.mininteger, "x", "1ms", "-1s", "", {}, true, "1 s" } do
  if pcall(sleep, d) then n = n + 1 end
end
return n
--# timers-cancel-themselves-and-others | ok /%d/
local n, ts = 0, {}
for i = 1, 1000 do ts[i] = timer.after(0.001, function() n = n + 1 for j = i, math.min(i + 5, 1000) do ts[j]:cancel() end end) end
sleep(0.05)
return n
--# metatable-on-G-that-spins | ok x
setmetatable(_G, { __index = function() while true do end end, __newindex = function() while true do end end })
return "x"
--# broadcast-with-the-same-room-ten-thousand-times | ok 1
client:join("same")
local names = {} for i = 1, 10000 do names[i] = "same" end
local n = broadcast("x", { rooms = names })
client:leave("same")
return n
--# room-close-in-where-in-room-broadcast | closed or ok or error
client:join("c")
room("c"):broadcast("x", { where = function() room("c"):close(4000) return true end })
--# room-clients-while-leaving | ok
client:join("w")
for c in room("w"):clients() do c:leave("w") c:join("w2") for d in room("w2"):clients() do d:leave("w2") end end
return room("w"):count() + room("w2"):count()
--# deadlock-of-two | ok waits
local done = 0
task.spawn(function() lock("x", function() sleep(0.01) lock("y", function() done = done + 1 end) end) end)
task.spawn(function() lock("y", function() sleep(0.01) lock("x", function() done = done + 1 end) end) end)
sleep(0.1)
return done == 0 and "waits" or done
--# task-all-nested-deep | ok 64
local function deep(n) if n == 0 then sleep(0) return 0 end return 1 + task.all({ function() return deep(n - 1) end })[1] end
return deep(64)
--# task-all-given-a-list-that-grows | ok /%d/
local fs = {}
fs[1] = function() for i = 1, 100 do fs[#fs + 1] = function() end end sleep(0) return 1 end
return #task.all(fs)
--# await-in-every-metamethod | ok 14
local n = 0
local function w(v) return function() sleep(0) n = n + 1 return v end end
local mt = { __add = w(1), __sub = w(1), __mul = w(1), __div = w(1), __mod = w(1), __unm = w(1), __idiv = w(1), __band = w(1), __shl = w(1), __bnot = w(1), __len = w(1), __lt = w(true), __le = w(true), __call = w(1) }
local a = setmetatable({}, mt)
local _ = { a + 1, a - 1, a * 1, a / 1, a % 1, -a, a // 1, a & 1, a << 1, ~a, #a, a < a, a <= a, a() }
return n
--# await-in-a-tower | ok done
local function tower(n)
  if n == 0 then sleep(0.001) return "done" end
  local ok, v = pcall(function()
    local r
    local t = { 2, 1 }
    table.sort(t, function(a, b)
      r = coroutine.wrap(function() return (("x"):gsub("x", function() return tower(n - 1) end)) end)()
      return a < b
    end)
    return r
  end)
  assert(ok, v)
  return v
end
return tower(8)
--# forty-tasks-in-towers | ok 40
local fs = {}
for i = 1, 40 do fs[i] = function()
  local t = {} for j = 1, 8 do t[j] = (j * 5) % 8 end
  table.sort(t, function(a, b) sleep(0.0005) return a < b end)
  return (("ab"):gsub(".", function(c) sleep(0) return c .. i end))
end end
local r = task.all(fs)
local n = 0
for i = 1, 40 do if r[i] == "a" .. i .. "b" .. i then n = n + 1 end end
return n
--# keyed-messages-flood | ok /.*/ or killed or closed
for i = 1, 20000 do client:send("k" .. i, { key = "k" .. i % 300 }) end

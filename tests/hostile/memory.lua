--# one-big-string | memory
return #("x"):rep(100 * 1024 * 1024)
--# doubling | memory
local s = "x"
while true do s = s .. s end
--# many-strings | memory or killed
local t = {}
for i = 1, 1e9 do t[i] = ("x"):rep(1000) .. i end
--# many-tables | memory or killed
local t = {}
for i = 1, 1e9 do t[i] = {} end
--# many-closures | memory or killed
local t = {}
for i = 1, 1e9 do t[i] = function() return i end end
--# many-coroutines | memory or killed
local t = {}
for i = 1, 1e9 do t[i] = coroutine.create(function() end) end
--# many-suspended-coroutines | memory or killed
local t = {}
for i = 1, 1e9 do
  t[i] = coroutine.create(function() coroutine.yield() end)
  coroutine.resume(t[i])
end
--# globals | memory or killed
for i = 1, 1e9 do _G["g" .. i] = i end
--# client-data | memory or killed
for i = 1, 1e9 do client.data[i] = { i } end
--# swallowed-once | ok caught
local ok = pcall(string.rep, "x", 1 << 30)
return ok and "no" or "caught"
--# swallowed-for-ever | killed or memory
while true do pcall(string.rep, "x", 1 << 30) end
--# swallowed-by-coroutines | killed or memory
while true do coroutine.resume(coroutine.create(function() return ("x"):rep(1 << 30) end)) end
--# swallowed-by-xpcall | killed or memory
while true do xpcall(string.rep, function(e) return e end, "x", 1 << 30) end
--# full-then-more | killed or memory
local t = {}
pcall(function() for i = 1, 1e9 do t[i] = ("x"):rep(100) .. i end end)
while true do pcall(function() t[#t + 1] = ("x"):rep(50) end) end
--# full-then-free | ok freed or killed
local t = {}
pcall(function() for i = 1, 20000 do t[i] = ("x"):rep(1000) .. i end end)
t = nil
collectgarbage()
local s = ("y"):rep(1000000)
return #s == 1000000 and "freed"
--# error-message-of-megabytes | error xxxx
error(("x"):rep(1000000))
--# error-message-of-a-table | error (error object is a table value)
error({ ("x"):rep(1000) })
--# error-of-nil | error (error object is a nil value)
error(nil)
--# error-with-escapes | error
error("\27[31mred\r\nnot a new line\0nul")
--# log-of-megabytes | ok
log.info(("x"):rep(3000000))
--# log-flood | ok or killed
for i = 1, 20000 do log.info("flood " .. i) end
return "done"
--# print-flood | ok or killed
for i = 1, 5000 do print(i, {}, nil) end
return "done"
--# buffer-in-gsub | memory or killed
return #("x"):rep(1000000):gsub(".", function() return ("y"):rep(1000) end)
--# buffer-in-concat | memory
local s = ("x"):rep(1000000)
local t = {}
for i = 1, 1000 do t[i] = s end
return #table.concat(t)
--# table-pack-many | memory or killed or error
local t = {}
while true do t[#t + 1] = table.pack(table.unpack({}, 1, 200000)) end
--# array-by-constructor | memory or killed or ok
local s = "return {" .. ("{},"):rep(300000) .. "}"
local t = {}
for i = 1, 100 do t[i] = load(s)() end
--# stack-growth | error stack overflow or memory or killed
local function f(n) return 1 + f(n + 1) end
return f(1)
--# stack-growth-by-arguments | error or memory or killed
local function f(...) return f(1, ...) end
return f()
--# stack-growth-in-coroutines | memory or killed or error
local t = {}
for i = 1, 1e6 do
  local function f(n) if n == 0 then coroutine.yield() end return 1 + f(n - 1) end
  t[i] = coroutine.create(f)
  coroutine.resume(t[i], 10000)
end
--# string-interning-flood | memory or killed
local t = {}
local i = 0
while true do i = i + 1 t[tostring(i)] = true end
--# json-encode-huge | memory or killed or error
local t = {}
for i = 1, 2000000 do t[i] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" end
return #json.encode(t)
--# json-decode-huge | memory or killed or ok
return #json.decode("[" .. ("[],"):rep(800000) .. "1]")
--# hundred-errors-near-the-cap | ok or memory or killed
local t = {}
pcall(function() for i = 1, 1e9 do t[i] = ("x"):rep(100) .. i end end)
local n = 0
for _ = 1, 100 do
  local ok = pcall(error, "x")
  n = n + (ok and 0 or 1)
end
return n
--# filled-in-steps | memory or killed or ok
hog = {}
for _, n in ipairs{1000000, 100000, 10000, 1000, 100, 10} do
  pcall(function() while true do hog = {hog, ("x"):rep(n) .. tostring(#hog) .. math.random()} end end)
end

--# filled-by-tables | memory or killed or ok
hog = {}
pcall(function() while true do hog = {hog} end end)
pcall(function() while true do hog = {hog} end end)
pcall(function() while true do hog = {hog} end end)

--# filled-by-one-at-a-time-in-timers | memory or killed or ok
hog = {}
local function go() for i = 1, 3000 do hog = {hog} end timer.after(0, go) end
go()
sleep(1)

--# filled-by-client-data | memory or killed or ok
local d = client.data
pcall(function() while true do local t = {} d[1] = t d = t end end)

--# full-message-by-message | memory
hog = hog or {}
for i = 1, 100000 do hog = {hog} end
timer.every(0.001, function() for i = 1, 1000 do hog = {hog} end end)
sleep(0.5)

--# tasks-that-were-deep-and-sleep | memory or killed or ok
local deep
deep = function(n)
  if n == 0 then return end
  local s = ("x"):gsub("x", function() deep(n - 1) end)
end
for i = 1, 500 do if not task.spawn(function() pcall(deep, 180) sleep(1) end) then break end end
sleep(0.3)

--# name-of-a-field-of-a-field-of | killed or error attempt to call
local f = load("local t = {} t.x = t t" .. (".x"):rep(100000) .. ".y()")
f()

--# name-of-a-field-swallowed | killed
local f = load("local t = {} t.x = t t" .. (".x"):rep(3000) .. ".y()")
while true do pcall(f) end

--# name-of-a-field-in-a-traceback | killed or error deep down
local f = load("local t = {} t.x = t t.f = function() error('deep down') end t" .. (".x"):rep(30000) .. ".f() return 1")
f()

--# name-of-a-field-in-a-short-traceback | killed or error deep down
local f = load("local t = {} t.x = t t.f = function() error('deep down') end t" .. (".x"):rep(2000) .. ".f() return 1")
f()

--# name-of-a-field-short-enough | ok false
local f = load("local t = {} t.x = t t" .. (".x"):rep(300) .. ".y()")
return (pcall(f))

--# name-at-the-end-of-the-stack | killed or error or ok
local f = load("local t = {} t.x = t local a = 1 " .. ("a = -a "):rep(12000) .. " t" .. (".x"):rep(4500) .. ".y()")
for i = 1, 100 do pcall(f) end

--# name-on-a-deep-c-stack | killed or error or ok
local f = load("local t = {} t.x = t local a = 1 " .. ("a = -a "):rep(10000) .. " t" .. (".x"):rep(3500) .. ".y()")
local deep
deep = function(n)
  if n == 0 then pcall(f) return end
  local s = ("x"):gsub("x", function() deep(n - 1) end)
end
for i = 1, 100 do pcall(deep, 150) end

--# name-in-a-coroutine-in-a-traceback | killed or ok or error
local f = load("local t = {} t.x = t t.f = coroutine.yield t" .. (".x"):rep(30000) .. ".f() return 1")
local co = coroutine.create(f)
coroutine.resume(co)
return #debug.traceback(co)

--# arithmetic-on-a-field-of-a-field | killed or error
local f = load("local t = {} t.x = t return t" .. (".x"):rep(50000) .. ".z + 1")
f()

--# concat-on-a-field-of-a-field | killed or error
local f = load("local t = {} t.x = t return 'a' .. t" .. (".x"):rep(50000) .. "")
f()

--# bad-argument-of-a-field-of-a-field | killed or error
local f = load("local t = {rep = string.rep} t.x = t t" .. (".x"):rep(50000) .. ".rep() return 1")
f()

--# bad-self-of-a-field-of-a-field | killed or error
local f = load("local c = ... local t = {send = c.send} t.x = t t" .. (".x"):rep(50000) .. ":send() return 1")
f(client)

--# sleep-below-a-field-of-a-field-then-raise | killed or error
local f = load("local c = ... local t = {send = function() sleep(0.01) error('x') end} t.x = t t" .. (".x"):rep(50000) .. ":send() return 1")
f(client)

--# log-of-a-broken-broadcast-below-a-field | killed or error
local f = load("local t = {b = broadcast} t.x = t t" .. (".x"):rep(50000) .. ".b({print}) return 1")
f(client)

--# name-runs-off-the-stack-5000 | killed or error
local f = load("local t = {} t.x = t t" .. (".x"):rep(5000) .. ".y()")
f()

--# name-runs-off-a-deep-stack-5000 | killed or error
local f = load("local t = {} t.x = t t" .. (".x"):rep(5000) .. ".y()")
local deep
deep = function(n)
  if n == 0 then f() return end
  local s = ("x"):gsub("x", function() deep(n - 1) end)
end
deep(150)

--# name-runs-off-the-stack-7000 | killed or error
local f = load("local t = {} t.x = t t" .. (".x"):rep(7000) .. ".y()")
f()

--# name-runs-off-a-deep-stack-7000 | killed or error
local f = load("local t = {} t.x = t t" .. (".x"):rep(7000) .. ".y()")
local deep
deep = function(n)
  if n == 0 then f() return end
  local s = ("x"):gsub("x", function() deep(n - 1) end)
end
deep(150)

--# name-runs-off-the-stack-9000 | killed or error
local f = load("local t = {} t.x = t t" .. (".x"):rep(9000) .. ".y()")
f()

--# name-runs-off-a-deep-stack-9000 | killed or error
local f = load("local t = {} t.x = t t" .. (".x"):rep(9000) .. ".y()")
local deep
deep = function(n)
  if n == 0 then f() return end
  local s = ("x"):gsub("x", function() deep(n - 1) end)
end
deep(150)

--# name-runs-off-the-stack-12000 | killed or error
local f = load("local t = {} t.x = t t" .. (".x"):rep(12000) .. ".y()")
f()

--# name-runs-off-a-deep-stack-12000 | killed or error
local f = load("local t = {} t.x = t t" .. (".x"):rep(12000) .. ".y()")
local deep
deep = function(n)
  if n == 0 then f() return end
  local s = ("x"):gsub("x", function() deep(n - 1) end)
end
deep(150)

--# name-runs-off-the-stack-16000 | killed or error
local f = load("local t = {} t.x = t t" .. (".x"):rep(16000) .. ".y()")
f()

--# name-runs-off-a-deep-stack-16000 | killed or error
local f = load("local t = {} t.x = t t" .. (".x"):rep(16000) .. ".y()")
local deep
deep = function(n)
  if n == 0 then f() return end
  local s = ("x"):gsub("x", function() deep(n - 1) end)
end
deep(150)

--# name-runs-off-the-stack-24000 | killed or error
local f = load("local t = {} t.x = t t" .. (".x"):rep(24000) .. ".y()")
f()

--# name-runs-off-a-deep-stack-24000 | killed or error
local f = load("local t = {} t.x = t t" .. (".x"):rep(24000) .. ".y()")
local deep
deep = function(n)
  if n == 0 then f() return end
  local s = ("x"):gsub("x", function() deep(n - 1) end)
end
deep(150)

--# while-true | killed soft
while true do end
--# goto | killed soft
::top:: goto top
--# repeat-until-false | killed soft
repeat until false
--# numeric-for | killed soft
for i = 1, math.maxinteger do end
--# numeric-for-float | killed soft
for i = 1, math.huge do end
--# numeric-for-step-tiny | killed soft
local n = 0
for i = 0, 1, 1e-12 do n = n + 1 end
--# generic-for-never-nil | killed soft
for _ in function() return 1 end do end
--# ipairs-endless | killed soft
for _ in ipairs(setmetatable({}, { __index = function() return 1 end })) do end
--# next-of-its-own-growth | killed soft or error
local t = { 1 }
local i = 1
while true do i = i + 1 t[i % 1000] = i end
--# arithmetic | killed soft
local x = 1
while true do x = (x * 6364136223846793005 + 1442695040888963407) ~ (x >> 7) end
--# float-arithmetic | killed soft
local x = 0.5
while true do x = 3.99 * x * (1 - x) end
--# fibonacci | killed soft
local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
return fib(60)
--# ackermann | killed soft or error
local function a(m, n)
  if m == 0 then return n + 1 end
  if n == 0 then return a(m - 1, 1) end
  return a(m - 1, a(m, n - 1))
end
return a(4, 2)
--# tail-calls | killed soft
local function f(n) return f(n + 1) end
return f(1)
--# mutual-tail-calls | killed soft
local a, b
function a(n) return b(n) end
function b(n) return a(n) end
return a(1)
--# method-calls | killed soft
local o = { n = 0 }
function o:inc() self.n = self.n + 1 end
while true do o:inc() end
--# closures | killed soft
local f
while true do local x = f f = function() return x end f() f = nil end
--# varargs | killed soft
local function f(...) return ... end
while true do f(1, 2, 3, 4, 5, 6, 7, 8) end
--# empty-calls | killed soft
local function f() end
while true do f() end
--# index-chain | killed soft
local t = { n = 0 }
for _ = 1, 50 do t = setmetatable({}, { __index = t }) end
while true do local _ = t.n end
--# table-fields | killed soft
local t = { a = 1, b = 2 }
while true do t.a, t.b = t.b, t.a end
--# string-keys | killed soft
local t = {}
local i = 0
while true do i = i + 1 t["k" .. i % 100] = i end
--# string-building | killed soft
local s = ""
while true do s = (s .. "x"):sub(-10) end
--# comparison-metamethod | killed soft
local mt = { __lt = function() return true end }
local a, b = setmetatable({}, mt), setmetatable({}, mt)
while a < b do end
--# eq-metamethod-endless | killed soft
local mt = {}
mt.__eq = function() while true do end end
return setmetatable({}, mt) == setmetatable({}, mt)
--# len-metamethod-endless | killed soft
return #setmetatable({}, { __len = function() while true do end end })
--# index-metamethod-endless | killed soft
return setmetatable({}, { __index = function() while true do end end }).x
--# call-metamethod-endless | killed soft
return setmetatable({}, { __call = function() while true do end end })()
--# close-endless | killed soft
local _ <close> = setmetatable({}, { __close = function() while true do end end })
--# unary-metamethod-endless | killed soft
return -setmetatable({}, { __unm = function() while true do end end })
--# tostring-endless | killed soft
return tostring(setmetatable({}, { __tostring = function() while true do end end }))
--# error-object-with-endless-tostring | error (error object is a table value)
error(setmetatable({}, { __tostring = function() while true do end end }))
--# pairs-metamethod-endless | killed soft
for _ in pairs(setmetatable({}, { __pairs = function() while true do end end })) do end
--# towers-of-hanoi | killed soft
local function hanoi(n, a, b, c) if n > 0 then hanoi(n - 1, a, c, b) hanoi(n - 1, c, b, a) end end
hanoi(60, 1, 2, 3)
--# collatz-search | killed soft
local n = 1
while true do
  n = n + 1
  local x = n
  while x ~= 1 do x = x % 2 == 0 and x // 2 or 3 * x + 1 end
end
--# permutations | killed soft
local function permute(t, n)
  if n == 0 then return end
  for i = 1, n do
    t[i], t[n] = t[n], t[i]
    permute(t, n - 1)
    t[i], t[n] = t[n], t[i]
  end
end
local t = {}
for i = 1, 20 do t[i] = i end
permute(t, 20)
--# os-clock-busy-wait | killed soft
local start = os.clock()
while os.clock() - start < 1e9 do end
--# time-now-busy-wait | killed soft
while time.now() > 0 do end
--# random-walk | killed soft
while math.random(1 << 40) ~= -1 do end

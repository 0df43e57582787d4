--# quicksort | ok true
local function quicksort(t, lo, hi)
  if lo < hi then
    local p, i = t[hi], lo - 1
    for j = lo, hi - 1 do if t[j] <= p then i = i + 1 t[i], t[j] = t[j], t[i] end end
    t[i + 1], t[hi] = t[hi], t[i + 1]
    quicksort(t, lo, i) quicksort(t, i + 2, hi)
  end
end
local t = {}
for i = 1, 5000 do t[i] = (i * 7919) % 5003 end
quicksort(t, 1, #t)
for i = 2, #t do if t[i - 1] > t[i] then return false end end
return true
--# sieve | ok 1229
local composite, n = {}, 0
for i = 2, 10000 do
  if not composite[i] then n = n + 1 for j = i * i, 10000, i do composite[j] = true end end
end
return n
--# string-buffer | ok 50000
local t = {}
for i = 1, 10000 do t[i] = "12345" end
return #table.concat(t)
--# json-round-trip | ok true
local t = { a = { 1, 2, { b = "x", c = json.null } }, d = 1.5, e = true, f = "\u{20ac}" }
local u = json.decode(json.encode(t))
return u.a[3].b == "x" and u.a[3].c == json.null and u.d == 1.5 and u.e and u.f == "\u{20ac}"
--# coroutine-pipeline | ok 338350
local function numbers(n) return coroutine.wrap(function() for i = 1, n do coroutine.yield(i) end end) end
local function square(g) return coroutine.wrap(function() for x in g do coroutine.yield(x * x) end end) end
local sum = 0
for x in square(numbers(100)) do sum = sum + x end
return sum
--# memoize-with-weak-keys | ok 4
local cache = setmetatable({}, { __mode = "k" })
local calls = 0
local function f(t) if not cache[t] then calls = calls + 1 cache[t] = #t end return cache[t] end
local a = { 1, 2, 3 }
f(a) f(a)
return calls + f({ 1, 2 })
--# class-hierarchy | ok woof!
local Animal = {} Animal.__index = Animal
function Animal.new(s) return setmetatable({ s = s }, Animal) end
function Animal:speak() return self.s end
local Dog = setmetatable({}, { __index = Animal }) Dog.__index = Dog
function Dog.new() return setmetatable({ s = "woof" }, Dog) end
function Dog:speak() return Animal.speak(self) .. "!" end
return Dog.new():speak()
--# vector-metamethods | ok 3,4,true
local V = {}
V.__index = V
V.__add = function(a, b) return setmetatable({ a[1] + b[1], a[2] + b[2] }, V) end
V.__eq = function(a, b) return a[1] == b[1] and a[2] == b[2] end
V.__tostring = function(a) return a[1] .. "," .. a[2] end
local v = setmetatable({ 1, 2 }, V) + setmetatable({ 2, 2 }, V)
return tostring(v) .. "," .. tostring(v == setmetatable({ 3, 4 }, V))
--# deep-but-fine-recursion | ok 10000
local function depth(n) if n == 0 then return 0 end return 1 + depth(n - 1) end
return depth(10000)
--# pcall-deep-but-fine | ok 100
local function nest(n) if n == 0 then return 0 end local _, v = pcall(nest, n - 1) return v + 1 end
return nest(100)
--# error-handling | ok caught: main
local ok, err = pcall(error, "main", 0)
return "caught: " .. err
--# error-objects | ok 42
local ok, err = pcall(error, { code = 42 })
return err.code
--# error-rethrown | ok inner
local ok, err = pcall(function()
  local ok, err = pcall(error, "inner", 0)
  error(err, 0)
end)
return err
--# xpcall-with-traceback | ok true
local ok, trace = xpcall(function() error("x") end, debug.traceback)
return not ok and trace:find("stack traceback") ~= nil
--# close-order | ok ba
local s = ""
do
  local a <close> = setmetatable({}, { __close = function() s = s .. "a" end })
  local b <close> = setmetatable({}, { __close = function() s = s .. "b" end })
end
return s
--# goto-continue | ok 25
local sum = 0
for i = 1, 10 do
  if i % 2 == 0 then goto continue end
  sum = sum + i
  ::continue::
end
return sum
--# integer-float | ok 3,3.0,1,0.5
return ("%s,%s,%s,%s"):format(7 // 2, 7 // 2.0, 7 % 2, 1 / 2)
--# integer-overflow-wraps | ok true
return math.maxinteger + 1 == math.mininteger
--# string-escapes | ok 3
return #"a\z
        b\x63"
--# utf8 | ok 3,8364
return utf8.len("a\u{20ac}b") .. "," .. utf8.codepoint("\u{20ac}", 1)
--# pattern-captures | ok 2024/05/17
return (("17.05.2024"):gsub("(%d+)%.(%d+)%.(%d+)", "%3/%2/%1"))
--# split-and-join | ok a|b|c
local t = {}
for word in ("a,b,c"):gmatch("[^,]+") do t[#t + 1] = word end
return table.concat(t, "|")
--# table-move | ok 1,1,2,3
return table.concat(table.move({ 1, 2, 3 }, 1, 3, 2, { 1 }), ",")
--# select-varargs | ok 2,c
local function f(...) return select("#", ...) .. "," .. (...) end
return f("c", nil)
--# load-a-template | ok Hello, Ada!
return load("local name = ... return 'Hello, ' .. name .. '!'")("Ada")
--# load-with-environment | ok 6
local env = { add = function(a, b) return a + b end }
return load("return add(2, 4)", "sum", "t", env)()
--# date | ok 2024-02-29 12:00:00
return os.date("!%Y-%m-%d %H:%M:%S", os.time { year = 2024, month = 2, day = 29 })
--# random-is-repeatable | ok true
math.randomseed(7)
local a = math.random(1000000)
math.randomseed(7)
return a == math.random(1000000)
--# pack-and-unpack | ok 1,2,abc
return table.concat({ string.unpack("<i2i4s1", string.pack("<i2i4s1", 1, 2, "abc")) }, ",", 1, 3)
--# sort-stable-by-index | ok 1a1b2c
local t = { { 2, "c", 1 }, { 1, "a", 2 }, { 1, "b", 3 } }
table.sort(t, function(x, y) if x[1] ~= y[1] then return x[1] < y[1] end return x[3] < y[3] end)
local s = ""
for _, v in ipairs(t) do s = s .. v[1] .. v[2] end
return s
--# sleep-in-a-loop | ok 5
local n = 0
for _ = 1, 5 do sleep(0.002) n = n + 1 end
return n
--# tasks-in-parallel | ok 6
local r = task.all { function() sleep(0.01) return 1 end, function() sleep(0.005) return 2 end, function() return 3 end }
return r[1] + r[2] + r[3]
--# task-all-with-an-error | ok false
return (pcall(task.all, { function() error("x") end, function() return 1 end }))
--# lock-serialises | ok aabb
local s = ""
task.all {
  function() lock("l", function() s = s .. "a" sleep(0.005) s = s .. "a" end) end,
  function() lock("l", function() s = s .. "b" sleep(0.001) s = s .. "b" end) end,
}
return s
--# timer-and-cancel | ok 1
local n = 0
local t = timer.every(0.005, function() n = n + 1 end)
timer.after(0.007, function() t:cancel() end)
sleep(0.03)
return n
--# join-and-broadcast | ok 1
client:join("mine")
return (room("mine"):broadcast("to myself"))
--# client-data | ok 2
client.data.n = (client.data.n or 0) + 1
client.data.n = client.data.n + 1
return client.data.n
--# half-a-budget | ok true
local start = os.clock()
while os.clock() - start < 0.03 do end
return true
--# two-half-budgets-with-a-wait-between | ok or killed
local function burn() local start = os.clock() while os.clock() - start < 0.03 do end end
burn() sleep(0.01) burn()
return "done"
--# a-megabyte-of-work | ok 1048576
return #("x"):rep(1024):rep(1024)
--# big-honest-table | ok 100000
local t = {}
for i = 1, 100000 do t[i] = i end
return #t
--# big-honest-sort | ok true
local t = {}
for i = 1, 20000 do t[i] = (i * 7919) % 20011 end
table.sort(t)
return t[1] <= t[2]
--# honest-pattern | ok 1000
return select(2, ("lorem ipsum "):rep(500):gsub("%w+", "%0"))
--# long-concat | ok 20000
local s = ""
for _ = 1, 2000 do s = s .. "0123456789" end
return #s
--# queue-with-moving-ends | ok 5000
local q, first, last = {}, 1, 0
for i = 1, 5000 do last = last + 1 q[last] = i end
local n = 0
while first <= last do q[first] = nil first = first + 1 n = n + 1 end
return n
--# globals-of-ones-own | ok 2
counter = (counter or 0) + 1
return counter + 1
--# strict-globals | ok false
setmetatable(_G, { __index = function(_, k) error("undeclared " .. k, 2) end })
local ok = pcall(function() return undeclared_name end)
return ok
--# own-string-method | ok HELLO
function string.shout(s) return s:upper() end
return ("hello"):shout()
--# closures-keep-their-own | ok 1,2,1
local function counter() local n = 0 return function() n = n + 1 return n end end
local a, b = counter(), counter()
return a() .. "," .. a() .. "," .. b()
--# memory-error-then-fine | ok 1000
pcall(string.rep, "x", 1 << 30)
local t = {}
for i = 1, 1000 do t[i] = { i } end
return #t
--# ten-memory-errors-then-fine | ok fine
for _ = 1, 10 do pcall(string.rep, "x", 1 << 30) end
return "fine"

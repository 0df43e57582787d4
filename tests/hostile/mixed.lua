--# close-raises-in-a-wrap-in-a-pcall-in-a-sort | ok or error or killed
local n = 0
for i = 1, 50 do
  pcall(table.sort, {5, 4, 3, 2, 1, 6, 7}, function(a, b)
    local x <close> = setmetatable({}, {__close = function() n = n + 1 error("c") end})
    return coroutine.wrap(function()
      local y <close> = setmetatable({}, {__close = function(_, e) n = n + 1 error(e) end})
      error({})
    end)()
  end)
end
return n

--# close-yields-through-a-goto-loop | ok 300
local n = 0
local co = coroutine.wrap(function()
  local i = 0
  ::again::
  do
    local x <close> = setmetatable({}, {__close = function() n = n + 1 coroutine.yield(i) end})
    i = i + 1
    if i < 300 then goto again end
  end
end)
for i = 1, 300 do co() end
return n

--# close-order-when-every-close-raises | ok 200
local n, last = 0
local function nest(k)
  local x <close> = setmetatable({}, {__close = function(_, e) n = n + 1 last = e error(k) end})
  if k < 100 then nest(k + 1) else error("start") end
end
pcall(nest, 1)
pcall(nest, 1)
return n

--# close-collects-while-it-closes | ok or killed
local mt = {__close = function() collectgarbage() string.rep("x", 1000) end}
for i = 1, 200 do
  local a <close> = setmetatable({}, mt)
  local b <close> = setmetatable({}, mt)
  local co = coroutine.create(function() local c <close> = a coroutine.yield() end)
  coroutine.resume(co)
  if i % 2 == 0 then coroutine.close(co) end
end

--# call-metamethod-chain-with-varargs | ok 200
local f = function(...) return select("#", ...) end
for i = 1, 190 do f = setmetatable({}, {__call = f}) end
local ok, n = pcall(f, table.unpack({}, 1, 10))
return ok and n or 200

--# varargs-million-through-call | ok or error or memory or killed
local t = setmetatable({}, {__call = function(self, ...) return select("#", ...) end})
return t(table.unpack({}, 1, 900000))

--# varargs-through-tail-call-chain | ok or error or memory or killed
local function f(n, ...) if n == 0 then return select("#", ...) end return f(n - 1, n, ...) end
return f(5000)

--# varargs-in-a-table-constructor | ok 100255
local function f(...) return {1, 2, 3, 4, 5, ...} end
return #f(table.unpack({}, 1, 0)) + #f((" "):rep(250):byte(1, -1)) + #{table.unpack(setmetatable({}, {__index = function() return 1 end}), 1, 99995)}

--# two-hundred-and-fifty-arguments | ok 250
local f = load("local function f(...) return select('#', ...) end return f(" .. ("1,"):rep(249) .. "1)")
return f()

--# three-hundred-arguments | error registers
assert(load("local function f(...) return select('#', ...) end return f(" .. ("x,"):rep(299) .. "1)"))

--# name-that-lies-and-index-that-loops | error
local t = setmetatable({}, {__name = ("\27[31m"):rep(10000), __index = function(t, k) return t[k] end})
string.rep(t)

--# tostring-that-yields-in-a-print | error attempt to yield across
coroutine.wrap(function()
  print(setmetatable({}, {__tostring = function() coroutine.yield() return "" end}))
end)()

--# tostring-that-closes-the-client-in-a-print | ok or closed 1000
local t = setmetatable({}, {__tostring = function() client:close() return "x" end})
print(t, t, t)

--# lt-that-sleeps-in-a-sort | ok true
local mt = {}
mt.__lt = function(a, b) sleep(0) return a.v < b.v end
local list = {}
for i = 1, 10 do list[i] = setmetatable({v = -i}, mt) end
table.sort(list)
return list[1].v == -10

--# eq-that-raises-in-a-concat-key | ok false
local mt = {__eq = function() error({}) end}
return (pcall(function() return setmetatable({}, mt) == setmetatable({}, mt) end))

--# len-that-grows-each-time | killed or error or ok
local n = 0
local t = setmetatable({}, {__len = function() n = n + 1000000 return n end})
for i = 1, 100 do pcall(table.insert, t, 1, i) pcall(table.remove, t, 1) pcall(table.concat, t) pcall(table.sort, t) pcall(table.unpack, t) end

--# len-minimum | ok -9223372036854775808
local t = setmetatable({}, {__len = function() return math.mininteger end})
pcall(table.insert, t, 1) pcall(table.remove, t) pcall(table.sort, t) pcall(table.concat, t) pcall(table.unpack, t)
return #t

--# len-maximum | ok
local t = setmetatable({}, {__len = function() return math.maxinteger end})
local r = {}
for _, f in ipairs{table.insert, table.remove, table.sort, table.concat, table.unpack} do r[#r + 1] = tostring(pcall(f, t, 1)) end
for _, f in ipairs{table.insert, table.remove, table.sort, table.concat, table.unpack} do r[#r + 1] = tostring(pcall(f, t)) end
return table.concat(r, ",")

--# move-at-both-ends-of-the-integers | error or ok or killed
pcall(table.move, {}, math.mininteger, math.mininteger + 5, math.maxinteger - 5, {})
pcall(table.move, {}, math.maxinteger - 5, math.maxinteger, math.mininteger, {})
pcall(table.move, {}, math.mininteger, math.maxinteger, 1)
return table.move({1,2,3}, 1, 3, math.maxinteger - 2)[math.maxinteger]

--# move-into-a-proxy-that-raises-and-waits | ok false
local n = 0
local proxy = setmetatable({}, {__newindex = function(_, k) n = n + 1 sleep(0) if n == 50 then error("full") end end})
return (pcall(table.move, setmetatable({}, {__index = function() return 1 end}), 1, 100, 1, proxy))

--# metatable-that-is-the-globals | ok 4
setmetatable(_G, _G)
_G.__index = function(t, k) return rawget(t, "f" .. k) end
fzz = 4
__close = error
return zz

--# pairs-that-returns-four | ok 4
local n = select("#", pairs(setmetatable({}, {__pairs = function() return 1, 2, 3, 4 end})))
return n + 1

--# pairs-of-a-pairs-of | error or killed
local mt = {}
mt.__pairs = function(t) return pairs(t) end
for k in pairs(setmetatable({}, mt)) do end

--# for-with-a-closing-coroutine | ok done
local it = coroutine.wrap(function() while true do coroutine.yield(1) end end)
for i in it, nil, nil, setmetatable({}, {__close = function() for j in it do if j then break end end end}) do
  if i then break end
end
return "done"

--# for-close-raises-at-break-in-a-coroutine-that-is-closed | ok false
local co = coroutine.create(function()
  for i in function() return 1 end, nil, nil, setmetatable({}, {__close = function() error("x") end}) do coroutine.yield() end
end)
coroutine.resume(co)
return (coroutine.close(co))

--# coroutine-closes-itself-from-another | ok
local co
co = coroutine.create(function()
  coroutine.wrap(function() coroutine.close(co) end)()
end)
return select(2, coroutine.resume(co))

--# coroutine-resumed-in-its-own-close | ok
local co, seen
co = coroutine.create(function()
  local x <close> = setmetatable({}, {__close = function()
    seen = {coroutine.status(co), coroutine.resume(co)}
    coroutine.wrap(function() seen[#seen + 1] = coroutine.status(co) seen[#seen + 1] = (pcall(coroutine.close, co)) end)()
    for i = 1, 1000 do seen[#seen + 1] = ("x"):rep(i) end
  end})
  coroutine.yield()
end)
coroutine.resume(co)
coroutine.close(co)
return table.concat({tostring(seen[1]), tostring(seen[2])}, ",")

--# coroutine-that-failed-is-closed-in-another | ok false
local list = {}
for i = 1, 90 do
  list[i] = coroutine.create(function()
    local x <close> = setmetatable({}, {__close = function() if list[i - 1] then coroutine.close(list[i - 1]) end error("again") end})
    error("first")
  end)
  coroutine.resume(list[i])
end
return (coroutine.close(list[90]))

--# coroutine-error-object-is-itself | ok thread
local co
co = coroutine.create(function() error(co) end)
local _, e = coroutine.resume(co)
return type(e)

--# wrap-inside-wrap-inside-close | ok or error or killed
local function go(n)
  return coroutine.wrap(function()
    local x <close> = setmetatable({}, {__close = function() if n > 0 then go(n - 1)() end end})
    coroutine.yield(n)
  end)
end
for i = 1, 20 do local g = go(80) g() pcall(g) end

--# xpcall-handler-that-resumes | ok h
local co = coroutine.wrap(function() while true do coroutine.yield("h") end end)
local r = {}
for i = 1, 1000 do r[i] = select(2, xpcall(error, function() return co() end, "x")) end
return r[1000]

--# xpcall-handler-that-yields | ok truedead
local co = coroutine.create(function() return xpcall(error, function() coroutine.yield() end, "x") end)
return tostring(coroutine.resume(co)) .. tostring(coroutine.status(co))

--# xpcall-handler-that-sleeps-and-raises | ok false
return (xpcall(error, function() sleep(0.001) error("again") end, "x"))

--# xpcall-in-a-coroutine-that-is-collected | ok or killed
for i = 1, 3000 do
  local co = coroutine.create(function() xpcall(coroutine.yield, print) end)
  coroutine.resume(co)
end
collectgarbage()
collectgarbage()

--# pcall-across-yield-across-pcall-across-close | ok 4
local n = 0
local co = coroutine.wrap(function()
  pcall(function()
    local x <close> = setmetatable({}, {__close = function() n = n + 1 coroutine.yield() n = n + 1 end})
    pcall(function()
      local y <close> = setmetatable({}, {__close = function() n = n + 1 coroutine.yield() n = n + 1 error("y") end})
      error("start")
    end)
    error("more")
  end)
  return "end"
end)
for i = 1, 2 do co() end
return co() == "end" and n

--# load-with-a-reader-that-changes-the-env | ok 3
local env, pieces = {}, {"x", " = 1 + ", "2 ", "return x"}
local i = 0
local f = load(function() i = i + 1 env["k" .. i] = i return pieces[i] end, "=r", "t", env)
return f()

--# load-with-a-reader-that-sleeps-and-loads | ok 7
local i = 0
local f = load(function()
  i = i + 1
  sleep(0.001)
  if i <= 3 then return load("return 'return '")() and (i == 1 and "return " or i == 2 and "3 + " or "4") end
end)
return f()

--# load-with-a-reader-that-gives-numbers | ok nil
return load(coroutine.wrap(function() for i = 1, 10 do coroutine.yield(i) end end))

--# load-with-an-env-that-loops | error loop
local env = {}
setmetatable(env, {__index = env})
getmetatable(env).__index = setmetatable({}, {__index = env})
setmetatable(getmetatable(env).__index, getmetatable(env))
return load("return x", "x", "t", env)()

--# load-with-names-of-the-words-set | ok function
return type(load("return " .. "bro" .. "ad" .. "cast")())

--# deep-brackets-in-json | ok nil
return json.decode(("["):rep(100000))

--# deep-objects-in-json | ok nil
return json.decode(('{"a":'):rep(100000))

--# deep-brackets-closed-in-json | ok nil
return tostring(json.decode(("["):rep(100000) .. ("]"):rep(100000)))

--# deep-brackets-in-source | error
assert(load("return " .. ("["):rep(100000)))

--# deep-braces-and-calls-in-source | error
assert(load("return " .. ("f{"):rep(100000)))

--# deep-index-in-source | error C stack overflow
assert(load("return " .. ("a["):rep(100000)))

--# deep-assignment-in-source | error
assert(load(("a,"):rep(100000) .. "a = 1"))

--# deep-else-if-in-source | ok or error or killed
assert(load("if a then " .. ("elseif a then "):rep(50000) .. "end"))

--# deep-strings-of-brackets | ok function or error
return type(load("return [" .. ("="):rep(100000) .. "[x]" .. ("="):rep(100000) .. "]"))

--# long-and-or-chain | ok or error or killed
assert(load("local a return " .. ("a and "):rep(90000) .. "a"))

--# long-comparison-chain | ok or error or killed
assert(load("local a return " .. ("a < a or "):rep(60000) .. "a"))()

--# long-concat-chain | error
assert(load("local a = 'x' return " .. ("a .. "):rep(60000) .. "a"))

--# many-returns-with-jumps | ok or error or killed
assert(load("local a " .. ("if a then return a end "):rep(40000)))()

--# jump-too-far | ok or error control structure or killed
assert(load("while true do " .. ("a = b "):rep(170000) .. "end"))

--# utf8-lax-everything | ok 1257
local n = 0
for i = 0, 0x7FFFFFFF, 0x7FFFFF do n = n + utf8.len(utf8.char(i), 1, -1, true) end
for _, c in utf8.codes(utf8.char(0x7FFFFFFF):rep(1000), true) do n = n + 1 end
return n

--# utf8-offset-storm | ok or error or killed
local s = ("\xE2\x82\xAC"):rep(300000)
for i = 1, 10000 do utf8.offset(s, -i) utf8.offset(s, i, i * 3 + 1) end

--# utf8-codes-of-continuations | ok 0 or error
local n = 0
for _ in utf8.codes(("\x80"):rep(100000)) do n = n + 1 end
return n

--# os-date-odd | ok 144
local r = {}
for _, f in ipairs{"!*t", "*t", "%c", "!%Ec", "%", "%E", "%O", "%Oy", "!%x%X%p%%", "\0%Y", "%+", ""} do
  for _, t in ipairs{0, -1, 2^31, -2^31, 2^40, -2^40, 2^53, 1e15, math.maxinteger, math.mininteger, 67767976233532799, -67768040609740800} do
    r[#r + 1] = tostring(pcall(os.date, f, t))
  end
end
return #r

--# os-time-odd | ok 70
local r = {}
for _, v in ipairs{0, -1, 2^31, 2^31 - 1, math.maxinteger, math.mininteger, "12", "x", 1.5, 1e300} do
  for _, k in ipairs{"year", "month", "day", "hour", "min", "sec", "isdst"} do
    local t = {year = 2000, month = 1, day = 1}
    t[k] = v
    r[#r + 1] = tostring(pcall(os.time, t))
  end
end
return #r

--# time-iso-odd | ok
local r = {}
for _, v in ipairs{0, -1, 2^31, 1e300, -1e300, 0/0, 1/0, -1/0, math.maxinteger, math.mininteger, 253402300800, -62135596801, 1e15} do
  r[#r + 1] = tostring(select(2, pcall(time.iso, v)))
end
return table.concat(r, ","):sub(1, 200)

--# integer-edges | ok 36
local m = math.mininteger
local r = {m // -1, m % -1, m * -1, -m, math.abs(m), m >> 63, m >> 64, m << 64, 1 << -1, 1 >> -63, 1 << math.maxinteger, 1 << m, m // -1.0, m % -1.0, m % math.huge, -m % -math.huge, math.ult(m, 0), string.format("%d", m), tostring(m), m | 0, ~m, math.fmod(m, -1), math.tointeger(2^63), m == -2^63, m < -2^63, m <= -2^63}
for i = m, m + 2 do r[#r + 1] = i end
for i = math.maxinteger - 2, math.maxinteger do r[#r + 1] = i end
for i = math.maxinteger, math.mininteger, math.mininteger do r[#r + 1] = i end
for i = 1, math.huge do if i > 3 then break end end
for i = 3, -math.huge, m do r[#r + 1] = i end
return #r

--# random-at-the-edges | ok 9
local r = {}
for _, a in ipairs{{0}, {math.mininteger, math.maxinteger}, {math.maxinteger, math.maxinteger}, {math.mininteger, math.mininteger}, {1, 0}, {0, -1}, {1.5}, {2^53}, {1, 2, 3}} do
  r[#r + 1] = tostring(pcall(math.random, table.unpack(a)))
end
return #r

--# format-of-everything | ok 392
local n = 0
for c = 0, 255 do
  for _, f in ipairs{"%%%c", "%%-5%c", "%%05%c", "%%+.3%c", "%%#%c", "%% 20.10%c", "%%99.99%c", "%%100%c", "%%.100%c", "%%-+ #099.99%c"} do
    for _, v in ipairs{1, -1.5, 0/0, "x\0y", math.mininteger, 1e308} do
      if pcall(string.format, string.format(f, c), v) then n = n + 1 end
    end
  end
end
return n

--# format-q-of-everything | ok true
local s = ""
for c = 0, 255 do s = s .. string.char(c) .. (c % 10) end
local back = load("return " .. string.format("%q", s))()
return back == s and load("return " .. string.format("%q", math.mininteger))() == math.mininteger and load("return " .. string.format("%q", 1/0))() == 1/0

--# format-of-a-tostring-that-returns-megabytes | memory or ok or error
local t = setmetatable({}, {__tostring = function() return ("x"):rep(3000000) end})
return #string.format("%s%s%s%s%s%s", t, t, t, t, t, t)

--# format-of-a-tostring-that-waits | ok ab
local t = setmetatable({}, {__tostring = function() sleep(0.001) return "a" end})
return string.format("%s%s", t, "b")

--# format-with-a-thousand-tables-then-raise | ok false
local t = setmetatable({}, {__tostring = function() return ("y"):rep(5000) end})
local bad = setmetatable({}, {__tostring = function() error({}) end})
local args = {}
for i = 1, 200 do args[i] = t end
args[200] = bad
for i = 1, 20 do pcall(string.format, ("%s"):rep(200), table.unpack(args)) end
return (pcall(string.format, ("%s"):rep(200), table.unpack(args)))

--# gsub-with-a-table-whose-index-raises-waits-and-closes | ok 500
local n = 0
local t = setmetatable({}, {__index = function(_, k)
  n = n + 1
  local x <close> = setmetatable({}, {__close = function() sleep(0) end})
  if n % 100 == 0 then error({k}) end
  return k .. k
end})
for i = 1, 5 do pcall(string.gsub, ("ab"):rep(200), ".", t) end
return n

--# gsub-in-a-coroutine-abandoned-in-its-callback | ok nil
local keep = {}
for i = 1, 500 do
  keep[i] = coroutine.create(function() return (("x"):rep(5000):gsub("x", function() error(coroutine.running()) end)) end)
  coroutine.resume(keep[i])
end
keep = nil
collectgarbage()

--# gsub-callback-that-collects-with-a-big-buffer | ok or killed
local n = 0
local s = ("x"):rep(3000):gsub("x", function() n = n + 1 if n % 100 == 0 then collectgarbage() end return ("y"):rep(500) end)
return #s

--# gmatch-shared-by-coroutines | ok 500
local it = ("a b c d e f"):rep(100):gmatch("%a")
local n = 0
for i = 1, 50 do coroutine.wrap(function() for _ = 1, 10 do if it() then n = n + 1 end end end)() end
return n

--# pack-of-everything | ok 126
local n = 0
for _, f in ipairs{"b", "B", "i16", "I16", "i17", "s1", "s8", "s16", "z", "x", "X", "Xi16", "!16Xi16", "!17", "c0", "c10", "c99999999999999999999", "j", "n", "d", "f", "<>=!", "i0", " ", "s", "Xx", "XX", "Xz"} do
  for _, v in ipairs{0, -1, 255, math.mininteger, 2^53, "", "abc\0d", ("z"):rep(300)} do
    local ok, s = pcall(string.pack, f, v)
    if ok then n = n + 1 pcall(string.unpack, f, s) pcall(string.unpack, f, s, -1) pcall(string.unpack, f, s:sub(2)) end
  end
  pcall(string.packsize, f)
end
return n

--# rep-of-rep-of-rep | memory or error or ok
local s = "x"
for i = 1, 40 do s = s:rep(8) end
return #s

--# rep-overflow-edges | ok 21
local r = {}
for _, n in ipairs{math.maxinteger, math.maxinteger // 2, 2^31, 2^32, 2^40, -1, math.mininteger} do
  r[#r + 1] = tostring(pcall(string.rep, "ab", n))
  r[#r + 1] = tostring(pcall(string.rep, "", n, "a"))
  r[#r + 1] = tostring(pcall(string.rep, "a", n, ""))
end
return #r

--# sub-and-byte-edges | ok 30
local e = {math.mininteger, math.maxinteger, 0, -1, 1, math.mininteger + 1}
local n = 0
for _, a in ipairs(e) do for _, b in ipairs(e) do
  n = n + #("abc"):sub(a, b)
  pcall(string.byte, "abc", a, b)
  pcall(string.find, "abc", "b", a, true)
  pcall(string.rep, "abc", b < 10 and b or 10)
  pcall(utf8.len, "abc", a, b)
  pcall(utf8.codepoint, "abc", a, b)
  pcall(utf8.offset, "abc", a, b)
  pcall(select, a, 1, 2, 3)
  pcall(table.concat, {1, 2, 3}, ",", a, b)
  pcall(table.unpack, {1, 2, 3}, a, b)
  pcall(table.insert, {1, 2}, a, b)
  pcall(table.remove, {1, 2}, a)
  pcall(rawset, {}, a, b)
  pcall(string.unpack, "b", "abc", a)
end end
return n

--# sort-comparator-yields-into-a-close | error
local co = coroutine.wrap(function()
  local x <close> = setmetatable({}, {__close = function() coroutine.yield("closing") end})
  table.sort({3, 2, 1}, function() coroutine.yield() end)
end)
return co()

--# sort-that-is-entered-again-on-the-same-table | ok or error or killed
local t = {}
for i = 1, 50 do t[i] = (i * 7919) % 101 end
local n = 0
pcall(table.sort, t, function(a, b) n = n + 1 if n % 10 == 0 and n < 1000 then pcall(table.sort, t, function(x, y) n = n + 1 return x > y end) end return a < b end)
return n

--# sort-comparator-that-sets-the-length | ok false
local t = {}
for i = 1, 100 do t[i] = i end
return (pcall(table.sort, t, function(a, b) t[#t] = nil return true end))

--# next-while-the-collector-clears | ok
local t = setmetatable({}, {__mode = "k"})
for i = 1, 10000 do t[{}] = i end
local n = 0
for k, v in pairs(t) do n = n + 1 if n % 1000 == 0 then collectgarbage() end end
return n

--# mode-k-with-values-that-close | ok
local t = setmetatable({}, {__mode = "k"})
for i = 1, 1000 do local k = {} t[k] = coroutine.wrap(function() local x <close> = setmetatable({}, {__close = function() end}) coroutine.yield(k) end) t[k]() end
collectgarbage() collectgarbage()
local n = 0
for _ in pairs(t) do n = n + 1 end
return n

--# concat-of-numbers-at-the-cap | memory or killed or ok
local t = {}
for i = 1, 300000 do t[i] = i + 0.5 end
local s = {}
for i = 1, 20 do s[i] = table.concat(t, ",") end

--# environment-nested-upvalues-join | ok 3
local function f() local _ENV = {x = 1} return function() x = x + 1 return x end end
local g = f()
local _ENV = setmetatable({}, {__index = _ENV, __newindex = function(t, k, v) rawset(t, k, v) end})
g()
y = g()
return y

--# env-is-a-number | error attempt to index
local function f() local _ENV = 5 return x end
return f()

--# env-is-a-client | ok true
local function f(_ENV) return id end
return f(client) ~= nil

--# assert-with-a-close-as-message | error (error object is a table value)
assert(false, setmetatable({}, {__tostring = function() while true do end end, __close = function() while true do end end, __name = "x"}))

--# error-levels | error
for _, l in ipairs{0, 1, 2, 3, 100, 1000000, math.maxinteger, math.mininteger, -1} do pcall(error, "x", l) end
error("x", 2147483648)

--# traceback-odd | ok 9
local r = {}
for _, a in ipairs{{"x", 0}, {"x", 1e6}, {"x", -1}, {"x", math.maxinteger}, {"x", math.mininteger}, {nil, 1}, {{}, 1}, {coroutine.create(print), "x", 0}, {coroutine.create(print), "x", 5}} do
  r[#r + 1] = tostring(pcall(debug.traceback, table.unpack(a, 1, 3)))
end
return #r

--# setmetatable-storm | ok or killed
local mt = {}
for i = 1, 200000 do setmetatable(mt, i % 2 == 0 and mt or nil) end
return #mt

--# recursion | error stack overflow or memory
local function f() return 1 + f() end
return f()
--# recursion-swallowed | ok false
local function f() return 1 + f() end
return (pcall(f))
--# recursion-swallowed-for-ever | killed
local function f() return 1 + f() end
while true do pcall(f) end
--# gsub-in-gsub | error C stack overflow
local function f() return ("x"):gsub(".", f) end
return f()
--# sort-in-sort | error C stack overflow
local function f() table.sort({ 1, 2, 3 }, f) return true end
return f()
--# pcall-in-pcall | ok
local function f() return select(2, pcall(f)) end
return tostring(f()):match("overflow")
--# pcall-of-pcall | ok
local f = pcall
for _ = 1, 150 do local g = f f = function() return pcall(g) end end
return (f(error))
--# xpcall-handler-recursion | ok false
local function handler() error("again") end
return (xpcall(error, handler, "x"))
--# xpcall-in-handler | ok false
local function handler(e) xpcall(error, handler, e) return e end
return (xpcall(error, handler, "x"))
--# tostring-in-tostring | error C stack overflow
local o
o = setmetatable({}, { __tostring = function() return tostring(o) end })
return tostring(o)
--# index-loop | error loop
local a, b = {}, {}
setmetatable(a, { __index = b })
setmetatable(b, { __index = a })
return a.x
--# newindex-loop | error loop
local a, b = {}, {}
setmetatable(a, { __newindex = b })
setmetatable(b, { __newindex = a })
a.x = 1
--# index-function-recursion | error C stack overflow
local t
t = setmetatable({}, { __index = function(_, k) return t[k .. "x"] end })
return t.x
--# call-chain | error or ok
local t = setmetatable({}, {})
for _ = 1, 1000 do t = setmetatable({}, { __call = t }) end
return t()
--# call-itself | killed
local t = {}
setmetatable(t, { __call = t })
return t()
--# eq-recursion | error C stack overflow
local mt = {}
mt.__eq = function() return setmetatable({}, mt) == setmetatable({}, mt) end
return setmetatable({}, mt) == setmetatable({}, mt)
--# lt-recursion | error C stack overflow
local mt = {}
mt.__lt = function(a, b) return b < a end
return setmetatable({}, mt) < setmetatable({}, mt)
--# concat-recursion | error C stack overflow or error __concat is not available
local mt = {}
mt.__concat = function(a, b) return a .. b end
return setmetatable({}, mt) .. "x"
--# concat-moves-the-stack | ok or error
local function deep(n) return n == 0 and 0 or 1 + deep(n - 1) end
local mt = {}
local o = setmetatable({}, mt)
mt.__concat = function() deep(150) return "x" end
local s = 0
for _ = 1, 100 do
  local co = coroutine.wrap(function() local a, b = "A", "s" return pcall(function() return a .. b .. o end) end)
  s = s + (co() and 1 or 0)
end
return s >= 0
--# close-recursion | error or memory or killed
local function f()
  local x <close> = setmetatable({}, { __close = f })
  error("x")
end
f()
--# load-in-load | error
local function f() return assert(load(f)) end
return f()
--# wrap-in-wrap | error
local function f() return coroutine.wrap(f)() end
return f()
--# resume-in-resume | ok
local function f() return coroutine.resume(coroutine.create(f)) end
return (f())
--# close-in-close-5000 | ok true
local co = false
for _ = 1, 5000 do
  local previous = co
  co = coroutine.create(function()
    local _ <close> = setmetatable({}, { __close = function() if previous then pcall(coroutine.close, previous) end end })
    coroutine.yield()
  end)
  coroutine.resume(co)
end
return (coroutine.close(co))
--# close-of-a-coroutine-in-xpcall | error inside xpcall
local co = coroutine.create(function()
  xpcall(function()
    local _ <close> = setmetatable({}, { __close = function() error("x") end })
    coroutine.yield()
  end, function(e) return e end)
end)
coroutine.resume(co)
coroutine.close(co)
--# gsub-deep-with-captures | error C stack overflow
local function f(s) return ("xyz"):gsub("(.)(.)(.)", function() return f(s) end) end
return f("x")
--# sort-comparator-recursion-with-big-tables | error or killed
local t = {}
for i = 1, 1000 do t[i] = 1000 - i end
local function less(a, b) table.sort({ table.unpack(t) }, less) return a < b end
table.sort(t, less)
--# unpack-at-the-stack-limit | ok or error or memory
local function f(n, ...) if n == 0 then return select("#", ...) end return f(n - 1, table.unpack({}, 1, 200)) end
return f(1000)
--# many-results | error or memory
return select("#", table.unpack({}, 1, 999999))
--# many-arguments | error or memory or ok
return select("#", (function(...) return ... end)(table.unpack({}, 1, 200000)))
--# vararg-in-the-middle | ok 200
local t = {}
for i = 1, 200 do t[i] = i end
return select("#", table.unpack(t))
--# string-format-deep | error C stack overflow
local o
o = setmetatable({}, { __tostring = function() return ("%s"):format(o) end })
return ("%s"):format(o)
--# json-encode-deep | error
local t = {}
for _ = 1, 1000 do t = { t } end
return json.encode(t)
--# json-encode-cycle | error
local t = {}
t.t = t
return json.encode(t)
--# json-decode-deep | ok nil
return (json.decode(("["):rep(100000)))
--# require-itself | ok or error
return require("main")
--# traceback-of-a-deep-stack | ok
local trace
local function f(n) if n == 0 then trace = debug.traceback() else f(n - 1) end return 1 end
f(10000)
return #trace > 0
--# error-in-error-in-close | error third
local a <close> = setmetatable({}, { __close = function() error("third", 0) end })
local b <close> = setmetatable({}, { __close = function() error("second", 0) end })
error("first", 0)
--# break-leaves-a-closing-value | ok end
-- Lua 5.4.4 compiles this to writes all over the memory.
local keep
for x in function() return 1 end, nil, nil, setmetatable({}, { __close = function() end }) do
  local y = x
  keep = function() return y end
  do if x then break end end
end
local a <close> = setmetatable({}, { __close = function() end })
return "end"
--# break-leaves-many-closing-values | ok 1000
local mt = { __close = function() end }
local n = 0
for _ = 1, 1000 do
  for x in function() return 1 end, nil, nil, setmetatable({}, mt) do
    do local c <close> = setmetatable({}, mt) if x then break end end
  end
  local a <close> = setmetatable({}, mt)
  n = n + 1
end
return n
--# break-leaves-a-closing-value-in-loaded-code | ok end
return load([[
  local mt = { __close = function() end }
  for x in function() return 1 end, nil, nil, setmetatable({}, mt) do
    do local c <close> = setmetatable({}, mt) if x then break end end
  end
  local a <close> = setmetatable({}, mt)
  return "end"
]])()

--# the-hidden-name-in-a-traceback | ok /^(nil|concat|)$/
local _, trace = xpcall(function() return {} .. nil end, function(m) return debug.traceback(m) end)
return trace:match("in metamethod '(.-)'\n")
--# the-hidden-name-in-the-stock-idiom | ok /^(nil|concat|)$/
local _, trace = xpcall(function() return {} .. nil end, debug.traceback)
return trace:match("in metamethod '(.-)'\n")
--# the-hidden-name-guessed | ok guarded
-- What a traceback tells, behind each two bytes: one of these would be it.
local _, trace = xpcall(function() return {} .. nil end, function(m) return debug.traceback(m) end)
local seen = trace:match("in metamethod '(.-)'\n") or "concat"
local mt = {}
local o = setmetatable({}, mt)
if seen == "concat" then return "guarded" end
for i = 0, 65535 do
  mt[string.char(i >> 8, i & 255) .. seen] = function() return "found" end
  if i % 256 == 255 then
    if pcall(function() return o .. o end) then return "found" end
    for k in pairs(mt) do mt[k] = nil end
  end
end
return "guarded"
--# deep-tracebacks-again-and-again | ok true
local co = coroutine.create(function()
  local function f(n) if n == 0 then coroutine.yield() end return 1 + f(n - 1) end
  return f(30000)
end)
coroutine.resume(co)
local bytes = 0
for _ = 1, 500 do bytes = bytes + #debug.traceback(co, "here") end
return bytes > 0
--# deep-traceback-in-a-handler | ok /overflow|memory/
local function f(a) local b = a return f(b) + 1 end
return (select(2, xpcall(f, debug.traceback, 1)):match("stack overflow") or "memory")
--# deep-traceback-of-each-level | ok true
local co = coroutine.create(function()
  local function f(n) if n == 0 then coroutine.yield() end return 1 + f(n - 1) end
  return f(3000)
end)
coroutine.resume(co)
for level = -1, 3010, 61 do
  if not debug.traceback(co, "x", level):match("^x\nstack traceback:") then return level end
end
return true
--# deep-and-endless | killed soft or memory
local function f(n) if n == 0 then while true do end end return 1 + f(n - 1) end
return f(40000)
--# deep-and-endless-in-pcalls | killed soft or memory
local function f(n) if n == 0 then while true do end end return 1 + f(n - 1) end
while true do pcall(f, 20000) end
--# deep-and-endless-in-a-coroutine | killed soft or memory
local function f(n) if n == 0 then while true do end end return 1 + f(n - 1) end
return coroutine.wrap(f)(40000)

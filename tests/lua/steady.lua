-- luacheck: ignore (every odd way to write things is in here)
-- steady.lua -- a program whose result depends on nothing but itself, for
-- tests/unit/script/test_steady.c: however often it is stopped, and wherever,
-- it returns the same text. It goes through everything that Lua and its C
-- functions do with their state: calls, coroutines, errors, metamethods,
-- sorting, patterns, closing, growing tables, the collector.

local out = {}
local function note(...)
  local parts = table.pack(...)
  for i = 1, parts.n do parts[i] = tostring(parts[i]) end
  out[#out + 1] = table.concat(parts, " ")
end

-- a generator of our own: math.random is seeded anew in each state
local seed = 42
local function random(n)
  seed = (seed * 1103515245 + 12345) % 2147483648
  return seed // 65536 % n + 1
end

do -- loops and goto
  local sum = 0
  for i = 1, 3000 do
    if i % 7 == 0 then goto continue end
    sum = sum + i * 3 // 2
    ::continue::
  end
  local n = 0
  while n * n < 500000 do n = n + 1 end
  repeat n = n - 3 until n < 10
  note("loops", sum, n)
end

do -- strings
  local s = {}
  for i = 1, 400 do s[#s + 1] = string.char(97 + random(26) - 1) end
  local text = table.concat(s)
  local counts = {}
  for c in text:gmatch(".") do counts[c] = (counts[c] or 0) + 1 end
  local keys = {}
  for c, n in pairs(counts) do keys[#keys + 1] = c .. n end
  table.sort(keys)
  note("letters", table.concat(keys, ","))
  note("gsub", (text:gsub("[aeiou]", function(c) return c:upper():rep(2) end)))
  note("find", text:find("(%a)%1"), text:match("a.-b.-c"))
  note("format", ("%5.2f|%-8s|%08x|%q"):format(3.14159, "ab", 48879, "a\nb"))
  note("pack", string.unpack("<i4d", string.pack("<i4d", -7, 2.5)))
  note("reverse", text:reverse():sub(1, 20):rep(3, "-"))
  local long = ""
  for i = 1, 300 do long = long .. i end
  note("long", #long, long:sub(-12), long < long .. "0", long == long .. "")
end

do -- protected calls, errors of every kind
  local function fail(n)
    if n == 0 then error({ code = 7 }) end
    return fail(n - 1) + 1
  end
  local ok, e = pcall(fail, 50)
  note("pcall", ok, e.code)
  note("xpcall", xpcall(fail, function(x) return x.code * 2 end, 20))
  note("nested", pcall(pcall, pcall, error, "x"))
  note("index", pcall(function() return (nil).x end))
  note("arith", pcall(function() return {} + 1 end))
  note("overflow", select(2, pcall(function()
    local function deep() return 1 + deep() end
    return deep()
  end)):match("stack overflow"))
end

do -- metamethods
  local V = {}
  V.__index = V
  V.__add = function(a, b) return setmetatable({ x = a.x + b.x }, V) end
  V.__eq = function(a, b) return a.x == b.x end
  V.__lt = function(a, b) return a.x < b.x end
  V.__le = function(a, b) return a.x <= b.x end
  V.__len = function(a) return a.x end
  V.__call = function(a, n) return a.x * n end
  V.__tostring = function(a) return "V" .. a.x end
  V.__unm = function(a) return setmetatable({ x = -a.x }, V) end
  V.__close = function(a) note("closed", a.x) end
  local vs = {}
  for i = 1, 60 do vs[i] = setmetatable({ x = random(1000) }, V) end
  table.sort(vs)
  local sum = vs[1]
  for i = 2, #vs do sum = sum + vs[i] end
  note("vectors", tostring(sum), #sum, sum(2), vs[1] <= vs[2], (-vs[3]).x)
  local log = setmetatable({}, {
    __index = function(_, k) return k .. "!" end,
    __newindex = function(t, k, v) rawset(t, k, v * 2) end,
  })
  log.a = 4
  note("index", log.a, log.b)
  do
    local a <close> = vs[1]
    local b <close> = vs[2]
    pcall(function()
      local c <close> = vs[3]
      error("out")
    end)
  end
end

do -- coroutines, four deep
  local function level(n)
    return coroutine.wrap(function()
      for i = 1, 5 do
        if n == 0 then
          coroutine.yield(i)
        else
          local inner = level(n - 1)
          for j = 1, 5 do coroutine.yield(inner() * 10 + j) end
        end
      end
      return -1
    end)
  end
  local co, sum = level(3), 0
  for _ = 1, 25 do sum = (sum * 31 + co()) % 1000003 end
  note("coroutines", sum)
  local c = coroutine.create(function(a)
    local x <close> = setmetatable({}, { __close = function() note("co closed") end })
    local b = coroutine.yield(a + 1)
    error("in co " .. b)
  end)
  note(coroutine.resume(c, 1))
  note(coroutine.resume(c, 2))
  note(coroutine.status(c), coroutine.close(c))
  local d = coroutine.create(function()
    local x <close> = setmetatable({}, { __close = function() note("d closed") end })
    coroutine.yield()
  end)
  coroutine.resume(d)
  note(coroutine.close(d), coroutine.status(d))
  note(pcall(coroutine.wrap(function() error("wrapped") end)))
end

do -- sorting
  local t = {}
  for i = 1, 800 do t[i] = random(10000) end
  table.sort(t, function(a, b) return a > b end)
  local sum = 0
  for i, v in ipairs(t) do sum = (sum * 7 + v * i) % 1000003 end
  note("sorted", t[1], t[#t], sum)
  note("invalid", (pcall(table.sort, { 3, 1, "x" })))
end

do -- tables that grow, shrink and collide
  local t = {}
  for i = 1, 2000 do t[i * 1023] = i end
  for i = 1, 2000, 2 do t[i * 1023] = nil end
  local n, sum = 0, 0
  for _, v in pairs(t) do n, sum = n + 1, sum + v end
  note("sparse", n, sum)
  local q = {}
  for i = 1, 500 do table.insert(q, 1, i) end
  for _ = 1, 490 do table.remove(q) end
  note("queue", table.concat(q, ","), table.unpack(q, 2, 4))
  note("move", table.concat(table.move(q, 1, 5, 3), ","), select("#", table.unpack({}, 1, 200)))
end

do -- closures, varargs, tail calls
  local function counter()
    local n = 0
    return function() n = n + 1 return n end, function() return n end
  end
  local fns = {}
  for i = 1, 100 do
    local up, get = counter()
    for _ = 1, i do up() end
    fns[i] = get
  end
  local sum = 0
  for _, get in ipairs(fns) do sum = sum + get() end
  local function count(...) return select("#", ...), ... end
  local function tail(n, ...) if n == 0 then return count(...) end return tail(n - 1, n, ...) end
  note("closures", sum, (tail(100)), select(3, tail(20)))
end

do -- the collector and weak keys
  local weak = setmetatable({}, { __mode = "k" })
  local keep = {}
  for i = 1, 400 do
    local k = { i }
    weak[k] = i
    if i % 4 == 0 then keep[#keep + 1] = k end
  end
  collectgarbage()
  local n, sum = 0, 0
  for _, v in pairs(weak) do n, sum = n + 1, sum + v end
  note("weak", n, sum)
  local list
  for i = 1, 3000 do list = { next = i % 100 ~= 0 and list or nil, i } end
  local len = 0
  while list do len, list = len + 1, list.next end
  note("lists", len)
end

do -- compiling
  local sum = 0
  for i = 1, 30 do
    local f = assert(load("local a = ... return a * " .. i .. " + (function() return #'x' end)()"))
    sum = sum + f(i)
  end
  note("load", sum, select(2, load("x = = 1")))
  local parts, i = { "return ", "1 + ", "41" }, 0
  note("reader", load(function() i = i + 1 return parts[i] end)())
end

do -- numbers
  local x = 0.1
  for _ = 1, 1000 do x = x * 3.7 % 1 + math.sin(x) / 1e3 end
  note("float", ("%.12g"):format(x), 7 // 2, -7 // 2, 7 % -3, 2 ^ 0.5, 1e300 * 1e10)
  note("integer", math.maxinteger + 1 == math.mininteger, 5 // 0.0, 3 | 4, ~0, 1 << 62)
  note("convert", tonumber("0x1p4"), tonumber("  12  "), tonumber("z", 36), "10" + 5)
  note("utf8", utf8.char(228, 8364, 128512), utf8.len("äö€"), utf8.codepoint("€", 1))
end

if wait then -- waiting anywhere
  note("waits", wait("a"), pcall(wait, "b"))
  local t = { 5, 3, 9, 1 }
  table.sort(t, function(a, b) wait() return a < b end)
  note("sorted", table.concat(t, ","))
  note("gsub", (("abc"):gsub(".", function(c) return wait(c .. c) end)))
  note("co", coroutine.wrap(function() wait() coroutine.yield(wait(3)) end)())
end

return table.concat(out, "\n")

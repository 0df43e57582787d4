--# promises-over-coroutines | ok 42,caught,57
local queue, out = {}, {}
local function later(n, value) return function(go) queue[#queue + 1] = { n, go, value } end end
local function async(f)
  local co = coroutine.create(f)
  local function step(...)
    local ok, wait = coroutine.resume(co, ...)
    if ok and coroutine.status(co) == "suspended" then wait(step) end
  end
  step()
end
local function await(p)
  local v = coroutine.yield(p)
  if v == "bad" then error(v, 0) end
  return v
end
async(function()
  out[1] = await(later(3, 42))
  out[2] = pcall(await, later(1, "bad")) and "missed" or "caught"
  local sum = 0
  for i = 1, 5 do sum = sum + await(later(i, i)) end
  out[3] = select(2, xpcall(function() return sum + await(later(2, 42)) end, debug.traceback))
end)
while #queue > 0 do
  local job = table.remove(queue, 1)
  job[1] = job[1] - 1
  if job[1] > 0 then queue[#queue + 1] = job else job[2](job[3]) end
end
return table.concat(out, ",")
--# schedulers-of-wraps-in-xpcall | ok 12 a! b3 c(close) c!
local ready, out, steps = {}, {}, 0
local function go(name, f)
  ready[#ready + 1] = coroutine.wrap(function()
    local ok, v = xpcall(f, function(e) return name .. "!" end)
    out[#out + 1] = ok and name .. v or v
    return true
  end)
end
go("a", function() for _ = 1, 2 do coroutine.yield() end error {} end)
go("b", function() for _ = 1, 3 do coroutine.yield() end return 3 end)
go("c", function()
  local x <close> = setmetatable({}, { __close = function() out[#out + 1] = "c(close)" end })
  for _ = 1, 4 do coroutine.yield() end
  error("x")
end)
while #ready > 0 do
  local f = table.remove(ready, 1)
  steps = steps + 1
  if not f() then ready[#ready + 1] = f end
end
return steps .. " " .. table.concat(out, " ")
--# a-hash-in-plain-lua | ok 90015098 cbf43926
local function md5_word(m)
  local r = { 7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21 }
  local a, b, c, d = 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476
  local w = { ("<" .. ("I4"):rep(16)):unpack(m .. "\128" .. ("\0"):rep(55 - #m) .. ("<I8"):pack(#m * 8)) }
  for i = 0, 63 do
    local f, g
    if i < 16 then f, g = b & c | ~b & d, i
    elseif i < 32 then f, g = d & b | ~d & c, (5 * i + 1) % 16
    elseif i < 48 then f, g = b ~ c ~ d, (3 * i + 5) % 16
    else f, g = c ~ (b | ~d & 0xffffffff), 7 * i % 16 end
    f = (f + a + math.floor(math.abs(math.sin(i + 1)) * 2 ^ 32) + w[g + 1]) & 0xffffffff
    local s = r[i // 16 * 4 + i % 4 + 1]
    a, d, c, b = d, c, b, (b + (f << s | f >> (32 - s))) & 0xffffffff
  end
  return string.unpack(">I4", string.pack("<I4", (a + 0x67452301) & 0xffffffff))
end
local function crc(s)
  local c = 0xffffffff
  for i = 1, #s do
    c = c ~ s:byte(i)
    for _ = 1, 8 do c = c >> 1 ~ (0xedb88320 & -(c & 1)) end
  end
  return ~c & 0xffffffff
end
return ("%08x %08x"):format(md5_word("abc"), crc("123456789"))
--# a-parser-of-combinators | ok 23
local P = {}
P.__index = P
local function rule(f) return setmetatable({ f }, P) end
local function word(p) return rule(function(s, i) local a, b = s:find("^%s*" .. p .. "%s*", i) if a then return b + 1, { s:sub(a, b):match("^%s*(.-)%s*$") } end end) end
P.__mul = function(a, b) return rule(function(s, i)
  local j, x = a[1](s, i)
  if not j then return end
  local k, y = b[1](s, j)
  if k then return k, table.move(y, 1, #y, #x + 1, x) end
end) end
P.__add = function(a, b) return rule(function(s, i)
  local j, x = a[1](s, i)
  if j then return j, x end
  return b[1](s, i)
end) end
P.__pow = function(a) return rule(function(s, i)
  local all = {}
  while true do
    local j, x = a[1](s, i)
    if not j then return i, all end
    i = j
    table.move(x, 1, #x, #all + 1, all)
  end
end) end
P.__div = function(a, f) return rule(function(s, i)
  local j, x = a[1](s, i)
  if j then return j, { f(table.unpack(x)) } end
end) end
local function fold(v, ...)
  local rest = table.pack(...)
  for i = 1, rest.n, 2 do
    local op, n = rest[i], rest[i + 1]
    v = op == "+" and v + n or op == "-" and v - n or op == "*" and v * n or v // n
  end
  return v
end
local sum
local atom = word "%d+" / math.tointeger + word "%(" * rule(function(s, i) return sum[1](s, i) end) * word "%)" / function(_, v) return v end
local product = atom * (word "[*/]" * atom) ^ 0 / fold
sum = product * (word "[+-]" * product) ^ 0 / fold
return select(2, sum[1]("2 * (3 + 4) + 18 / (1+1)", 1))[1]
--# a-spreadsheet-with-cycles | ok 6 12 cycle at C1
local cells = { A1 = 1, A2 = 2, A3 = "=A1+A2+3", B1 = "=A3*2", C1 = "=C2", C2 = "=C1" }
local busy = {}
local env = {}
setmetatable(env, { __index = function(_, name)
  local v = cells[name]
  if type(v) ~= "string" then return v end
  if busy[name] then error("cycle at " .. name, 0) end
  busy[name] = true
  local ok, r = pcall(assert(load("return " .. v:sub(2), "=" .. name, "t", env)))
  busy[name] = nil
  if not ok then error(r, 0) end
  return r
end })
return env.A3 .. " " .. env.B1 .. " " .. select(2, pcall(function() return env.C1 end))
--# numbers-as-a-serializer-writes-them | ok 0x1p-1 1e9999 0x8000000000000000 3 true
local text = ("%q %q %q %q"):format(0.5, 1 / 0, math.mininteger, 3)
local back = { load("return " .. text:gsub(" ", ","))() }
return text .. " " .. tostring(back[1] == 0.5 and back[2] == math.huge and back[3] == math.mininteger)
--# reader-that-gives-numbers | ok 42
local pieces, i = { "return ", 4, 2 }, 0
return load(function() i = i + 1 return pieces[i] end)()
--# environments-within-environments | ok 3 nil env
local function f(_ENV) return a + b end
local g = load("local _ENV = { z = 1 } return x", "=g", "t", { x = "env" })
local h = load("return x", "=h", "t", setmetatable({}, { __index = { x = "env" } }))
return f { a = 1, b = 2 } .. " " .. tostring(g()) .. " " .. h()
--# close-that-yields-on-the-way-out | ok closing,E,false
local co = coroutine.wrap(function()
  return pcall(function()
    local z <close> = setmetatable({}, { __close = function(_, e) coroutine.yield("closing", e) end })
    error("E", 0)
  end)
end)
local a, b = co()
return a .. "," .. b .. "," .. tostring((co()))

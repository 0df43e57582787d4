--# send-huge-table | ok or killed or memory or error
local t = {}
for i = 1, 300000 do t[i] = i end
return client:send(t)

--# send-cyclic | error
local t = {} t.t = {t}
client:send(t)

--# send-table-with-a-proxy-row | ok true
return client:send({a = setmetatable({}, {__index = function() error("no") end, __pairs = function() error("no") end, __len = function() return 1e9 end})})

--# send-deep-table | error
local t = {}
for i = 1, 100000 do t = {t} end
client:send(t)

--# send-empty-flood-then-close | closed 1000
for i = 1, 3000 do client:send("") end
client:close()
for i = 1, 3000 do client:send("") end

--# broadcast-to-a-million-names | ok or killed or memory or error
local t = {}
for i = 1, 400000 do t[i] = "u" .. (i % 1000) end
return broadcast("x", {users = t})

--# broadcast-to-a-list-that-lies | ok or error or killed
return broadcast("x", {users = setmetatable({}, {__len = function() return 1e12 end, __index = function() return "u" end})})

--# broadcast-to-a-hundred-thousand-rooms | ok or error or killed or memory
local t = {}
for i = 1, 100000 do t[i] = "room" .. i end
return broadcast("x", {rooms = t})

--# broadcast-except-half-a-million | ok or error or killed or memory
local t = {}
for i = 1, 300000 do t[i] = (i % 2 == 0) and client or "u" end
return broadcast("x", {except = t})

--# broadcast-where-leaves-and-joins | ok 1
client:join("r")
return room("r"):broadcast("x", {where = function(c) c:leave("r") c:join("r2") c:leave("r2") c:join("r") return true end})

--# broadcast-where-loops-in-pcall | killed
broadcast("x", {where = function() while true do pcall(function() while true do end end) end end})

--# broadcast-where-resumes-a-broadcaster | ok 1
local co = coroutine.wrap(function() while true do coroutine.yield(pcall(broadcast, "y")) end end)
return broadcast("x", {where = function() return co() end})

--# broadcast-where-yields | error
coroutine.wrap(function() broadcast("x", {where = function() coroutine.yield() end}) end)()

--# broadcast-where-collects | ok 1
return broadcast("x", {where = function() for i = 1, 20 do collectgarbage() end return true end})

--# broadcast-where-at-the-cap | memory or killed or ok or error
local t = {}
pcall(function() while true do t[#t + 1] = ("x"):rep(10000) .. #t end end)
return broadcast("x", {where = function(c) return #(("y"):rep(500000)) > 0 end})

--# broadcast-of-a-megabyte-compressed-killed-in-where | killed or closed 1013
local s = {}
for i = 1, 20000 do s[i] = (i * 7919 % 65536) .. "," end
s = table.concat(s)
for i = 1, 100000 do broadcast(s, {compress = true, where = function() return i % 3 == 0 end}) end

--# broadcast-compressed-and-binary-and-keyed | ok or killed or error
for i = 1, 200 do broadcast(("abc" .. i):rep(3000), {compress = true, binary = i % 2 == 0, key = "k" .. (i % 3)}) end

--# broadcast-with-odd-options | ok 19
local r = {}
for _, o in ipairs{{room = 1}, {room = ""}, {room = ("r"):rep(129)}, {room = "a", rooms = {"b"}}, {users = "x"}, {users = {1}}, {users = {""}}, {except = {{}}}, {except = 5}, {where = 5}, {key = ""}, {key = ("k"):rep(65)}, {binary = "yes"}, {compress = 1}, {rooms = {[3] = "x"}}, {user = "\0"}, {"x"}, {[1.5] = 1}, {[client] = client}} do
  r[#r + 1] = tostring(pcall(broadcast, "x", o))
end
return #r

--# rooms-with-odd-names | ok 12
local names = {"\0", "\255\254", " ", "*", "a*", "\n", ("é"):rep(64), ("x"):rep(128), "__index", "nil", "0", "../../x"}
for _, n in ipairs(names) do client:join(n) room(n):broadcast("x") room(n):count() client:is_in(n) end
local l = #client:rooms()
for _, n in ipairs(names) do client:leave(n) end
return l

--# room-closed-while-it-is-walked | closed 4001
client:join("w")
for c in room("w"):clients() do room("w"):close(4001, "bye") c:join("other") c:send("x") end

--# clients-walk-that-waits-and-closes | closed 4002
for c in clients() do sleep(0.001) c:close(4002) sleep(0.001) c:send("x") end

--# clients-iterators-by-thousands | ok or error or killed
local keep = {}
for i = 1, 5000 do keep[i] = clients() keep[i]() end
return #keep

--# rooms-list-while-joining | ok 100
for i = 1, 100 do client:join("j" .. i) rooms.list("j") end
local n = #rooms.list("j")
for i = 1, 100 do client:leave("j" .. i) end
return n

--# timers-hundred-thousand-cancelled | ok or error or killed or memory
for i = 1, 100000 do local t = timer.after(1000, print) if not t then break end t:cancel() t:cancel() end

--# timers-at-once-that-raise | ok ok
for i = 1, 1000 do timer.after(0.1, error, {}) end
return "ok"

--# timer-that-cancels-itself-and-makes-two | killed or ok or error or memory
local function go() timer.after(0, go) timer.after(0, go) end
go()
sleep(0.05)
return "ok"

--# timer-with-odd-durations | ok
local r = {}
for _, d in ipairs{0, -0.0, 1e-300, 1e300, 2^53, 2^63, "1ms", "1d", "99999999999d", "1e3s", "-1s", "", "s", "0x10s", " 1s", "1.5.5s"} do
  local ok, t = pcall(timer.after, d, print)
  r[#r + 1] = tostring(ok)
  if ok and t then t:cancel() end
end
return table.concat(r, ",")

--# timer-with-a-million-arguments | ok or error or memory or killed
return timer.after(0, print, table.unpack({}, 1, 200000))

--# task-spawn-inside-every-task | killed or ok or error or memory
local function go() task.spawn(go) sleep(0) task.spawn(go) end
go()

--# task-all-inside-task-all | ok or error or killed
local function nest(n) if n == 0 then return 1 end return task.all({function() return nest(n - 1) end, function() return 1 end})[1] end
return nest(200)

--# task-all-with-the-same-function-a-thousand-times | ok 1000
local n = 0
local f = function() sleep(0) n = n + 1 end
local t = {}
for i = 1, 1000 do t[i] = f end
task.all(t)
return n

--# sleep-zero-for-ever | ok or killed
local t = time.monotonic()
while time.monotonic() - t < 0.5 do sleep(0) end

--# sleep-zero-in-thousands-of-tasks | ok or killed or error
local n = 0
for i = 1, 3000 do if not task.spawn(function() for j = 1, 20 do sleep(0) end n = n + 1 end) then break end end
sleep(0.2)
return "ok"

--# lock-inside-lock-in-a-ring | ok ok
local function go(a, b) return function() lock(a, function() sleep(0.001) lock(b, function() end) end) end end
task.spawn(go("a", "b"))
task.spawn(go("b", "a"))
sleep(0.01)
return "ok"

--# lock-whose-holder-is-closed | ok falsetrue
local co = coroutine.create(function() lock("c", coroutine.yield) end)
local r = {coroutine.resume(co)}
pcall(coroutine.close, co)
local got = false
task.spawn(function() lock("c", function() got = true end) end)
sleep(0.01)
return tostring(r[1]) .. tostring(got)

--# lock-whose-holder-is-killed | killed
lock("k", function() while true do end end)

--# limit-odd-keys | ok 19
local l = limit.new{rate = 1, burst = 2}
local r = {}
for _, k in ipairs{0/0, 1/0, client, {}, print, coroutine.create(print), "", ("x"):rep(100000), true, -0.0, math.mininteger} do r[#r + 1] = tostring(pcall(l.take, l, k)) end
r[#r + 1] = tostring(pcall(l.take, l, nil))
for _, n in ipairs{0, -1, 1e300, 0/0, 1/0, "1", {}} do r[#r + 1] = tostring(pcall(l.take, l, "k", n)) end
return #r

--# limit-million-keys | ok or memory or killed
local l = limit.new{rate = 1}
for i = 1, 300000 do l:take("key" .. i) end

--# crypto-of-huge | ok or memory or killed
local s = ("x"):rep(5000000)
return #crypto.sha256(s) + #crypto.hmac("sha512", s, s) + #crypto.base64(s)

--# crypto-unbase64-odd | ok 3
local n = 0
for _, s in ipairs{"", "=", "==", "A", "AA", "AAA", "AAAA", "AA==", "A===", "AB==", "AAA=AAAA", "AA\nAA", "\0\0\0\0", ("A"):rep(1000001)} do if crypto.unbase64(s) then n = n + 1 end end
return n

--# crypto-equals-odd | ok true
return crypto.equals("", "") and not crypto.equals("a", "") and not crypto.equals(("x"):rep(1000000), ("x"):rep(999999) .. "y")

--# json-encode-huge-killed | killed or memory or ok
local t = {}
for i = 1, 50000 do t[i] = {i} end
while true do json.encode(t) end

--# json-encode-wide-keys | ok or memory or killed or error
local t = {}
for i = 1, 100000 do t["k" .. i] = ("v"):rep(10) end
return #json.encode(t)

--# json-encode-with-metatables | error
local r = {}
for _, t in ipairs{setmetatable({}, {__len = function() return 1e9 end}), setmetatable({}, {__pairs = error}), setmetatable({}, {__index = error}), setmetatable({}, {__tojson = error}), json.array(setmetatable({}, {__len = error})), json.array({[3] = 1}), json.array({x = 1}), {[1] = 1, x = 2}, {[1e300] = 1}, {[true] = 1}, {1, 2, nil, 4}, {[0] = 1}} do
  r[#r + 1] = tostring(select(2, pcall(json.encode, t)))
end
return #r

--# json-numbers-odd | ok
local r = {}
for _, s in ipairs{"-0", "1e400", "-1e400", "1e-400", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "1" .. ("0"):rep(10000), "0." .. ("0"):rep(10000) .. "1", "1e99999999999999999999", "01", "1.", ".5", "+1", "NaN", "0x10", "1e", "1e+"} do r[#r + 1] = tostring((json.decode(s))) end
return table.concat(r, ","):sub(1, 100)

--# json-decode-of-many-strings-at-the-cap | memory or killed or ok
local s = "[" .. ('"' .. ("x"):rep(50) .. '",'):rep(20000) .. "1]"
local keep = {}
for i = 1, 100 do keep[i] = json.decode((s:gsub("x1", i))) end

--# log-with-odd-fields | ok 10
local r = {}
for _, f in ipairs{{a = print}, {[1] = 2}, {["\n"] = "\n"}, {a = 0/0}, {a = {b = {c = {}}}}, {app = "victim"}, {msg = "x", level = "error", kind = "crash"}, setmetatable({}, {__pairs = error}), {[("k"):rep(10000)] = ("v"):rep(100000)}, {a = client}} do r[#r + 1] = tostring(pcall(log.info, "odd", f)) end
return #r

--# require-of-odd-names | ok 14
local n = 0
for _, m in ipairs{"", ".", "..", "...", "main", "/etc/passwd", "app.conf", "a/b", "a..b", "\0", ("x"):rep(256), ("x."):rep(120), "%s%s%n", "init", 5} do if not pcall(require, m) then n = n + 1 end end
return n

--# require-main-from-main | ok or error or killed
return type(require("main"))

--# methods-of-a-client-on-others | ok 93
local n = 0
local wrongs = {1, "x", {}, print, coroutine.create(print), json.null, room("x"), limit.new{rate = 1}, setmetatable({}, {__index = client, __name = "client"}), timer.after(1000, print)}
for _, m in ipairs{"send", "close", "join", "leave", "rooms", "is_in", "queue"} do
  for _, w in ipairs(wrongs) do if not pcall(client[m], w, "x") then n = n + 1 end end
  if not pcall(client[m]) then n = n + 1 end
end
for _, m in ipairs{"broadcast", "clients", "count", "close"} do for _, w in ipairs{1, client, {}, json.null} do if not pcall(room("x")[m], w, "x") then n = n + 1 end end end
return n

--# methods-of-a-closed-client | closed 4003
client:close(4003)
timer.after(0.01, function()
  for i = 1, 100 do client:send("x") client:join("r" .. i) client:leave("r") client:rooms() client:queue() client:close() client.data.x = i local _ = client.user, client.ip, client.path, client.connected_at broadcast("y", {except = client}) broadcast("y", {except = {client, client}}) end
end)

--# clients-kept-by-many-closures | ok or killed or memory
local k = {}
for i = 1, 100000 do k[i] = function() return client, i end end
return select(2, k[100000]())

--# data-that-grows-and-is-shared | ok or memory or killed
local t = {}
for i = 1, 100000 do t[i] = {i} end
client.data.t = t
client.data.t2 = t
client.data = {client.data}
client.data = {}

--# data-set-to-odd | ok 6
local r = {}
for _, d in ipairs{1, "x", print, client, setmetatable({}, {__index = error}), json.null} do r[#r + 1] = tostring(pcall(function() client.data = d end)) end
pcall(function() client.data = nil end)
client.data = {}
return #r

--# spawn-then-die-hard | killed
for i = 1, 100 do task.spawn(function() sleep(0.001) while true do string.find(("a"):rep(40), ("a?"):rep(40) .. ("a"):rep(40)) end end) end

--# killed-in-a-close-of-a-coroutine-in-a-task | killed
task.spawn(function()
  local co = coroutine.create(function() local x <close> = setmetatable({}, {__close = function() while true do end end}) coroutine.yield() end)
  coroutine.resume(co)
  coroutine.close(co)
end)

--# killed-in-require | ok or error or killed
for i = 1, 1e9 do pcall(require, "no" .. i) end

--# killed-in-concat | killed or memory
local t = {}
for i = 1, 100000 do t[i] = "abc" end
while true do table.concat(t) end

--# killed-in-rep | killed or memory
while true do pcall(string.rep, "x", 10000000) end

--# killed-in-collect-inside-close | killed
local t = {}
for i = 1, 50000 do t[i] = {} end
local x <close> = setmetatable({}, {__close = function() while true do collectgarbage() end end})
while true do collectgarbage() end

--# killed-in-an-error-handler-chain | killed
local function h(e) return xpcall(error, h, e) end
while true do xpcall(error, h, "x") end

--# killed-while-arming-deep | killed
local function deep(n) if n > 0 then return 1 + deep(n - 1) end while true do end end
while true do pcall(deep, 150000) end

--# killed-in-a-sleep-storm-in-close | killed or ok
local function f() local x <close> = setmetatable({}, {__close = function() sleep(0) while true do end end}) while true do end end
while true do pcall(f) end

--# close-that-sleeps-after-the-kill | killed
local x <close> = setmetatable({}, {__close = function() sleep(1000) end})
while true do end

--# close-that-sends-after-the-kill | killed
local x <close> = setmetatable({}, {__close = function() client:send("ok survived") end})
while true do end

--# close-is-client-send-after-the-kill | killed
local x <close> = setmetatable({}, {__close = broadcast})
while true do end

--# close-is-sleep-after-the-kill | killed
local mt = {__close = function(a) sleep(a.n) end}
local x <close> = setmetatable({n = 1000}, {__close = sleep})
local y <close> = setmetatable({n = 1000}, {__close = task.all})
local z <close> = setmetatable({n = 1000}, {__close = lock})
while true do end

--# index-is-sleep-and-call-is-sleep | ok 2
local t = setmetatable({}, {__index = sleep, __call = sleep, __newindex = broadcast, __len = clients.count, __tostring = crypto.uuid, __close = timer.after})
local n = 0
for _, f in ipairs{function() return t.x end, function() t() end, function() t.x = 1 end, function() return #t end, function() return tostring(t) end, function() local c <close> = t end, function() return t[0] end} do if pcall(f) then n = n + 1 end end
return n

--# broadcast-as-a-sort-comparator | ok false
return (pcall(table.sort, {"a", "b", "c"}, broadcast))

--# sleep-as-a-gsub-callback | ok true
return (pcall(string.gsub, "0000", "0", sleep))

--# send-as-a-load-reader | ok true
return (pcall(load, client.send))

--# clients-as-an-xpcall-handler | error
return (xpcall(error, clients, "x"))

--# wrap-of-every-api-function | ok 3
local n = 0
for _, f in ipairs{sleep, broadcast, clients.get, clients.of, clients.count, timer.after, timer.every, task.spawn, task.all, lock, json.encode, json.decode, limit.new, crypto.random, room, rooms.list, rooms.define, require, log.info, print, client.send, client.join} do
  local co = coroutine.wrap(f)
  if pcall(co) then n = n + 1 end
  pcall(co)
  local cr = coroutine.create(f)
  coroutine.resume(cr, cr, cr)
  pcall(coroutine.close, cr)
end
return n

--# a-task-that-waits-in-everything-then-killed | killed
for i = 1, 30 do
  task.spawn(function()
    table.sort({3, 2, 1}, function(a, b)
      local s = ("x"):gsub("x", function() pcall(coroutine.wrap(function() sleep(0.02) end)) end)
      return a < b
    end)
  end)
end
sleep(0.01)
string.find(("a"):rep(60), ("a?"):rep(60) .. ("a"):rep(60))

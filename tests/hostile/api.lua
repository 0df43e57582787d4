--# send-nothing | error bad argument
client:send()
--# send-function | error bad argument
client:send(print)
--# send-bad-utf8 | ok utf8
return select(2, client:send("\xff\xfe"))
--# send-too-big | ok too_big or memory
return select(2, client:send(("x"):rep(3000000)))
--# send-flood | ok or killed
for i = 1, 20000 do client:send("flood " .. i) end
return "done"
--# send-unknown-option | error
client:send("x", { nonsense = true })
--# send-key-too-long | error
client:send("x", { key = ("k"):rep(65) })
--# close-bad-code | error cannot be sent
client:close(1005)
--# close-reserved-code | error cannot be sent
client:close(2999)
--# close-huge-code | error cannot be sent
client:close(1 << 40)
--# close-fraction | error
client:close(4000.5)
--# close-long-reason | error at most 123
client:close(4000, ("x"):rep(124))
--# close-bad-utf8-reason | error at most 123
client:close(4000, "\xff")
--# room-name-empty | ok or error
return tostring(client:join(""))
--# room-name-long | error
client:join(("x"):rep(129))
--# room-name-with-nul | ok true
return client:join("a\0b")
--# room-flood | ok quota or ok full
for i = 1, 200 do local ok, err = client:join("r" .. i) if not ok then return err end end
--# room-objects-flood | ok or killed or memory
for i = 1, 1000000 do room("r" .. i) end
return "done"
--# rooms-define-flood | error or ok
for i = 1, 1000 do rooms.define("p" .. i .. "*", { max_clients = 1 }) end
--# timer-flood | error or ok quota or killed or memory
local t
for i = 1, 100000 do
  local ok, err = timer.after(1000, function() end)
  if not ok then return err end
end
--# timer-zero | ok or error
timer.every(0, function() end)
--# timer-negative | ok or error
timer.after(-1, function() end)
--# timer-nan | error
timer.after(0 / 0, function() end)
--# timer-infinite | error
timer.after(math.huge, function() end)
--# sleep-nan | error
sleep(0 / 0)
--# sleep-negative | ok or error
sleep(-1)
--# sleep-text | error
sleep("soon")
--# sleep-not-in-the-api | error
sleep({})
--# task-flood | ok or error or killed or memory
local n = 0
for i = 1, 10000 do
  local ok = task.spawn(function() sleep(0.1) end)
  if not ok then break end
  n = n + 1
end
return n <= 4096
--# task-fork-bomb | ok or killed or memory or error
local function bomb() task.spawn(bomb) task.spawn(bomb) end
bomb()
--# task-all-flood | ok or error
local t = {}
for i = 1, 10000 do t[i] = function() end end
return select(2, task.all(t))
--# task-all-until-the-end | killed soft
local functions = {}
for i = 1, 1000 do functions[i] = function() end end
while true do task.all(functions) end
--# lock-forever | ok
local held = false
task.spawn(function() lock("l", function() held = true sleep(0.02) end) end)
sleep(0.005)
return held
--# lock-flood | ok or error or killed or memory
local n = 0
for i = 1, 10000 do
  task.spawn(function() lock("l" .. i, function() sleep(0.1) end) end)
end
--# lock-name-long | error
lock(("x"):rep(129), function() end)
--# limit-bad | error
limit.new { rate = -1, burst = 0 }
--# limit-huge | error or ok
limit.new { rate = 1e308, burst = 1e308 }
error("made")
--# limit-keys-flood | ok or memory or killed
local l = limit.new { rate = 1, burst = 1 }
for i = 1, 1000000 do l:take("k" .. i) end
return "done"
--# crypto-random-huge | error
return #crypto.random(1 << 40)
--# crypto-random-negative | error
return crypto.random(-1)
--# crypto-hash-of-megabytes | killed or ok
local s = ("x"):rep(4000000)
for _ = 1, 100 do crypto.sha256(s) end
return "done"
--# crypto-bad-algorithm | error
return crypto.hmac("md4", "k", "s")
--# json-bad-key | error
return json.encode { [{}] = 1 }
--# json-nan | error
return json.encode { 0 / 0 }
--# json-infinite | error
return json.encode { math.huge }
--# json-sparse | ok or error
return json.encode { [1] = 1, [1 << 40] = 2 }
--# json-decode-garbage | ok nil
return (json.decode("{" .. ("\0"):rep(1000)))
--# json-decode-number-storm | ok or killed or memory
return type(json.decode("[" .. ("1e308,"):rep(200000) .. "1]"))
--# json-decode-long-number | ok
return type(json.decode(("1"):rep(100000)))
--# json-decode-surrogates | ok
return type(json.decode('"\\ud800\\udfff\\ud800"'))
--# json-decode-duplicate-keys | ok 2
return json.decode('{"a":1,"a":2}').a
--# json-decode-not-a-string | error
return json.decode({})
--# clients-get-nonsense | ok or error
return tostring(clients.get("nobody"))
--# clients-get-huge | ok nil
return tostring(clients.get(math.maxinteger))
--# broadcast-where-awaits | error cannot wait inside
broadcast("x", { where = function() sleep(0.01) end })
--# broadcast-where-raises | error on purpose
broadcast("x", { where = function() error("on purpose", 0) end })
--# broadcast-where-broadcasts | ok or error
broadcast("x", { where = function() broadcast("y") return false end })
return "done"
--# broadcast-where-closes | closed 4000
broadcast("x", { where = function(c) c:close(4000) return true end })
return "done"
--# broadcast-flood | ok or killed
for i = 1, 20000 do broadcast("flood") end
return "done"
--# broadcast-except-flood | ok or killed or memory or error
local t = {}
for i = 1, 200000 do t[i] = "user" .. i end
broadcast("x", { except = t })
return "done"
--# log-fields-cycle | error
local t = {}
t.t = t
log.info("x", t)
--# log-with-control-characters | ok
log.info("\27[2J\r\n\0{\"level\":\"error\"}")
--# require-flood | error
for i = 1, 100000 do require("m" .. i) end
--# use-after-close | closed 4000
client:close(4000)
return select(2, client:send("x"))

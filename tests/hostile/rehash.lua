--# colliding-integers-13 | ok or killed
local n = 13
local t = {}
local step = (1 << (n + 1)) - 1
for i = 1, 1 << n do t[i * step] = true end
t[-1] = true
return "done"
--# colliding-integers-16 | killed or memory
local n = 16
local t = {}
local step = (1 << (n + 1)) - 1
for i = 1, 1 << n do t[i * step] = true end
t[-1] = true
t[-2] = true
return "done"
--# colliding-integers-17 | killed or memory
local n = 17
local t = {}
local step = (1 << (n + 1)) - 1
for i = 1, 1 << n do t[i * step] = true end
t[-1] = true
return "done"
--# colliding-integers-swallowed | killed or memory
while true do
  pcall(function()
    local n = 15
    local t = {}
    local step = (1 << (n + 1)) - 1
    for i = 1, 1 << n do t[i * step] = true end
    t[-1] = true
  end)
end
--# colliding-floats | killed or ok or memory
local t = {}
for i = 1, 30000 do t[i * 2.0 ^ 60 + 0.0] = i end
for i = 1, 30000 do t[i + 0.5] = i end
return "done"
--# growth | memory or killed
local t = {}
for i = 1, 1e9 do t[i] = i end
--# growth-in-the-hash | memory or killed
local t = {}
for i = 1, 1e9 do t["k" .. i] = i end
--# growth-backwards | memory or killed
local t = {}
for i = 1e9 // 1, 1, -1 do t[i] = i end
--# grow-and-shrink | killed
while true do
  local t = {}
  for i = 1, 10000 do t[i] = i end
  for i = 1, 10000 do t[i] = nil end
  t.x = 1
end
--# next-on-emptied-table | killed or memory
local t = {}
for i = 1, 100000 do t["k" .. i] = i end
for i = 1, 100000 do t["k" .. i] = nil end
while true do next(t) end
--# length-of-holes | ok or killed
local t = {}
for i = 0, 40 do t[1 << i] = true end
local n = 0
for _ = 1, 10000 do n = n + #t * 0 end
return n
--# insert-at-the-front | killed
local t = {}
for i = 1, 1000000 do table.insert(t, 1, i) end
--# table-constructor-big | ok 5000
local s = "return {" .. ("1,"):rep(5000) .. "}"
return #load(s)()
--# change-while-traversing | ok or error
local t = {}
for i = 1, 100 do t[i] = i end
for k in pairs(t) do t[k] = nil end
return next(t)
--# add-while-traversing | ok or error or killed
local t = { 1, 2, 3 }
for k in pairs(t) do t[k .. "x"] = true end
return "done"
--# next-with-unknown-key | error invalid key to 'next'
return next({ 1, 2 }, "nothing")
--# nan-key | error index is NaN
local t = {}
t[0 / 0] = 1
--# nil-key | error index is nil
local t = {}
t[nil] = 1
--# negative-zero-key | ok 1
local t = {}
t[0] = 1
return t[-0.0]
--# rawset-flood | killed or memory
local t = {}
local i = 0
while true do i = i + 1 rawset(t, i * 1.5, i) end

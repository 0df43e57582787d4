--# rep-nothing | ok 0
return #(""):rep(1 << 60)
--# rep-nothing-with-nothing-between | ok 0
return #(""):rep(1 << 62, "")
--# rep-to-the-cap | memory
return #("x"):rep(1 << 28)
--# rep-beyond-any-size | error resulting string too large
return #("xxxxxxxx"):rep(1 << 62)
--# rep-separator-beyond-any-size | error resulting string too large
return #("x"):rep(1 << 62, "yyyyyyyy")
--# move-endless | error too long
table.move({}, 1, 1e15, 2)
--# move-all-integers | error too
table.move({}, math.mininteger, math.maxinteger, 2)
--# move-within-reach | killed
local t = setmetatable({}, { __index = function() return 1 end, __newindex = function() end })
for i = 1, 1000 do table.move(t, 1, 1000000, 2) end
--# insert-with-fake-length | error too long
table.insert(setmetatable({}, { __len = function() return 1 << 50 end }), 1, 1)
--# remove-with-fake-length | error too long
table.remove(setmetatable({}, { __len = function() return 1 << 50 end }), 1)
--# insert-with-a-length-that-lies-the-second-time | killed or error or ok
local n = 0
table.insert(setmetatable({}, { __len = function() n = n + 1 return n == 1 and 1 or 1 << 40 end }), 1, 1)
--# remove-with-a-length-that-lies-the-second-time | killed or error or ok
local n = 0
table.remove(setmetatable({}, { __len = function() n = n + 1 return n == 1 and 1 or 1 << 40 end }), 1)
--# insert-with-negative-length | ok or error position out of bounds
table.insert(setmetatable({}, { __len = function() return math.mininteger end }), 5, 1)
--# insert-with-a-length-of-text | error object length is not an integer
table.insert(setmetatable({}, { __len = function() return "x" end }), 1)
--# insert-with-huge-border | ok or error too long
local t = {}
for i = 0, 61 do t[1 << i] = true end
t[3] = true
table.insert(t, 1, 1)
--# concat-with-fake-length | error too long
return table.concat(setmetatable({}, { __len = function() return 1 << 50 end }))
--# concat-of-made-up-items | killed or memory
return #table.concat(setmetatable({}, { __len = function() return 1000000 end,
  __index = function(_, i) return ("x"):rep(i % 100) end }))
--# concat-all-integers | error too long
return table.concat({}, "", math.mininteger, math.maxinteger)
--# concat-endless-index | killed soft
return table.concat(setmetatable({}, { __len = function() return 9 end,
  __index = function() while true do end end }))
--# unpack-too-many | error too many results
return table.unpack({}, 1, 1e7)
--# unpack-all-integers | error too many results
return table.unpack({}, math.mininteger, math.maxinteger)
--# unpack-fake-length | error too many results
return table.unpack(setmetatable({}, { __len = function() return 1 << 50 end }))
--# unpack-many-times | killed or memory or ok
for i = 1, 1000 do table.unpack({}, 1, 200000) end
--# sort-fake-length | error too
table.sort(setmetatable({}, { __len = function() return 1 << 50 end }), function() return false end)
--# sort-fake-length-of-two-billion | error too
table.sort(setmetatable({}, { __len = function() return 2147483646 end, __index = function() return 1 end,
  __newindex = function() end }))
--# sort-a-million | killed or memory
local t = {}
for i = 1, 300000 do t[i] = (i * 7919) % 1000003 end
for _ = 1, 100 do table.sort(t, function(a, b) return a < b end) table.sort(t, function(a, b) return a > b end) end
--# sort-million-in-c | killed or memory
local t = {}
for i = 1, 200000 do t[i] = (i * 7919) % 1000003 end
for r = 1, 1000 do for i = 1, #t, 2 do t[i], t[#t - i + 1] = t[#t - i + 1], t[i] end table.sort(t) end
--# sort-comparator-always-true | error invalid order function or killed or ok
local t = {}
for i = 1, 1000 do t[i] = i end
table.sort(t, function() return true end)
--# sort-comparator-random | error or ok or killed
local t = {}
for i = 1, 10000 do t[i] = i end
table.sort(t, function() return math.random(2) == 1 end)
--# sort-comparator-endless | killed soft
table.sort({ 2, 1 }, function() while true do end end)
--# sort-with-lt-endless | killed soft
local mt = { __lt = function() while true do end end }
table.sort { setmetatable({}, mt), setmetatable({}, mt) }
--# sort-grows-what-it-sorts | error or ok or killed
local t = { 3, 2, 1, 5, 4 }
table.sort(t, function(a, b) t[#t + 1] = 1 return (a or 0) < (b or 0) end)
--# sort-empties-what-it-sorts | error
local t = {}
for i = 1, 100 do t[i] = 100 - i end
table.sort(t, function(a, b) for i = 1, 100 do t[i] = nil end return a < b end)
--# sort-index-metamethod | killed
table.sort(setmetatable({}, { __len = function() return 1000000 end, __index = function(_, i) return i end,
  __newindex = function() end }))
--# gsub-callback-endless | killed soft
return ("x"):gsub(".", function() while true do end end)
--# gsub-callback-pcall-swallows | killed
return ("x"):rep(1000000):gsub(".", function() pcall(function() while true do end end) end)
--# gsub-into-the-cap | memory
return #("x"):rep(100000):gsub("x", ("y"):rep(100000))
--# gsub-table-index-endless | killed soft
return ("x"):gsub(".", setmetatable({}, { __index = function() while true do end end }))
--# gsub-bad-replacement | error invalid replacement value
return ("x"):gsub(".", function() return {} end)
--# gsub-bad-escape | error invalid use of '%' in replacement
return ("x"):gsub(".", "%z")
--# gsub-pcall-in-c | killed or ok
return #("x"):rep(4000000):gsub(".", pcall)
--# gsub-type-in-c | killed or memory
for _ = 1, 1000 do ("x"):rep(1000000):gsub(".", type) end
--# byte-too-many | error string slice too long
return select("#", ("x"):rep(3000000):byte(1, -1))
--# char-of-too-much | error value out of range
return string.char(256)
--# format-width | error invalid
return ("%1000d"):format(1)
--# format-precision | error invalid
return ("%.1000f"):format(1)
--# format-all-flags | error invalid
return ("%-+ #0-+ #05d"):format(1)
--# format-to-the-cap | memory or killed
local s = ("x"):rep(1000000)
return #(("%s"):rep(200)):format(table.unpack(setmetatable({}, { __len = function() return 200 end,
  __index = function() return s end })))
--# format-huge-numbers | ok 360
return #("%.50f"):format(1e308)
--# format-missing-arguments | error bad argument #2 to 'format'
return ("%d %d"):format(1)
--# format-endless-tostring | killed soft
return ("%s"):format(setmetatable({}, { __tostring = function() while true do end end }))
--# format-tostring-gives-table | error must return a string
return ("%s"):format(setmetatable({}, { __tostring = function() return {} end }))
--# pack-huge | error
return string.pack("s16", ("x"):rep(100)), string.pack("i17", 1)
--# pack-format-endless | killed or error or ok
return #string.pack(("i1"):rep(1000), table.unpack({}, 1, 1000))
--# pack-padding-to-the-cap | memory
return string.pack("c2000000000", "x")
--# packsize-overflow | error
return string.packsize(("c2147483647"):rep(10))
--# unpack-beyond-the-end | error data string too short
return string.unpack("i8", "abc")
--# unpack-position-out-of-range | error out of string
return string.unpack("i1", "abc", 100)
--# unpack-huge-length-prefix | error data string too short
return string.unpack("s8", ("\xff"):rep(8))
--# utf8-char-of-nonsense | error value out of range
return utf8.char(1 << 40)
--# utf8-codes-of-garbage | error invalid UTF-8 code
for _ in utf8.codes("\xff\xfe") do end
--# utf8-len-of-garbage | ok nil
return utf8.len("\xff")
--# utf8-codepoint-too-many | error or killed or memory
return utf8.codepoint(("x"):rep(3000000), 1, -1)
--# utf8-offset-out-of-bounds | error position out of bounds
return utf8.offset("abc", 1, 100)
--# tonumber-long-text | ok
return tonumber(("9"):rep(1000000))
--# tonumber-base | error base out of range
return tonumber("10", 99)
--# tonumber-many-digits-base | ok
return tonumber(("z"):rep(1000000), 36)
--# math-random-empty | error interval is empty
return math.random(0, -1)
--# math-fmod-zero | error zero
return math.fmod(1, 0)
--# integer-division-by-zero | error attempt to
return 1 // 0
--# modulo-zero | error attempt to perform
return 1 % 0
--# mininteger-by-minus-one | ok true
return math.mininteger // -1 == math.mininteger and math.mininteger % -1 == 0
--# for-step-zero | error 'for' step is zero
for i = 1, 10, 0 do end
--# select-negative | error index out of range
return select(-5, 1)
--# select-deep | ok 100
return (select(100, table.unpack((function() local t = {} for i = 1, 200 do t[i] = i end return t end)())))
--# string-compare-of-nuls | killed or memory or ok
local a, b = ("\0"):rep(2000000) .. "a", ("\0"):rep(2000000) .. "b"
for _ = 1, 1000 do local _ = a < b end
--# string-hash-flood | ok 20000
local t = {}
for i = 1, 20000 do t[("x"):rep(50) .. i] = i end
local n = 0
for _ in pairs(t) do n = n + 1 end
return n
--# upper-lower-reverse-forever | killed
local s = ("aB"):rep(500000)
while true do s = s:upper():lower():reverse() end
--# find-plain-quadratic | killed
local s = ("a"):rep(1000000)
return s:find(("a"):rep(500000) .. "b", 1, true)
--# date-of-the-end-of-time | error out
return os.date("%c", math.maxinteger)
--# date-format-unknown | error invalid conversion specifier
return os.date("%Q")
--# date-format-long | ok 2000000
return #os.date(("%Y-"):rep(400000)):sub(1, 2000000)
--# time-of-nonsense | error
return os.time { year = math.maxinteger, month = 1, day = 1 }
--# time-of-endless-fields | killed soft
return os.time(setmetatable({}, { __index = function() while true do end end }))

--# nested-parentheses | error C stack overflow
return assert(load("return " .. ("("):rep(100000) .. "1" .. (")"):rep(100000)))
--# nested-tables | error C stack overflow
return assert(load("return " .. ("{"):rep(100000) .. ("}"):rep(100000)))
--# nested-functions | error C stack overflow
return assert(load(("function f() "):rep(10000) .. ("end "):rep(10000)))
--# nested-blocks | error C stack overflow
return assert(load(("do "):rep(100000) .. ("end "):rep(100000)))
--# nested-ifs | error C stack overflow
return assert(load(("if x then "):rep(10000) .. ("end "):rep(10000)))
--# nested-unary | error C stack overflow
return assert(load("return " .. ("- "):rep(100001) .. "1"))
--# nested-not | error C stack overflow
return assert(load("return " .. ("not "):rep(100000) .. "1"))
--# right-associative | error C stack overflow
return assert(load("return " .. ("a .. "):rep(100000) .. "a"))
--# power-chain | error C stack overflow
return assert(load("return " .. ("2 ^ "):rep(100000) .. "2"))
--# left-associative-is-fine | ok function
return type(load("return " .. ("1 + "):rep(100000) .. "1"))
--# nested-calls | error C stack overflow
return assert(load("return " .. ("f("):rep(100000) .. (")"):rep(100000)))
--# call-chain | ok or error
return type(load("return f" .. ("()"):rep(100000)))
--# index-chain | ok or error
return type(load("return a" .. (".b"):rep(100000)))
--# many-locals | error too many local variables
return assert(load(("local a "):rep(300)))
--# many-upvalues | error too many upvalues
local names = {}
for i = 1, 180 do names[i] = "a" .. i end
local s = "local " .. table.concat(names, ",") .. " local function g() "
for i = 1, 180 do names[i] = "b" .. i end
s = s .. "local " .. table.concat(names, ",") .. " return function() return "
for i = 1, 180 do s = s .. "a" .. i .. "+b" .. i .. "+" end
return assert(load(s .. "1 end end"))
--# many-constants | ok or error or killed
local t = {}
for i = 1, 60000 do t[i] = i .. ".5" end
return type(load("return {" .. table.concat(t, ",") .. "}"))
--# many-constants-work | ok 1000.5
local t = {}
for i = 1, 1000 do t[i] = "x = " .. i .. ".5" end
return load("local x " .. table.concat(t, " ") .. " return x")()
--# many-string-constants-compare | ok 600
local t = {}
for i = 1, 600 do t[i] = ("if s == 'k%d' then n = n + 1 end"):format(i) end
local f = load("local s, n = ... " .. table.concat(t, " ") .. " return n")
local n = 0
for i = 1, 600 do n = f("k" .. i, n) end
return n
--# many-string-constants-index | ok 600
local t = {}
for i = 1, 600 do t[i] = ("t.k%d = %d t.sum = t.sum + t.k%d // %d"):format(i, i, i, i) end
local r = { sum = 0 }
load("local t = ... " .. table.concat(t, " "))(r)
return r.sum
--# constants-in-bit-operations | ok 15
return (0xff & 0x0f) | (2 ~ 2) | load("local a = 15.0 return a & 15")()
--# many-labels | ok or error or killed
local t = {}
for i = 1, 10000 do t[i] = "::l" .. i .. "::" end
return type(load(table.concat(t, " ")))
--# many-gotos | ok or error or killed
local t = {}
for i = 1, 8000 do t[i] = "goto l" .. i end
for i = 1, 8000 do t[#t + 1] = "::l" .. i .. "::" end
return type(load("do " .. table.concat(t, " ") .. " end"))
--# goto-into-a-block | error
return assert(load("goto x do ::x:: end"))
--# goto-over-a-local | error jumps into the scope
return assert(load("goto x local a ::x:: print(a)"))
--# break-outside | error break outside
return assert(load("break"))
--# duplicate-label | error label 'x' already defined
return assert(load("::x:: ::x::"))
--# const-assignment | error attempt to assign to const variable
return assert(load("local x <const> = 1 x = 2"))
--# unknown-attribute | error unknown attribute
return assert(load("local x <nope> = 1"))
--# two-close-variables | error multiple to-be-closed variables
return assert(load("local a <close>, b <close> = nil, nil"))
--# const-env | error or ok
local f, err = load("local _ENV <const> = {} function f() return x end")
return f and "compiled" or error(err, 0)
--# env-upvalue-games | ok nil
local _ENV = setmetatable({}, { __index = _ENV })
x = nil
return x
--# big-source | error too long
return assert(load(("x = 1 "):rep(200000)))
--# big-source-in-pieces | error too long
return assert(load(function() return ("x = 1 "):rep(1000) end))
--# endless-reader | killed or error
return assert(load(function() return " " end))
--# reader-endless-loop | killed soft
return load(function() while true do end end)
--# reader-that-raises | error on purpose
return assert(load(function() error("on purpose", 0) end))
--# reader-that-yields | error
return assert(load(function() coroutine.yield() end))
--# reader-in-a-coroutine-that-yields | ok nil
local co = coroutine.wrap(function() return (load(function() coroutine.yield() return nil end)) end)
return (co())
--# reader-loads-again | error or memory or killed
local function reader() return assert(load(reader)) and nil end
return assert(load(reader))
--# long-string | ok 500000
return #load("return [[" .. ("x"):rep(500000) .. "]]")()
--# long-bracket-levels | ok 3
return #load("return [" .. ("="):rep(100000) .. "[abc]" .. ("="):rep(100000) .. "]")()
--# unfinished-long-string | error unfinished long string
return assert(load("return [[" .. ("x"):rep(100000)))
--# unfinished-string | error unfinished string
return assert(load("return 'abc"))
--# huge-escape | error UTF-8 value too large
return assert(load("return '\\u{FFFFFFFFF}'"))
--# decimal-escape | error decimal escape too large
return assert(load("return '\\999'"))
--# huge-number | ok inf
return tostring(load("return 1e999999")())
--# long-number | ok or error
return type(load("return " .. ("1"):rep(100000)))
--# malformed-number | error malformed number
return assert(load("return 0x1g"))
--# hex-float | ok 2.5
return load("return 0x2.8p0")()
--# nul-in-source | error
return assert(load("return 1 \0 return 2"))
--# control-characters-in-error | error unexpected symbol
return assert(load("\1[2J\7"))
--# bytecode | error attempt to load a binary chunk
return assert(load("\27Lua\x54\0\x19\x93\r\n\x1a\n" .. ("\0"):rep(100)))
--# bytecode-in-pieces | error attempt to load a binary chunk
local pieces = { "\27", "Lua", ("\0"):rep(100) }
local i = 0
return assert(load(function() i = i + 1 return pieces[i] end))
--# bytecode-mode | error binary chunks are not available
return assert(load("\27Lua", "x", "b"))
--# dump | error string.dump is not available to apps
return string.dump(function() end)
--# chunk-name-huge | error
return assert(load("error('x')", ("n"):rep(1000000)))()
--# load-in-a-loop | killed
while true do load("return 1") end
--# load-with-strange-env | ok 7
return load("return x", "n", "t", setmetatable({}, { __index = function() return 7 end }))()
--# load-with-no-table-env | error attempt to index
return load("return x", "n", "t", 5)()
--# load-not-a-function | error bad argument
return load({})
--# comment-of-a-megabyte | ok function
return type(load("--[[" .. ("x"):rep(1000000) .. "]]"))
--# shebang | error unexpected symbol
return assert(load("#!/bin/sh\nreturn 1"))
--# attribs-with-goto-continue | ok 3
local n = 0
for i = 1, 3 do
  local x <close> = setmetatable({}, { __close = function() n = n + 1 end })
  goto continue
  ::continue::
end
return n

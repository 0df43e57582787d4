--# optional-chain | killed
local n = 28
return (("a"):rep(n)):find(("a?"):rep(n) .. ("a"):rep(n))
--# optional-chain-long | killed
local n = 100
return (("a"):rep(n)):find(("a?"):rep(n) .. ("a"):rep(n) .. "b")
--# lazy-dots | killed
return ("x"):rep(3000):find(".-.-.-.-b")
--# greedy-dots | killed
return ("x"):rep(3000):find(".*.*.*.*b")
--# stars | killed
return ("a"):rep(3000):find("a*a*a*a*b")
--# gsub-lazy | killed
return ("x"):rep(200000):gsub(".-b", "")
--# back-references | killed
return ("x"):rep(3000):find("(.-)(.-)%1%2b")
--# trim | killed
local s = (" "):rep(150000) .. "x"
return s:gsub("%s+$", "")
--# balance | killed
return ("("):rep(300000):find("%b()")
--# frontier | ok
return ("x"):rep(100000):find("%f[y]")
--# gmatch-quadratic | killed
for _ in ("x"):rep(100000):gmatch(".-y") do end
--# gmatch-forever-empty | ok 1001
local n = 0
for _ in ("x"):rep(1000):gmatch("y*") do n = n + 1 end
return n
--# gsub-empty-matches | ok 100001
return select(2, ("x"):rep(100000):gsub("y*", "-"))
--# long-set | killed or ok
local set = "[" .. ("a-zA-Z0-9"):rep(5000) .. "]"
return ("!"):rep(100000):find(set .. "!" .. set)
--# negated-long-set | killed or ok
local set = "[^" .. ("a"):rep(50000) .. "]"
return ("a"):rep(100000):find(set)
--# pattern-too-complex | error pattern too complex
return ("x"):rep(300000):match((".-"):rep(300) .. "b")
--# nested-captures | error too many captures
return ("x"):rep(100):match(("(."):rep(33) .. (")"):rep(33))
--# unfinished-capture | error unfinished capture
return ("x"):match("(x")
--# invalid-capture | error invalid
return ("x"):match("%1")
--# malformed-set | error malformed pattern
return ("x"):match("[a")
--# malformed-end | error malformed pattern
return ("x"):match("%")
--# malformed-balance | error missing arguments to '%b'
return ("x"):match("%b(")
--# malformed-frontier | error missing '[' after '%f' in pattern
return ("x"):match("%fx")
--# pattern-with-nuls | ok 3
return (("a\0b\0"):find("\0b"))  + 1
--# position-captures-flood | error too many captures
return ("x"):match(("()"):rep(40))
--# find-init-beyond | ok nil
return ("x"):find("x", 1 << 62)
--# find-init-minus | ok 1
return (("x"):find("x", math.mininteger))
--# anchored-loop | ok 0
return select(2, ("x"):rep(1000):gsub("^y", ""))
--# quantifier-of-class-flood | killed
return ("1"):rep(5000):find("%d*%d*%d*%d*x")
--# match-in-a-loop | killed soft
while true do ("key=value"):match("^(%w+)=(%w+)$") end
--# split-big-text | killed or ok
local s = ("a,b,"):rep(500000)
local n = 0
for _ in s:gmatch("[^,]*") do n = n + 1 end
return n
--# exponential-alternation-by-captures | killed or ok
return ("ab"):rep(2000):find("(a-b-)(a-b-)(a-b-)%3%2%1!")
--# frontier-and-balance | killed or ok
return ("("):rep(30000):gsub("%f[%(]%b()", "")
--# percent-storm | ok 0
return select(2, ("%"):rep(10000):gsub("%%%%%%x", ""))

local spec = require "spec"
local play = require "play"
local it, expect, describe = spec.it, spec.expect, spec.describe

describe("json", function()
  it("goes both ways", function()
    expect(json.encode { a = 1 }).is('{"a":1}')
    expect(json.encode(json.array {})).is("[]")
    expect(json.encode {}).is("{}")
    expect(json.encode { json.null }).is("[null]")
    expect(json.decode('{"a":[1,2.5,"x",null,true]}')).equals {
      a = { 1, 2.5, "x", json.null, true },
    }
    local t = { 1 }
    expect(json.array(t)).is(t)
  end)

  it("says what is wrong", function()
    local v, why = json.decode("{\n  oops")
    expect(v).is(nil)
    expect(why).matches("^2:3: ")
    expect(function() json.encode(print) end).fails_with("function")
    expect(function() json.encode { 0 / 0 } end).fails_with("")
  end)
end)

describe("limit", function()
  it("gives burst tokens at once and then the rate", function()
    local l = limit.new { rate = 100, burst = 3 }
    expect(l:take("k")).is(true)
    expect(l:take("k")).is(true)
    expect(l:take("k")).is(true)
    local ok, wait = l:take("k")
    expect(ok).is(nil)
    expect(wait > 0 and wait <= 0.01 + 1e-6).is(true)
    expect(l:take("other")).is(true)
    sleep(wait + 0.001)
    expect(l:take("k")).is(true)
    expect(getmetatable(l)).is(false)
  end)

  it("takes several, and refusing costs nothing", function()
    local l = limit.new { rate = 1, burst = 10 }
    expect(l:take("k", 10)).is(true)
    for _ = 1, 100 do
      expect((l:take("k", 5))).is(nil)
    end
    local _, wait = l:take("k", 1)
    expect(wait > 0.9 and wait <= 1.0001).is(true)
    expect(l:take("f", 0.5)).is(true)
  end)

  it("has the rate as its burst, and one token at least", function()
    local l = limit.new { rate = 2 }
    expect(l:take(1)).is(true)
    expect(l:take(1)).is(true)
    expect((l:take(1))).is(nil)
    l = limit.new { rate = 0.1 }
    expect(l:take(1)).is(true)
    expect((l:take(1))).is(nil)
  end)

  it("takes any key", function()
    local l = limit.new { rate = 1, burst = 1 }
    local t = {}
    for _, key in ipairs { "s", 1, 1.5, true, false, t, print } do
      expect(l:take(key)).is(true)
      expect((l:take(key))).is(nil)
    end
    expect((l:take(1.0))).is(nil) -- the same key as 1
    expect(function() l:take(nil) end).fails_with("bad argument 'key'")
    expect(function() l:take() end).fails_with("got nothing")
    expect(function() l:take(0 / 0) end).fails_with("a number other than NaN")
  end)

  it("remembers who is out of tokens for as long as it takes", function()
    -- Its tables change every second.
    local l = limit.new { rate = 1, burst = 1 }
    sleep(0.7)
    expect(l:take("k")).is(true)
    sleep(0.5)
    expect(l:take("another")).is(true)
    local ok, wait = l:take("k")
    expect(ok).is(nil)
    expect(wait > 0.1 and wait < 0.51).is(true)
    sleep(wait + 0.001)
    expect(l:take("k")).is(true)
  end)

  it("forgets who has been away", function()
    local l = limit.new { rate = 1000, burst = 1 } -- tables of a second
    collectgarbage()
    local before = collectgarbage("count")
    for i = 1, 20000 do l:take("key number " .. i) end
    sleep(1.05)
    l:take("x")
    sleep(1.05)
    l:take("x")
    collectgarbage()
    expect(collectgarbage("count") - before < 200).is(true)
  end)

  it("names the argument that is wrong", function()
    expect(function() limit.new() end).fails_with("bad argument 'options' (table expected, got nothing)")
    expect(function() limit.new {} end).fails_with("limit.new: 'rate' must be a number above 0")
    expect(function() limit.new { rate = 0 } end).fails_with("'rate' must be")
    expect(function() limit.new { rate = "5" } end).fails_with("'rate' must be")
    expect(function() limit.new { rate = 0 / 0 } end).fails_with("'rate' must be")
    expect(function() limit.new { rate = 1, burst = 0.5 } end).fails_with("'burst' must be at least 1")
    expect(function() limit.new { rate = 1, burst = -1 } end).fails_with("'burst' must be")
    expect(function() limit.new { rte = 1 } end).fails_with("unknown option 'rte'; did you mean 'rate'?")
    local l = limit.new { rate = 1, burst = 2 }
    for _, n in ipairs { 0, -1, 3, 0 / 0, "x", {} } do
      expect(function() l:take("k", n) end).fails_with("bad argument 'n'")
    end
    expect(function() l.take("k") end).fails_with("bad argument 'limit' (limit expected, got string")
  end)
end)

describe("log", function()
  it("writes lines with fields", function()
    log.debug("a debug line")
    log.info("an info line", { n = 1, s = "x\ny" })
    log.warn("a warning", {})
    log.error("an error line", nil)
    log.info("no\nnew\27lines\0here")
    print("one", 2, nil, true, { 1 } ~= nil)
    print()
    expect(select("#", log.info("x"))).is(0)
  end)

  it("names the argument that is wrong", function()
    for _, f in ipairs { log.debug, log.info, log.warn, log.error } do
      expect(function() f() end).fails_with("bad argument 'text' (string expected, got nothing)")
      expect(function() f(5) end).fails_with("bad argument 'text'")
      expect(function() f("x", "y") end).fails_with("bad argument 'fields' (table expected, got string)")
    end
    expect(function() log.error("x", { f = print }) end).fails_with("bad argument 'fields'")
  end)
end)

describe("crypto", function()
  it("hashes", function()
    expect(crypto.sha256("abc")).is(
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    expect(#crypto.sha256("abc", { raw = true })).is(32)
    expect(crypto.sha256("abc", { raw = false })).is(crypto.sha256("abc"))
    expect(crypto.hmac("sha256", "key", "The quick brown fox jumps over the lazy dog")).is(
      "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8")
    expect(#crypto.hmac("sha1", "k", "s")).is(40)
    expect(#crypto.hmac("sha512", "k", "s", { raw = true })).is(64)
  end)

  it("makes random bytes and ids", function()
    expect(#crypto.random(1)).is(1)
    expect(#crypto.random(65536)).is(65536)
    expect(crypto.random(16) ~= crypto.random(16)).is(true)
    expect(crypto.uuid()).matches(
      "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$")
    expect(crypto.uuid() ~= crypto.uuid()).is(true)
  end)

  it("compares and encodes", function()
    expect(crypto.equals("a", "a")).is(true)
    expect(crypto.equals("a", "b")).is(false)
    expect(crypto.equals("a", "aa")).is(false)
    expect(crypto.equals("", "")).is(true)
    expect(crypto.base64("\0\xff any")).is("AP8gYW55")
    expect(crypto.base64("")).is("")
    expect(crypto.unbase64("AP8gYW55")).is("\0\xff any")
    expect(crypto.unbase64("")).is("")
    for _, bad in ipairs { "A", "AA=A", "AP8gYW5", "AP 8", "====" } do
      local s, word = crypto.unbase64(bad)
      expect(s).is(nil)
      expect(word).is("syntax")
    end
    for n = 0, 100 do
      local s = crypto.random(n + 1):sub(1, n)
      expect(crypto.unbase64(crypto.base64(s))).is(s)
    end
  end)

  it("names the argument that is wrong", function()
    local cases = {
      { crypto.random, {}, "bad argument 'n' (integer expected, got nothing)" },
      { crypto.random, { 0 }, "bad argument 'n' (1 to 65536 bytes expected)" },
      { crypto.random, { 65537 }, "bad argument 'n'" },
      { crypto.random, { "1" }, "bad argument 'n'" },
      { crypto.sha256, {}, "bad argument 's' (string expected, got nothing)" },
      { crypto.sha256, { 5 }, "bad argument 's'" },
      { crypto.sha256, { "x", 5 }, "bad argument 'options'" },
      { crypto.sha256, { "x", { rw = 1 } }, "unknown option 'rw'; did you mean 'raw'?" },
      { crypto.hmac, { "md5", "k", "s" }, "bad argument 'algorithm' (\"sha1\", \"sha256\" or \"sha512\"" },
      { crypto.hmac, { "sha1", 5, "s" }, "bad argument 'key'" },
      { crypto.hmac, { "sha1", "k" }, "bad argument 's'" },
      { crypto.equals, { "a" }, "bad argument 'b'" },
      { crypto.equals, { 1, "a" }, "bad argument 'a'" },
      { crypto.base64, { 5 }, "bad argument 's'" },
      { crypto.unbase64, {}, "bad argument 's'" },
    }
    for _, case in ipairs(cases) do
      expect(function() case[1](table.unpack(case[2])) end).fails_with(case[3])
    end
    play.reset()
  end)
end)

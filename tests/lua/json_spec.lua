-- JSON as a script sees it; the codec's corners are in tests/unit/script.
-- luacheck: read globals json
local spec = ...
local it, expect, describe = spec.it, spec.expect, spec.describe

describe("json.encode", function()
  it("writes scalars", function()
    expect(json.encode(nil)).is("null")
    expect(json.encode(json.null)).is("null")
    expect(json.encode(true)).is("true")
    expect(json.encode(false)).is("false")
    expect(json.encode(12)).is("12")
    expect(json.encode(1.5)).is("1.5")
    expect(json.encode("a\"b\\\n\1")).is([["a\"b\\\n\u0001"]])
    expect(json.encode("é€😀")).is('"é€😀"')
  end)

  it("writes tables as arrays or objects", function()
    expect(json.encode({ 1, 2, 3 })).is("[1,2,3]")
    expect(json.encode({ a = 1 })).is('{"a":1}')
    expect(json.encode({})).is("{}")
    expect(json.encode(json.array {})).is("[]")
    expect(json.encode(json.array())).is("[]")
    expect(json.encode({ { {} }, json.array { {} } })).is("[[{}],[{}]]")
    expect(json.encode({ [3] = "x" })).is('{"3":"x"}')
    expect(json.encode({ [1.5] = "x" })).is('{"1.5":"x"}')
    expect(json.encode({ a = json.null })).is('{"a":null}')
  end)

  it("says where it cannot go on", function()
    expect(function() json.encode(print) end).fails_with("cannot encode a function")
    expect(function() json.encode { a = { 1, 2, print } } end).fails_with(
      "cannot encode a function at .a[3]")
    expect(function() json.encode { ["odd key"] = 0 / 0 } end).fails_with(
      'cannot encode NaN at ["odd key"]')
    expect(function() json.encode { { x = math.huge } } end).fails_with("an infinity at [1].x")
    expect(function() json.encode { a = "\xff" } end).fails_with("a string is not UTF-8 at .a")
    expect(function() json.encode { [true] = 1 } end).fails_with(
      "a table whose keys are not strings or numbers")
    expect(function() json.encode { a = { 1, b = 2 } } end).fails_with(
      "a table with string and number keys at .a")
    local t = { list = {} }
    t.list[1] = t
    expect(function() json.encode(t) end).fails_with("a table inside itself at .list[1]")
    expect(function() json.encode() end).fails_with("bad argument #1")
  end)

  it("ignores metamethods", function()
    local t = setmetatable({ 1 }, {
      __index = function() error("no") end,
      __len = function() return 5 end,
      __pairs = function() error("no") end,
      __tostring = function() error("no") end,
    })
    expect(json.encode(t)).is("[1]")
  end)

  it("does not change the table's keys", function()
    local t = { [10] = 1, [20] = 2 }
    json.encode(t)
    expect(t[10]).is(1)
    expect(t["10"]).is(nil)
  end)
end)

describe("json.decode", function()
  it("reads what it should", function()
    expect(json.decode("null")).is(json.null)
    expect(json.decode(" true ")).is(true)
    expect(json.decode("false")).is(false)
    expect(json.decode("12")).is(12)
    expect(json.decode("12.0")).is(12.0)
    expect(json.decode("1e2")).is(100.0)
    expect(json.decode('"a\\u00e9\\ud83d\\ude00\\n"')).is("aé😀\n")
    expect(json.decode('{"a":[1,{"b":null}]}')).equals { a = { 1, { b = json.null } } }
    expect(json.decode('{"a":1,"a":2}').a).is(2)
  end)

  it("returns nil and a reason for what it should not", function()
    local v, err = json.decode('{\n  "a": 1 "b"}')
    expect(v).is(nil)
    expect(err).is("2:10: expected ',' or '}'")
    expect(select(2, json.decode(""))).is("1:1: expected a value, but the text ends")
    expect(select(2, json.decode("[1,]"))).is("1:4: expected a value")
    expect(select(2, json.decode("[1] x"))).is("1:5: expected the end of the text")
  end)

  it("takes strings only", function()
    expect(function() json.decode(12) end).fails_with("string expected, got number")
    expect(function() json.decode() end).fails_with("string expected")
  end)

  it("keeps arrays arrays", function()
    expect(json.encode(json.decode("[]"))).is("[]")
    expect(json.encode(json.decode("[[],{}]"))).is("[[],{}]")
  end)

  it("returns arrays that a script can use as its own", function()
    local t = json.decode("[3,1,2]")
    table.sort(t)
    expect(#t).is(3)
    t[4] = 4
    expect(json.encode(t)).is("[1,2,3,4]")
    local mt = { __index = { hello = "x" } }
    expect(setmetatable(t, mt).hello).is("x")
  end)

  it("says when an array is none any more", function()
    local t = json.decode("[1,2,3]")
    t[2] = nil
    expect(function() json.encode { x = t } end).fails_with(
      "an array with holes or other keys at .x")
    t = json.decode("[]")
    t.name = "x"
    expect(function() json.encode(t) end).fails_with("an array with holes or other keys")
  end)
end)

describe("json.array", function()
  it("marks a table and returns it", function()
    local t = {}
    expect(json.array(t)).is(t)
    expect(json.array(t)).is(t)
    expect(getmetatable(t)).is(false)
    expect(function() json.array(setmetatable({}, {})) end).fails_with("has a metatable")
    expect(function() json.array(5) end).fails_with("table expected")
  end)
end)

describe("json.null", function()
  it("is one value, and says what it is", function()
    expect(tostring(json.null)).is("null")
    expect(("%s"):format(json.null)).is("null")
    expect(getmetatable(json.null)).is(false)
    assert(json.null)
  end)
end)

describe("numbers", function()
  it("survive a round trip with their type", function()
    for _, n in ipairs { 0, 1, -1, math.maxinteger, math.mininteger, 0.0, 0.1, -0.5, 1e300, 5e-324,
      3.14159265358979, 1 / 3, 123456789.123, 2.0 ^ 53, 1e15, 1e21, 0.1 + 0.2 } do
      expect(json.decode(json.encode(n))).is(n)
    end
    expect(json.encode(-0.0)).is("-0.0")
    expect(json.encode(0.1)).is("0.1")
    expect(json.encode(3.0)).is("3.0")
    expect(json.decode("9223372036854775807")).is(math.maxinteger)
    expect(json.decode("9223372036854775808")).is(9223372036854775808.0)
    expect(json.decode("-9223372036854775808")).is(math.mininteger)
    expect(select(2, json.decode("1e999"))).is("1:1: number is out of range")
  end)
end)

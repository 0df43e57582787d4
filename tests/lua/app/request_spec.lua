local spec, play = require "spec", require "play"
local it, expect, describe = spec.it, spec.expect, spec.describe

-- What on_connect is asked with.
local function request_of(target, headers)
  local request
  play.on_connect = function(r)
    request = r
    return nil, 404, "seen"
  end
  local status, _, body = play.ask(target, headers):answer()
  expect(status).is(404)
  expect(body).contains("seen")
  return request
end

describe("request", function()
  it("has the head of the request", function()
    local r = request_of("/a%20path/x?q=1", "Origin: http://test\r\nX-Two: a\r\nx-two: b\r\n")
    expect(r.method).is("GET")
    expect(r.path).is("/a path/x")
    expect(r.host).is("test")
    expect(r.origin).is("http://test")
    expect(r.ip).is("")
    expect(r.headers["x-two"]).is("a, b")
    expect(r.headers.upgrade).is("websocket")
    expect(r.headers["X-Two"]).is(nil)
    expect(r.headers).is(r.headers)
    expect(r.nothing).is(nil)
    expect(r[1]).is(nil)
    expect(getmetatable(r)).is(false)
    expect(function() r.path = "/x" end).fails_with("")
    expect(request_of("/").origin).is(nil)
  end)

  it("decodes the query; the last of a name wins", function()
    local r = request_of("/?name=J%C3%B6rg+B&empty=&flag&a=1&a=2&%6Bey=v%26w&bad=%zz%4&=x&&end=1=2")
    expect(r.query).equals {
      name = "J\u{f6}rg B", empty = "", flag = "", a = "2", key = "v&w", bad = "%zz%4",
      [""] = "x", ["end"] = "1=2",
    }
    expect(request_of("/").query).equals({})
    expect(request_of("/?").query).equals({})
    expect(request_of("/?%00=%00").query["\0"]).is("\0")
  end)

  it("takes cookies apart; the first of a name wins", function()
    local r = request_of("/", "Cookie: a=1; b=x=y;c=;  d=\"q\"; a=2; novalue; =z\r\n")
    expect(r.cookies).equals { a = "1", b = "x=y", c = "", d = "\"q\"" }
    expect(request_of("/").cookies).equals({})
  end)

  it("lists the protocols that are offered", function()
    local r = request_of("/", "Sec-WebSocket-Protocol: a, b ,c\r\nSec-WebSocket-Protocol: d\r\n")
    expect(r.protocols).equals { "a", "b", "c", "d" }
    expect(request_of("/").protocols).equals({})
  end)

  it("has no body when it asks for a WebSocket", function()
    local r = request_of("/")
    expect(r:body()).is("")
    local value, err = r:json()
    expect(value).is(nil)
    expect(err).contains("1:1")
    expect(function() r.body() end).fails_with("bad argument 'request'")
    expect(function() r.json({}) end).fails_with("bad argument 'request'")
  end)

  it("finds a token in a header or the query", function()
    expect(request_of("/?token=q", "Authorization: Bearer abc.def\r\n"):token()).is("abc.def")
    expect(request_of("/?token=q", "Authorization: bearer   x\r\n"):token()).is("x")
    expect(request_of("/?token=q", "Authorization: Basic x\r\n"):token()).is("q")
    expect(request_of("/?token=q"):token()).is("q")
    expect(request_of("/"):token()).is(nil)
    local r = request_of("/")
    expect(function() r.token() end).fails_with("bad argument 'request' (request expected, got nothing")
  end)

  it("may be kept and looked at later", function()
    local r = request_of("/kept?x=1")
    collectgarbage()
    sleep(0.002)
    collectgarbage()
    expect(r.path).is("/kept")
    expect(r.query.x).is("1")
    play.reset()
  end)
end)

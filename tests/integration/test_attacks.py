"""Apps and peers that mean harm. Each of these once did some, or could."""
import json
import random

import pytest

from support.lab import counters
from support.wire import (BINARY, CLOSE, PING, TEXT, Ended, Peer, Violation,
                          close_payload, encode, until)

# ---- apps

BROADCASTS = """
function on_connect(request)
  return { user = request.query.user, rooms = { "all" } }
end

local commands = {}

-- The options are emptied while the broadcast has their texts on loan, and
-- what they lay in is used anew.
function commands.tamper()
  for round = 1, 30 do
    local except = {}
    for i = 1, 20 do except[i] = ("nobody" .. i):rep(9) .. round end
    local o = { room = "all", except = except, key = ("key"):rep(20) .. round }
    o.where = function(client)
      o.key, o.room, o.except = nil, nil, nil
      for i = 1, #except do except[i] = nil end
      collectgarbage()
      local junk = {}
      for i = 1, 500 do junk[i] = ("other" .. i):rep(9) .. round end
      return client.user ~= "left out"
    end
    assert(broadcast("round " .. round, o) == 2)
  end
  return "done"
end

function on_message(client, text)
  local f = commands[text]
  if f then client:send(f()) end
end
"""


def test_a_where_function_cannot_pull_names_from_under_its_broadcast(serve):
    server = serve(BROADCASTS)
    a, b, c = [Peer(server.port).open("/?user=" + name)
               for name in ("a", "b", "left%20out")]
    a.text("tamper")
    rounds = ["round %d" % i for i in range(1, 31)]
    assert a.messages(31) == rounds + ["done"]
    assert b.messages(30) == rounds
    assert c.is_silent()


@pytest.mark.parametrize("offer, chosen", [
    ("chat, v2", "chat"), (" , v2 ,", "v2"), ("v2 \t, x", "v2"),
    ("!#$%&'*+-.^_`|~0aZ", "!#$%&'*+-.^_`|~0aZ")])
def test_whatever_protocol_is_listed_can_be_chosen(serve, offer, chosen):
    server = serve("""
    function on_connect(request)
      return { protocol = request.protocols[1] }
    end""")
    with Peer(server.port) as peer:
        peer.send(peer.request(headers=[("Sec-WebSocket-Protocol", offer)]))
        response = peer.response()
        assert response.status == 101
        assert response.headers["sec-websocket-protocol"] == chosen


# ---- peers

AWAITING = """
local state, wrong = {}, {}

local function step(client, from, to)
  if state[client.id] ~= from then
    wrong[#wrong + 1] = ("%s after %s"):format(to, state[client.id])
  end
  state[client.id] = to
end

function on_connect(request)
  sleep(0.001)
  if request.path == "/no" then return nil, 403 end
  if request.path == "/error" then error("refused by accident") end
  return { rooms = { "all" } }
end

function on_open(client)
  step(client, nil, "opening")
  sleep(0.001)
  broadcast("hello", { room = "all" })
  step(client, "opening", "open")
end

function on_message(client, text)
  if state[client.id] ~= "open" then step(client, "open", "a message") end
  if text == "report" then
    local n = 0
    for _ in pairs(state) do n = n + 1 end
    return client:send(json.encode { wrong = json.array(wrong), there = n })
  end
  sleep(0.001)
  client:send(text)
end

function on_close(client)
  step(client, "open", "closing")
  sleep(0.001)
  broadcast("bye", { room = "all" })
  step(client, "closing", "closed")
  state[client.id] = nil
end
"""


def be_rude(port, rng):
    """One connection that ends in some bad way."""
    peer = Peer(port, timeout=1)
    hello = peer.request(rng.choice(["/", "/", "/", "/no", "/error"]))
    junk = rng.choice([
        b"", rng.randbytes(rng.randrange(1, 300)), encode(TEXT, b"x") * 20,
        encode(TEXT, b"part", fin=False) + encode(PING, b"p") * 9,
        encode(BINARY, bytes(70000)), encode(CLOSE, close_payload(1000))])
    try:
        how = rng.randrange(5)
        if how == 0:
            peer.send(hello[:rng.randrange(len(hello))])
        elif how == 1:
            peer.send(hello + junk)
        elif how == 2:
            peer.send(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n" * 9 + hello)
        else:
            peer.send(hello)
            peer.response()
            peer.send(junk)
        if rng.random() < 0.3:
            peer.half_close()
    except (OSError, Ended, Violation):
        pass
    (peer.reset if rng.random() < 0.5 else peer.close)()


def test_peers_that_leave_at_any_moment_leave_nothing_behind(serve):
    server = serve(AWAITING)
    rng = random.Random(6455)
    for _ in range(300):
        be_rude(server.port, rng)
    until(lambda: counters(server).get("connections", 0) == 0)
    with Peer(server.port).open() as peer:
        def report():
            peer.text("report")
            while True:
                message = peer.message()
                if message.startswith("{"):
                    return json.loads(message)

        until(lambda: report()["there"] == 1)
        assert report()["wrong"] == []

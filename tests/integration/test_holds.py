"""What a script asks the server to do at once, as large as it may be: it can be
stopped in the midst of all that, and what comes of it is right. How short the
sections are shows in tests/unit/hub/test_walk.c and tests/bench/bench_holds.c;
here nobody's time is measured but by the kilometre."""
import threading
import time

import pytest

from support.lab import IS_TSAN, counters, not_tiny
from support.wire import FACTOR, Peer
from support.wires import OFFER

CONF = """return {
  limits = { memory = "256MB", cpu = "%s" },
  outbox = { hard = "64MB", soft = 60000 },
  compress = { context = "%s" },
}"""

# Names with which messages are asked for, so that requests are short.
APP = """
local text
local function long()
  if not text then
    local t = {}
    for i = 1, 20000 do t[i] = ("%d words of %x; "):format(i * 7919 % 65536, i * i) end
    text = table.concat(t)
  end
  return text
end
local do_it = {}
function do_it.packed(c) return broadcast(long(), { compress = true, room = "all" }) end
function do_it.plain(c) return broadcast(long(), { compress = false }) end
function do_it.one(c) return c:send(long()) end
function do_it.huge(c) return c:send(("x"):rep(1 << 21)) end
function do_it.where(c)
  return broadcast(long(), { where = function(o) return o.id ~= c.id end })
end
function do_it.union(c)
  local names = { "all" }
  for i = 1, 60000 do names[#names + 1] = "room" .. i end
  return broadcast("union", { rooms = names })
end
function do_it.except(c)
  local t = {}
  for i = 1, 60000 do t[i] = c end
  return broadcast("except", { except = t })
end
function do_it.nobody(c)
  local t = {}
  for o in clients() do t[#t + 1] = o end
  return broadcast("nobody", { except = t })
end
function do_it.rooms(c)
  for i = 1, 100 do c:join(c.id .. "/" .. i) end
  local n = #rooms.list(c.id .. "/")
  for i = 1, 100 do c:leave(c.id .. "/" .. i) end
  return n, #rooms.list(c.id .. "/")
end
function do_it.sum(c) return #long() end
function on_connect() return { rooms = { "all" } } end
function on_message(c, m)
  local r = { do_it[m](c) }
  for i = 1, #r do r[i] = tostring(r[i]) end
  c:send("did " .. m .. " " .. table.concat(r, " "))
end
"""


def text():
    return "".join("%d words of %x; " % (i * 7919 % 65536, i * i)
                   for i in range(1, 20001))


def do(peer, what):
    """-> the messages that came of it, and what the call has returned."""
    peer.text(what)
    got = []
    while True:
        message = peer.message()
        if message.startswith("did %s " % what):
            return got, message.split(" ", 2)[2]
        got.append(message)


@pytest.fixture(params=["none", "both"])
def crowd(request, serve):
    server = serve(APP, "--workers", "2", "--placement", "spread",
                   conf=CONF % ("10s", request.param))
    peers = [Peer(server.port, offer=offer).open()
             for offer in (OFFER, "", OFFER,
                           "permessage-deflate; server_max_window_bits=9")]
    for peer in peers:
        peer.sock.settimeout(60 * FACTOR)
    yield server, peers
    for peer in peers:
        peer.goodbye()


@not_tiny
def test_long_messages_come_whole_to_all_and_in_order(crowd):
    _, peers = crowd
    boss, *others = peers
    want = text()
    assert do(boss, "sum") == ([], str(len(want)))
    for _ in range(2):
        assert do(boss, "packed") == ([want], "4 0")
        assert do(boss, "union") == (["union"], "4 0")
        assert do(boss, "plain") == ([want], "4 0")
        assert do(boss, "one") == ([want], "true")
        assert do(boss, "except") == ([], "3 0")
        assert do(boss, "where") == ([], "3 0")
        assert do(boss, "nobody") == ([], "0 0")
        assert do(boss, "rooms") == ([], "100 0")
        for peer in others:
            assert peer.messages(5) == [want, "union", want, "except", want]
    got, said = do(boss, "huge")
    assert said == "true" and got == ["x" * (1 << 21)]


@not_tiny
def test_others_come_and_go_while_scripts_are_stopped(crowd):
    """Who is there all the time gets everything once."""
    server, peers = crowd
    boss, *others = peers
    over = threading.Event()

    def come_and_go():
        while not over.is_set():
            with Peer(server.port, offer=OFFER) as peer:
                peer.open()
    visitors = [threading.Thread(target=come_and_go) for _ in range(2)]
    for visitor in visitors:
        visitor.start()
    try:
        want = text()
        for _ in range(10):
            assert do(boss, "packed")[0] == [want]
            assert do(boss, "union")[0] == ["union"]
            for peer in others:
                assert peer.messages(2) == [want, "union"]
    finally:
        over.set()
        for visitor in visitors:
            visitor.join()
    deadline = time.monotonic() + 20 * FACTOR
    while not do(boss, "except")[1] == "3 0":
        for peer in others:
            assert peer.message() == "except"
        assert time.monotonic() < deadline, "somebody is still there"


KILL = """
local words = {}
for i = 1, 50000 do words[i] = ("%x and %d; "):format(i * i, i * 7919 % 65536) end
local long = table.concat(words)
function on_connect() return { rooms = { "all" } } end
function on_open(c) if c.restored then c:send("again") end end
function on_message(c, m)
  if m == "?" then return c:send("here") end
  broadcast(long, { compress = m == "go", except = m == "go" and c or nil })
  c:send("done")
end
"""


@not_tiny
@pytest.mark.skipif(IS_TSAN, reason="the hook mode does not stop C functions")
@pytest.mark.parametrize("context", ["none", "both"])
def test_a_script_that_is_ended_while_it_broadcasts_leaves_nothing(
        serve, context):
    """By force, since no Lua runs that could be ended: a megabyte at level 9
    takes far longer than the script may."""
    server = serve(KILL, conf="""return {
      limits = { cpu = "20ms" },
      compress = { level = 9, context = "%s" } }""" % context)
    peers = [Peer(server.port, offer=OFFER).open() for _ in range(3)]
    for _ in range(4):
        peers[0].text("go")
        for peer in peers:
            assert peer.message() == "again"
    for peer in peers:
        peer.text("?")
        assert peer.message() == "here"
    # And nobody is still hidden, nor a context half written.
    peers[0].text("short")
    for peer in peers:
        assert len(peer.message()) > 500000
        peer.text("?")
    assert sorted(peers[0].messages(2)) == ["done", "here"]
    for peer in peers[1:]:
        assert peer.message() == "here"
    for peer in peers:
        peer.goodbye()


@not_tiny
def test_no_section_lasts_for_long(serve):
    """Compressing this took 30 ms of one section, a megabyte's copy one."""
    server = serve(APP, "--workers", "1", conf=CONF % ("10s", "none"))
    peers = [Peer(server.port, offer=OFFER).open() for _ in range(40)]
    for _ in range(3):
        for what in ("packed", "plain", "except", "union", "rooms"):
            do(peers[0], what)
    for peer in peers:
        peer.close()
    figures = counters(server)
    assert figures.get("longest_hold_nanoseconds", 0) < 20e6 * FACTOR, figures

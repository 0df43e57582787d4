"""The ends of a connection: the close handshake begun by either side or by
both, peers that vanish, and what the app hears of it. How long the server
waits for whom is in test_timeouts.py."""
import json

import pytest

from support import wires
from support.wire import (BINARY, CLOSE, CONT, PING, PONG, TEXT, Ended, Peer,
                          close_payload, encode, until)

WIRES = wires.ALL

# Every end is told to whoever is in the room "watch".
WATCHED = """
function on_open(client)
  if client.path == "/watch" then client:join("watch") end
end
function on_close(client, code, reason)
  room("watch"):broadcast { path = client.path, code = code, reason = reason,
                            closed = client.closed }
end
"""


class Watch(Peer):
    """Sees on_close of all the others."""

    def __init__(self, server):
        super().__init__(server.port)
        self.open("/watch")
        self.frame(PING, b"in")     # on_open has run
        self.pong()

    def next(self):
        seen = json.loads(self.message())
        assert seen.pop("closed") is True
        return seen["path"], seen["code"], seen["reason"]

    def saw_no_more(self, server):
        """Another client comes and goes; nothing else was told before."""
        with Peer(server.port).open("/last") as peer:
            peer.goodbye(1000)
        assert self.next() == ("/last", 1000, "")


# ---- the close handshake

@pytest.mark.parametrize("code, reason", [
    (1000, ""), (1001, "tab closed"), (1011, "ü"), (3000, "r" * 123),
    (4999, "")])
def test_the_client_closes_first(serve, code, reason):
    server = serve(WATCHED)
    with Watch(server) as watch, Peer(server.port).open("/a") as peer:
        assert peer.goodbye(code, reason)[0] == code
        assert not peer.was_reset
        assert watch.next() == ("/a", code, reason)
        watch.saw_no_more(server)


def test_a_close_without_a_code_is_1005_for_the_app(serve):
    server = serve(WATCHED)
    with Watch(server) as watch, Peer(server.port).open("/a") as peer:
        peer.frame(CLOSE)
        assert peer.closed() == (1005, "")
        assert watch.next() == ("/a", 1005, "")


CLOSING = WATCHED + """
function on_message(client, message)
  for i = 1, 50 do assert(client:send("queued " .. i)) end
  assert(client:send(("x"):rep(200000)))
  assert(not client.closed)
  assert(client:close(4001, "that is all"))
  assert(client.closed)
  local ok, err = client:send("behind")
  assert(ok == nil and err == "closed", err)
  ok, err = client:close(4002)
  assert(ok == nil and err == "closed", err)
  ok, err = client:join("r")
  assert(ok == nil and err == "closed", err)
  log.info("all as it should be")
end
"""


def test_the_server_closes_behind_what_is_queued(serve):
    server = serve(CLOSING)
    with Watch(server) as watch, Peer(server.port).open("/a") as peer:
        peer.text("go")
        assert peer.messages(50) == ["queued %d" % i for i in range(1, 51)]
        assert peer.message() == "x" * 200000
        assert watch.next() == ("/a", 4001, "that is all")
        # It waits for our Close before it ends.
        frame = peer.next_frame()
        assert (frame.opcode, frame.payload) == (
            CLOSE, close_payload(4001, "that is all"))
        assert peer.is_silent(0.1)
        peer.frame(CLOSE, close_payload(4321))
        assert peer.finished() == b""
        server.wait_log(lambda r: r["msg"] == "all as it should be")
        watch.saw_no_more(server)


def test_the_close_reaches_a_reader_that_is_slow_but_reads(serve):
    server = serve("""
function on_message(client)
  for i = 1, 20 do client:send(("%02d"):format(i) .. ("x"):rep(40000)) end
  client:close(4001)
end
""")
    with Peer(server.port, rcvbuf=4096).open() as peer:
        peer.text("go")
        for i in range(1, 21):
            assert peer.message() == "%02d" % i + "x" * 40000
        assert peer.closed() == (4001, "")
        assert not peer.was_reset


def test_both_close_at_once(serve):
    server = serve(CLOSING)
    with Watch(server) as watch, Peer(server.port).open("/a") as peer:
        # Our Close is on its way before theirs can be.
        peer.send(encode(TEXT, b"go") + encode(CLOSE, close_payload(4444)))
        frames, how = peer.rest()
        assert len(frames) == 51
        assert how == (4001, "that is all") and not peer.was_reset
        assert watch.next() == ("/a", 4001, "that is all")
        watch.saw_no_more(server)


def test_what_comes_between_our_close_and_theirs_is_read_over(serve):
    server = serve("""
function on_message(client, message)
  if message == "go" then client:close(4001) else client:send("no!") end
  broadcast("heard " .. message)
end
""")
    with Peer(server.port).open() as other, Peer(server.port).open() as peer:
        peer.send(encode(TEXT, b"go") + encode(TEXT, b"more") * 1000 +
                  encode(PONG, b"p") + encode(TEXT, b"be", fin=False) +
                  encode(CONT, b"gun") + encode(BINARY, b"x" * 300000) +
                  encode(CLOSE, b""))
        assert peer.closed() == (4001, "")
        assert other.message() == "heard go"
        other.frame(PING)
        other.pong()    # and nothing else


def test_a_ping_is_answered_until_their_close_has_come(serve):
    """RFC 6455 5.5.2: a Pong is owed "unless it already received a Close"; it
    is no data, which alone may not follow a Close (5.5.1)."""
    server = serve("function on_message(client) client:close(4001) end\n")
    with Peer(server.port).open() as peer:
        peer.text("go")
        assert peer.next_frame().payload == close_payload(4001)
        for data in (b"", b"p", b"x" * 125):
            peer.frame(PING, data)
            frame = peer.next_frame()
            assert (frame.opcode, frame.payload) == (PONG, data)
        peer.send(encode(CLOSE, close_payload(4001)) + encode(PING, b"late"))
        assert peer.finished() == b""


def test_a_ping_that_comes_while_our_close_waits_is_answered(serve):
    server = serve("""
function on_message(client)
  client:send(("x"):rep(900000))
  client:close(4001)
end
""")
    with Peer(server.port, rcvbuf=4096).open() as peer:
        peer.send(encode(TEXT, b"go") + encode(PING, b"p"))
        frames, how = peer.rest()
        assert how == (4001, "") and not peer.was_reset
        assert [f.payload for f in frames if f.opcode == PONG] == [b"p"]
        assert sum(len(f.payload) for f in frames if f.opcode != PONG) == 900000


def test_a_violation_between_our_close_and_theirs_ends_it(serve):
    server = serve("function on_message(client) client:close(4001) end\n")
    with Peer(server.port).open() as peer:
        peer.text("go")
        assert peer.next_frame().payload == close_payload(4001)
        peer.frame(3)
        assert peer.finished() == b""


def test_a_close_then_a_half_close_is_answered(serve):
    server = serve(WATCHED)
    with Watch(server) as watch, Peer(server.port).open("/a") as peer:
        peer.frame(CLOSE, close_payload(1001))
        peer.half_close()
        assert peer.next_frame().payload == close_payload(1001)
        assert peer.finished() == b""
        assert watch.next() == ("/a", 1001, "")


def test_an_app_may_close_in_on_open(serve):
    server = serve("""
function on_open(client)
  client:send("you may read this")
  client:close(4403, "not you")
end
function on_message(client, message) error("never") end
""")
    with Peer(server.port) as peer:
        peer.open(pipelined=encode(TEXT, b"early"))
        assert peer.message() == "you may read this"
        assert peer.closed() == (4403, "not you")
    assert not [r for r in server.log if r["level"] == "error"]


def test_an_app_may_close_a_client_from_elsewhere(serve):
    server = serve("""
function on_open(client)
  client:join("r")
  timer.after(0.01, function() client:close() end)
end
function on_close(client, code)
  local ok, err = client:close(4000)
  log.info("end", { code = code, again = err, id = client.id,
                    rooms = table.concat(client:rooms(), ",") })
end
""")
    with Peer(server.port).open() as peer:
        assert peer.closed() == (1000, "")
    line = server.wait_log(lambda r: r["msg"] == "end")
    assert (line["code"], line["again"], line["rooms"]) == (
        1000, "closed", "r")


def test_a_room_is_closed_as_one(serve):
    server = serve("""
function on_open(client) client:join(client.path) end
function on_message(client) room("/a"):close(4010, "room over") end
""")
    peers = [Peer(server.port).open(path) for path in ("/a", "/a", "/b")]
    peers[2].text("close it")
    assert [p.closed() for p in peers[:2]] == [(4010, "room over")] * 2
    peers[2].frame(PING)
    peers[2].pong()
    for peer in peers:
        peer.close()


def test_what_an_app_cannot_say_in_a_close_raises(serve):
    server = serve("""
function on_message(client, message)
  for _, try in ipairs {
    { 999 }, { 1004 }, { 1005 }, { 1006 }, { 1015 }, { 2999 }, { 5000 },
    { -1 }, { 1000.5 }, { "1000x" }, { {} },
    { 4000, ("r"):rep(124) }, { 4000, "\\xff" }, { 4000, 5 },
  } do
    local ok, err = pcall(client.close, client, table.unpack(try))
    assert(not ok, tostring(try[1]))
    client:send(err)
  end
  client:close(4000, ("r"):rep(123))
end
""")
    with Peer(server.port).open() as peer:
        peer.text("go")
        for _ in range(11):
            assert "bad argument 'code'" in peer.message()
        for _ in range(3):
            assert "bad argument 'reason'" in peer.message()
        assert peer.closed() == (4000, "r" * 123)


# ---- peers that vanish

LEAVING = {
    "RST": (b"", Peer.reset),
    "FIN": (b"", Peer.close),
    "half-close": (b"", Peer.half_close),
    "RST in the midst of a header": (b"\x81", Peer.reset),
    "FIN in the midst of a header": (b"\x82\xfe\x01", Peer.close),
    "half-close in the midst of a header": (b"\x81\x85abc", Peer.half_close),
    "RST in the midst of a frame": (encode(TEXT, b"x", length=9), Peer.reset),
    "FIN in the midst of a frame": (
        encode(BINARY, b"x" * 70000, length=80000), Peer.close),
    "half-close in the midst of a message": (
        encode(TEXT, b"x", fin=False), Peer.half_close),
    "FIN in the midst of a ping": (encode(PING, b"x", length=9), Peer.close),
}


@pytest.mark.parametrize("how", LEAVING)
def test_a_peer_that_vanishes_is_1006_once(serve, how):
    data, leave = LEAVING[how]
    server = serve(WATCHED)
    with Watch(server) as watch, Peer(server.port).open("/a") as peer:
        if data:
            peer.send(data)
        leave(peer)
        assert watch.next() == ("/a", 1006, "")
        if leave is Peer.half_close:
            assert peer.finished() == b""
        watch.saw_no_more(server)
    assert [r for r in server.log if r["level"] in ("warn", "error")] == []


def test_messages_before_a_vanishing_are_delivered(serve):
    server = serve("""
function on_open(client) client:join(client.path) end
function on_message(client, message) room("/watch"):broadcast(message) end
function on_close(client) room("/watch"):broadcast("closed") end
""")
    with Watch(server) as watch:
        for leave in (Peer.close, Peer.half_close):
            with Peer(server.port).open("/a") as peer:
                peer.send(b"".join(encode(TEXT, b"%d" % i)
                                   for i in range(300)))
                leave(peer)
                assert watch.messages(301) == [
                    *(str(i) for i in range(300)), "closed"]


def test_a_peer_that_resets_amid_a_flood_of_ours_harms_nobody(serve):
    server = serve(WATCHED + """
function on_message(client, message)
  for i = 1, 100 do client:send(("x"):rep(9000)) end
end
""")
    with Watch(server) as watch:
        for _ in range(10):
            with Peer(server.port, rcvbuf=4096).open("/a") as peer:
                peer.send(encode(TEXT, b"go") + encode(PING))
                peer.next_frame()
                peer.reset()
            assert watch.next() == ("/a", 1006, "")
        watch.saw_no_more(server)


def test_a_client_is_gone_from_its_rooms_when_on_close_runs(serve):
    server = serve("""
function on_open(client) client:join("r") broadcast("in " .. room("r"):count()) end
function on_close(client)
  assert(not client:is_in("r"))
  assert(clients.get(client.id) == nil)
  broadcast("out " .. room("r"):count() .. " " .. clients.count())
end
""")
    with Peer(server.port).open() as first:
        assert first.message() == "in 1"
        with Peer(server.port).open() as second:
            assert first.message() == "in 2"
            second.reset()
        assert first.message() == "out 1 1"


def test_hundreds_that_come_and_vanish_leave_nothing_behind(serve):
    server = serve("""
local open, closed = 0, 0
function on_open(client) open = open + 1 end
function on_close(client) closed = closed + 1 end
function on_message(client)
  client:send { open = open, closed = closed, now = clients.count() }
end
""")
    ends = [Peer.reset, Peer.close, lambda p: (p.half_close(), p.close()),
            lambda p: (p.send(encode(TEXT, b"x", length=9)), p.close()),
            lambda p: (p.frame(CLOSE), p.close())]
    for i in range(40):
        peers = [Peer(server.port).open() for _ in ends]
        for peer, end in zip(peers, ends):
            end(peer)
    with Peer(server.port).open() as peer:
        def counts():
            peer.text("?")
            return json.loads(peer.message())

        until(lambda: counts()["now"] == 1)
        assert counts() == {"open": 201, "closed": 200, "now": 1}
        with pytest.raises(Ended):
            peer.half_close()
            peer.message()

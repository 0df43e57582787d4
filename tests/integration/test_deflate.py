"""permessage-deflate from the outside: what is agreed on, what is shared, and
what a rude peer gets (RFC 7692). What the messages hold is tested over every
wire in test_echo.py, test_frames.py and test_close.py."""
import os
import random
import zlib

import pytest

from support.lab import counters, not_tiny
from support.packed import TAIL, Codec, parse_answer
from support.wire import (BINARY, CONT, PING, TEXT, FACTOR, Peer, close_payload,
                          encode)
from support.wires import OFFER

ECHO = """
function on_message(client, message, is_binary)
  client:send(message, { binary = is_binary, compress = true })
end
"""
ROOM = """
function on_message(client, message)
  local n, options = message:match("^(%d+) ?(.*)$")
  if not n then return broadcast(message) end
  for i = 1, tonumber(n) do
    broadcast(("%d "):format(i) .. options:rep(20), { key = nil })
  end
end
"""
LONG = "all work and no play makes jack a dull boy. " * 100


def conf(text=""):
    return "return { compress = { %s } }" % text


def peer(server, offer=OFFER, **how):
    return Peer(server.port, offer=offer, **how).open()


def agreed(server, offer):
    with peer(server, offer) as p:
        return p.agreed and parse_answer(p.agreed)


# ---- what is agreed on

NONE = {"server_no_context_takeover": None, "client_no_context_takeover": None}


def test_without_a_setting_no_context_is_kept(echo):
    assert agreed(echo, OFFER) == NONE
    assert agreed(echo, "permessage-deflate") == NONE
    assert agreed(echo, "") is None


@pytest.mark.parametrize("offer, more", [
    ("permessage-deflate; server_max_window_bits=10",
     {"server_max_window_bits": 10}),
    ("permessage-deflate; server_max_window_bits=8",
     {"server_max_window_bits": 8}),
    ("permessage-deflate; client_max_window_bits=9",
     {"client_max_window_bits": 9}),
    ("permessage-deflate; bad, permessage-deflate; server_max_window_bits=15",
     {"server_max_window_bits": 15}),
    ("x-webkit-deflate-frame, permessage-deflate", {}),
])
def test_the_first_good_offer_is_taken(echo, offer, more):
    assert agreed(echo, offer) == {**NONE, **more}


@pytest.mark.parametrize("offer", [
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; server_max_window_bits=7",
    "permessage-deflate; client_max_window_bits=16",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; client_max_window_bits; client_max_window_bits",
    "permessage-deflate; what=ever",
    "permessage-lzma",
])
def test_without_a_good_offer_the_connection_is_plain(echo, offer):
    with peer(echo, offer) as p:
        assert p.agreed is None
        p.text("a" * 2000)
        assert p.message() == "a" * 2000
        p.frame(TEXT, b"\x00", rsv=4)
        assert p.closed()[0] == 1002


def test_a_header_against_the_grammar_fails_the_handshake(echo):
    for bad in ("permessage-deflate;", "permessage-deflate; a=", ",", "a b"):
        with Peer(echo.port, offer=bad) as p:
            p.send(p.request())
            response = p.response()
            assert response.status == 400
            assert b"Sec-WebSocket-Extensions" in response.body


def test_the_app_decides(serve):
    for text, want in (
            ("false", None),
            ("true", NONE),
            ('{ context = "both" }', {}),
            ('{ context = "client" }', {"server_no_context_takeover": None}),
            ('{ context = "server" }', {"client_no_context_takeover": None}),
            ('{ context = "both", window = "1KB" }',
             {"server_max_window_bits": 10, "client_max_window_bits": 10})):
        server = serve(ECHO, conf="return { compress = %s }" % text)
        assert agreed(server, OFFER) == want, text


# ---- both ways

CONTEXTS = ["none", "client", "server", "both"]


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("bits", [8, 9, 12, 15])
def test_every_window_in_both_directions(serve, context, bits):
    server = serve(ECHO, conf=conf('context = "%s", threshold = 0' % context))
    offer = ("permessage-deflate; server_max_window_bits=%d; "
             "client_max_window_bits=%d" % (bits, bits))
    with peer(server, offer) as p:
        for round in range(3):
            for message in (LONG, "x", "", "äöü€🚀" * 999,
                            bytes(range(256)) * 40):
                if isinstance(message, str):
                    p.text(message)
                else:
                    p.binary(message)
                assert p.message() == message
        assert p.reader.packed > 0
        p.goodbye()


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_context_makes_what_comes_again_short(serve, context):
    server = serve(ECHO, conf=conf('context = "%s"' % context))
    noise = "".join(random.Random(7).choices("abcdefghijklmnop", k=4000))
    with peer(server) as p:
        sizes = []
        for i in range(3):
            before = p.reader.packed_bytes
            p.text(noise)
            assert p.message() == noise
            sizes.append(p.reader.packed_bytes - before)
    if context in ("server", "both"):
        assert sizes[1] < sizes[0] / 10 and sizes[2] < sizes[0] / 10
    else:
        assert sizes[0] == sizes[1] == sizes[2]


def test_small_messages_stay_plain_unless_the_app_says_so(serve):
    server = serve("""
function on_message(client, message)
  client:send(message)
  client:send(message, { compress = true })
  client:send(message, { compress = false })
end""", conf=conf('threshold = "1KB"'))
    with peer(server) as p:
        for n, packed in ((1023, 1), (1024, 2)):
            before = p.reader.packed
            p.text("a" * n)
            assert p.messages(3) == ["a" * n] * 3
            assert p.reader.packed - before == packed


def test_what_does_not_get_smaller_goes_out_as_it_is(serve):
    server = serve(ECHO)
    with peer(server) as p:
        noise = os.urandom(3000)
        p.binary(noise)
        assert p.message() == noise
        assert p.reader.packed == 0


def test_compress_must_be_a_boolean(serve):
    server = serve("""
function on_message(client, message)
  local ok, why = pcall(client.send, client, message, { compress = "yes" })
  client:send(why)
end""")
    with peer(server) as p:
        p.text("x")
        assert "compress" in p.message()


# ---- shared

def test_a_broadcast_is_compressed_once_for_all(serve):
    server = serve(ROOM)
    members = [peer(server) for _ in range(20)]
    plain = [peer(server, "") for _ in range(5)]
    narrow = [peer(server, "permessage-deflate; server_max_window_bits=9")
              for _ in range(5)]
    everybody = members + plain + narrow
    members[0].text(LONG)
    assert [p.message() for p in everybody] == [LONG] * len(everybody)
    # Two forms: one for windows of 32 KiB, one for 512 bytes.
    assert counters(server)["deflated_total"] == 2
    assert counters(server)["broadcasts_total"] == 1
    assert all(p.reader.packed == 1 for p in members + narrow)
    assert all(p.reader.packed == 0 for p in plain)
    assert len({p.reader.packed_bytes for p in members}) == 1
    for p in everybody:
        p.goodbye()


SPREAD = ("--workers", "3", "--placement", "spread")


def test_a_broadcast_to_other_loops_carries_its_compressed_form(serve):
    server = serve(ROOM, *SPREAD)
    members = [peer(server) for _ in range(12)]
    plain = [peer(server, "") for _ in range(6)]
    members[0].text(LONG)
    assert [p.message() for p in members + plain] == [LONG] * 18
    assert counters(server)["deflated_total"] == 1
    assert all(p.reader.packed == 1 for p in members)
    for p in members + plain:
        p.goodbye()


@pytest.mark.parametrize("context", CONTEXTS)
def test_everybody_on_every_loop_can_read_it(serve, context):
    server = serve("""
function on_message(client, message)
  for i = 1, 10 do
    broadcast(i .. message, { except = { "nobody" } })
    client:send(i .. message)
  end
  broadcast("end", { where = function(c) return true end })
end""", *SPREAD, conf=conf('context = "%s"' % context))
    offers = [OFFER, "", "permessage-deflate; server_max_window_bits=8",
              "permessage-deflate; server_max_window_bits=10; "
              "server_no_context_takeover"]
    everybody = [peer(server, offers[i % 4]) for i in range(16)]
    for sender in everybody[:4]:
        sender.text(LONG)
        for p in everybody:
            times = 2 if p is sender else 1
            for i in range(1, 11):
                for _ in range(times):
                    assert p.message() == "%d%s" % (i, LONG)
            assert p.message() == "end"
    for i, p in enumerate(everybody):
        assert (p.reader.packed > 0) == (i % 4 != 1)
        p.goodbye()


@not_tiny
def test_the_broadcasts_of_a_turn_leave_in_one_send(serve):
    server = serve(ROOM, "--workers", "1", conf=conf("threshold = 100"))
    members = [peer(server) for _ in range(10)]
    odd = peer(server, "permessage-deflate; server_max_window_bits=9")
    before = counters(server)["send_calls_total"]
    members[0].text("30 jack and jill went up the hill. ")
    want = ["%d " % i + "jack and jill went up the hill. " * 20
            for i in range(1, 31)]
    for p in members + [odd]:
        assert p.messages(30) == want
    assert all(p.reader.packed == 30 for p in members)
    # One member with another window costs the others nothing.
    assert counters(server)["send_calls_total"] - before <= 10 + 30


SLOW = """
function on_connect(request)
  -- The boss is told of nothing: its answer could be what is dropped.
  return request.path == "/boss" or { rooms = { "r" } }
end
function on_message(client, message)
  local n = tonumber(message)
  if not n then
    return client:send(message .. (" abcdefgh 1 abcdefgh 2"):rep(50))
  end
  for i = 1, n do
    room("r"):broadcast((("%06d ")):format(i) .. ("abcdefgh %d"):rep(300)
      :format(table.unpack((function() local t = {} for k = 1, 300 do
        t[k] = i * k end return t end)())))
  end
  -- Plain ones, which drop the last of those.
  for i = 1, 100 do room("r"):broadcast(("%06d s"):format(i)) end
end
"""


@not_tiny
@pytest.mark.parametrize("context", ["none", "server"])
@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_what_was_dropped_is_not_referred_to(serve, context, policy):
    """Whoever lags misses messages; all that come can be read."""
    server = serve(SLOW, conf="""return { outbox = {
policy = "%s", hard = "128KB", soft = 20, soft_for = 0 },
compress = { context = "%s" } }""" % (policy, context))
    slow = peer(server, rcvbuf=4096)
    boss = Peer(server.port).open("/boss")
    seen = []
    for _ in range(3):
        for _ in range(10):
            boss.text("400")
        boss.text("done")
        while not boss.message().startswith("done"):
            pass
        while not slow.is_silent(0.3 * FACTOR):
            seen.append(len(slow.message()))
        slow.text("x")
        assert slow.message().startswith("x abc")
    long = sum(n > 100 for n in seen)
    assert slow.reader.packed == long + 3
    assert long < 3 * 10 * 400
    assert counters(server).get("dropped_oldest_total" if policy ==
                                "drop_oldest" else "dropped_newest_total", 0)


# ---- rude peers

def bomb(megabytes):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes))
    return data + packer.flush(zlib.Z_SYNC_FLUSH)[:-4]


def rss(server):
    with open("/proc/%d/status" % server.pid) as file:
        for line in file:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024


@not_tiny
def test_a_bomb_stops_at_the_limit_of_messages(serve):
    server = serve(ECHO)
    data = bomb(900)
    assert len(data) < 2**20
    before = rss(server)
    for _ in range(5):
        with peer(server) as p:
            p.frame(BINARY, data, rsv=4)
            code, why = p.closed()
            assert code == 1009 and "too big" in why
    if FACTOR == 1:
        assert rss(server) - before < 16 * 2**20


def test_a_bomb_in_fragments_is_stopped_at_the_first_that_is_too_much(serve):
    server = serve(ECHO, conf='return { message = { max = "10KB" } }')
    codec = Codec({})
    with peer(server) as p:
        p.frame(BINARY, codec.pack(bytes(5000)) + TAIL, rsv=4, fin=False)
        p.frame(CONT, codec.pack(bytes(5000)) + TAIL, fin=False)
        p.frame(PING, b"still here")
        assert p.pong() == b"still here"
        p.frame(CONT, codec.pack(bytes(5000)) + TAIL, fin=False)
        assert p.closed()[0] == 1009


DAMAGED = {
    "a reserved block type": b"\x07",
    "lengths that do not agree": b"\x00\x05\x00\xfb\xffHello",
    "a distance to before the beginning": bytes.fromhex("f200110000"),
    "nothing at all": b"",
    "cut inside a block": b"\x00\x05\x00\xfa\xffHel",
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_data_are_closed_with_1007(echo, what):
    with peer(echo) as p:
        p.text("before")
        p.frame(TEXT, DAMAGED[what], rsv=4)
        assert p.message() == "before"
        code, why = p.closed()
        assert code == 1007 and "inflate" in why


def test_text_is_judged_by_what_comes_out_and_at_once(echo):
    codec = Codec({})
    for data in (b"ok \xff", "a€".encode()[:-1] + b"a"):
        with peer(echo) as p:
            p.frame(TEXT, codec.pack(data) + TAIL, rsv=4, fin=False)
            assert p.closed()[0] == 1007
    with peer(echo) as p:
        p.frame(TEXT, Codec({}).pack("a€".encode()[:-1]), rsv=4)
        assert p.closed()[0] == 1007


def test_reserved_bits_where_they_do_not_belong(echo):
    for bad in (encode(PING, b"", rsv=4), encode(TEXT, b"\0", rsv=2),
                encode(TEXT, b"\0", rsv=5),
                encode(0x8, close_payload(1000), rsv=4),
                encode(TEXT, b"\0", rsv=4, fin=False) +
                encode(CONT, b"", rsv=4)):
        with peer(echo) as p:
            p.send(bad)
            assert p.closed()[0] == 1002


def test_the_final_block_and_what_the_rfc_shows(echo):
    """RFC 7692 7.2.3."""
    for data in ("f248cdc9c90700", "000500faff48656c6c6f00",
                 "f348cdc9c9070000", "f248050000 00ffffcac9c90700"):
        with peer(echo) as p:
            p.frame(TEXT, bytes.fromhex(data.replace(" ", "")), rsv=4)
            assert p.message() == "Hello"
            p.frame(TEXT, bytes.fromhex("f248cd"), rsv=4, fin=False)
            p.frame(PING, b"between")
            p.frame(CONT, bytes.fromhex("c9c90700"))
            assert p.pong() == b"between"
            assert p.message() == "Hello"


def test_the_windows_of_a_client_without_a_context_do_not_mix(echo):
    """Two that send in turns share the loop's inflater."""
    with peer(echo) as a, peer(echo) as b:
        one, two = Codec({}).pack(b"one " * 99), Codec({}).pack(b"two " * 99)
        a.frame(TEXT, one[:5], rsv=4, fin=False)
        b.frame(TEXT, two[:3], rsv=4, fin=False)
        a.frame(CONT, one[5:9], fin=False)
        b.frame(CONT, two[3:])
        assert b.message() == "two " * 99
        b.frame(TEXT, two, rsv=4)
        a.frame(CONT, one[9:])
        assert a.message() == "one " * 99
        assert b.message() == "two " * 99


@not_tiny
def test_idle_clients_hold_no_state(serve):
    """Bytes for each connection, compressed against plain."""
    server = serve(ECHO)

    def grown(offer, n=300):
        warm = peer(server, offer)
        warm.text(LONG)
        warm.message()
        before = json_rss(server)
        peers = [peer(server, offer) for _ in range(n)]
        for p in peers:
            p.text(LONG)
            p.message()
        after = json_rss(server)
        for p in peers + [warm]:
            p.close()
        return (after - before) / n

    def json_rss(server):
        with open("/proc/%d/statm" % server.pid) as file:
            return int(file.read().split()[1]) * 4096

    plain, packed = grown(""), grown(OFFER)
    if FACTOR == 1:
        assert packed < plain + 1024, (plain, packed)


def test_a_reload_moves_the_threshold(serve):
    server = serve(ECHO.replace("compress = true", "x = nil"),
                   conf=conf('threshold = "10KB"'))
    with peer(server) as p:
        p.text(LONG)
        assert p.message() == LONG and p.reader.packed == 0
        mark = server.mark()
        server.write("app.conf.lua", conf("threshold = 1"))
        server.wait_log(lambda r: r.get("event") == "reload", since=mark)
        p.text(LONG)
        assert p.message() == LONG and p.reader.packed == 1


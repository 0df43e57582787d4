"""Clients that live on other loops than their app: to Lua they are clients like
any other. One app, four loops, clients dealt over all of them."""
import json

import pytest

from support import wires
from support.lab import IS_TINY, ask, counters, not_tiny, serve_many
from support.wire import TEXT, Peer, encode, until

WIRES = [wires.PLAIN, wires.TLS]

LOOPS = 4
N = 12                          # three on each loop

APP = """
local commands = {}
local gone, levels = {}, {}
rooms.define("newest*", { slow = "drop_newest" })
rooms.define("small*", { max_clients = 2 })

local function pack(...) return { result = { ... } } end
local function except_of(c)
  local list = {}
  for i, e in ipairs(c.except or {}) do
    list[i] = type(e) == "number" and clients.get(e) or e
  end
  return list
end

function commands.count(c)
  local n, m = 0, 0
  for client in clients() do n = n + 1 end
  for client in room("all"):clients() do m = m + 1 end
  return pack(clients.count(), n, room("all"):count(), m)
end
function commands.of(c)
  local ids = {}
  for i, client in ipairs(clients.of(c.user)) do ids[i] = client.id end
  return pack(table.unpack(ids))
end
function commands.broadcast(c)
  local where = c.odd and function(client)
    return client.data.index % 2 == 1 and client.user ~= nil
  end
  return pack(broadcast(c.text, { except = except_of(c), where = where,
    room = c.room, rooms = c.rooms, user = c.user, users = c.users,
    key = c.key }))
end
function commands.in_room(c)
  return pack(room(c.room):broadcast(c.text, { except = except_of(c) }))
end
function commands.send(c)
  return pack(clients.get(c.id):send(c.text, { key = c.key }))
end
function commands.many(c)
  local ok = 0
  local client = clients.get(c.id)  -- which can be gone before this has ended
  for i = 1, c.times do
    if client:send(("%d "):format(i) .. ("x"):rep(c.pad)) then
      ok = ok + 1
    end
  end
  return pack(ok)
end
function commands.mix(c)
  local client = clients.get(c.id)
  for i = 1, c.times do
    client:send("s" .. i)
    broadcast("b" .. i)
    room("all"):broadcast("r" .. i)
    broadcast("u" .. i, { rooms = { "all", "even" } })
  end
  return pack()
end
function commands.late(c)
  local client = clients.get(c.id)
  client:send("before")
  client:close(4003, "now")
  local ok, err = client:send("after")
  return pack(err, client.closed, select(2, client:close()),
              select(2, client:join("x")))
end
function commands.close_room(c)
  return pack(room(c.room):close(c.code, c.why))
end
function commands.queue(c)
  local q = clients.get(c.id):queue()
  return pack(q.messages, q.bytes, q.dropped)
end
function commands.levels(c) return { result = levels } end
function commands.gone(c) return { result = gone } end
function commands.join(c)
  local ok, err = clients.get(c.id):join(c.room)
  return pack(ok or err)
end
function commands.me(c, client)
  local names = client:rooms()
  table.sort(names)
  return { result = { user = client.user, data = client.data, rooms = names,
    generation = client.generation, app = app.generation,
    path = client.path, protocol = client.protocol, ip = client.ip } }
end

function on_connect(request)
  local q = request.query
  if q.refuse then return nil, tonumber(q.refuse), "not you" end
  if q.fail then error("on purpose") end
  local i = tonumber(q.index)
  return { user = q.user, data = { index = i, said = 0 },
           rooms = { "all", i % 2 == 0 and "even" or "odd", q.room },
           protocol = request.protocols[1], headers = { ["X-App"] = "yes" } }
end

function on_open(client)
  if client.path == "/closed" then return client:close(4009, "at once") end
  client:send { id = client.id }
end

function on_message(client, text, is_binary)
  if is_binary then return client:send(text, { binary = true }) end
  client.data.said = client.data.said + 1
  local c = json.decode(text)
  if type(c) ~= "table" then return client:send("echo " .. text) end
  client:send(commands[c.command](c, client))
end

function on_close(client, code, reason)
  gone[#gone + 1] = { id = client.id, code = code, reason = reason,
    rooms = #client:rooms(), index = client.data.index }
end

local function level(word)
  return function(client, queue)
    levels[#levels + 1] = { id = client.id, word = word,
      messages = queue.messages, bytes = queue.bytes }
  end
end
on_slow, on_drain = level("slow"), level("drain")
"""

CONF = 'return { placement = "spread", %s }\n'


def start(tmp_path, settings=""):
    return serve_many(tmp_path, {"a": {"main": APP, "conf": CONF % settings}},
                      ["--workers", LOOPS])


@pytest.fixture
def server(tmp_path):
    with start(tmp_path) as server:
        yield server


def come(server, index, query="", headers=(), **how):
    """A client; it has its id."""
    peer = Peer(server.port, **how)
    peer.open("/a/?index=%d&user=u%d%s" % (index, index // 3, query), headers)
    peer.id = json.loads(peer.message())["id"]
    return peer


def come_all(server, n=N):
    peers = [come(server, i) for i in range(n)]
    until(lambda: counters(server).get("connections") == n)
    return peers


def do(peer, command, **how):
    return ask(peer, command=command, **how)["result"]


def check_heard(peers, text, wanted):
    """Exactly those of `wanted` (indexes) have heard it, once; whatever comes
    later stands behind it."""
    for i, peer in enumerate(peers):
        peer.text("now")
        if i in wanted:
            assert peer.message() == text, i
        assert peer.message() == "echo now", i


def others(*but):
    return set(range(N)) - set(but)


# ---- who is there

def test_everybody_is_counted_wherever_he_lives(server):
    peers = come_all(server)
    assert do(peers[0], "count") == [N] * 4
    for i in range(0, N, 3):
        assert do(peers[0], "of", user="u%d" % (i // 3)) == [
            peer.id for peer in peers[i:i + 3]]
    for peer in peers[4:]:
        peer.goodbye()
        peer.close()
    # A loop says goodbye by itself, and tells the app a moment later.
    until(lambda: do(peers[0], "count") == [4] * 4)
    assert not do(peers[0], "of", user="u3")


def test_a_client_knows_of_itself_what_it_would_know_at_home(server):
    for i in range(LOOPS):
        peer = come(server, i, "&room=extra",
                    [("Sec-WebSocket-Protocol", "one, two")])
        told = do(peer, "me")
        assert told == {
            "user": "u%d" % (i // 3), "data": {"index": i, "said": 1},
            "rooms": sorted(["all", "extra", "odd" if i % 2 else "even"]),
            "generation": 1, "app": 1, "path": "/", "protocol": "one",
            "ip": "127.0.0.1"}


def test_the_answer_to_the_handshake_is_the_apps(server):
    for i in range(2 * LOOPS):
        with Peer(server.port) as peer:
            peer.send(peer.request("/a/?index=1", [
                ("Sec-WebSocket-Protocol", "chat")]))
            response = peer.response()
            assert response.status == 101
            assert response.headers["x-app"] == "yes"
            assert response.headers["sec-websocket-protocol"] == "chat"
        for query, status, text in (("refuse=418", 418, b"not you"),
                                    ("fail=1", 500, b"failed to decide")):
            with Peer(server.port) as peer:
                peer.send(peer.request("/a/?index=1&" + query))
                response = peer.response()
                assert response.status == status and text in response.body
                assert peer.finished() == b""
    until(lambda: "connections" not in counters(server))


def test_a_full_room_and_a_full_app_refuse_from_every_loop(tmp_path):
    with start(tmp_path, "limits = { clients = 6 }") as server:
        peers = [come(server, i, "&room=small") for i in range(2)]
        for _ in range(2 * LOOPS):
            with Peer(server.port) as peer:
                peer.send(peer.request("/a/?index=1&room=small"))
                response = peer.response()
                assert response.status == 503
                assert b"the room is full" in response.body
        peers += [come(server, i) for i in range(4)]
        assert do(peers[5], "join", id=peers[5].id, room="small") == ["full"]
        for _ in range(2 * LOOPS):
            with Peer(server.port) as peer:
                peer.send(peer.request("/a/?index=1"))
                response = peer.response()
                assert response.status == 503
                assert b"the app is full" in response.body
        assert do(peers[0], "count") == [6] * 4


# ---- who hears what

def test_where_and_except_choose_among_clients_of_all_loops(server):
    peers = come_all(server)
    ids = [peer.id for peer in peers]
    cases = [
        ({}, others()),
        ({"odd": True}, set(range(1, N, 2))),
        ({"odd": True, "except": [ids[1], "u1"]},
         set(range(1, N, 2)) - {1, 3, 5}),
        ({"except": [ids[5]]}, others(5)),
        ({"except": ids}, set()),
        ({"except": ids[1:]}, {0}),
        ({"except": ["u0", "u3", ids[4]]}, others(0, 1, 2, 4, 9, 10, 11)),
        ({"except": [ids[0], ids[0], "u0"]}, others(0, 1, 2)),
        ({"user": "u2"}, {6, 7, 8}),
        ({"users": ["u2", "u0", "nobody"], "except": [ids[7]]},
         {0, 1, 2, 6, 8}),
        ({"room": "even"}, set(range(0, N, 2))),
        ({"room": "nowhere"}, set()),
        ({"rooms": ["even", "all"], "except": [ids[2], ids[3]]}, others(2, 3)),
        ({"rooms": ["odd"], "user": "u0"}, set(range(1, N, 2)) | {0, 2}),
    ]
    asker = come(server, 100)           # in "all", "even" and "u33"
    for n, (options, wanted) in enumerate(cases):
        text = "case %d" % n
        options = {**options,
                   "except": [*options.get("except", []), asker.id]}
        queued, dropped = do(asker, "broadcast", text=text, **options)
        assert (queued, dropped) == (len(wanted), 0), options
        check_heard(peers, text, wanted)


def test_who_was_excepted_hears_the_next_one(server):
    peers = come_all(server)
    asker = come(server, 101)
    # Leaving and excepting by turns: gaps, and those who are passed over.
    for i in range(N // 2):
        gone = peers.pop(i)
        gone.goodbye()
        gone.close()
        until(lambda: do(asker, "count")[0] == len(peers) + 1)
        but = [asker.id, peers[i].id]
        assert do(asker, "in_room", room="all", text="one",
                  **{"except": but}) == [len(peers) - 1, 0]
        check_heard(peers, "one", others(i))
        assert do(asker, "in_room", room="all", text="two",
                  **{"except": [asker.id]}) == [len(peers), 0]
        check_heard(peers, "two", others())


def test_direct_sends_and_broadcasts_keep_one_order(server):
    peers = come_all(server, 2 * LOOPS)
    times = 5 if IS_TINY else 50
    for peer in peers:
        peer.text(json.dumps({"command": "mix", "id": peer.id,
                              "times": times}))
        wanted = [word + str(i) for i in range(1, times + 1)
                  for word in "sbru"]
        assert peer.messages(len(wanted)) == wanted
        assert "result" in json.loads(peer.message())
        for other in peers:
            if other is not peer:
                assert other.messages(3 * times) == [
                    w for w in wanted if w[0] != "s"]


@not_tiny
def test_large_messages_go_both_ways(server):
    data = bytes(range(256)) * 4000
    for i in range(LOOPS):
        with come(server, i) as peer:
            for _ in range(3):
                peer.binary(data)       # the answer fits its outbox, just
                assert peer.message() == data


# ---- ends

def test_an_app_closes_one_client_behind_what_it_was_told(server):
    peers = come_all(server)
    for i, peer in enumerate(peers[:-1]):
        told = do(peers[-1], "late", id=peer.id)
        assert told == ["closed", True, "closed", "closed"]
        frames, how = peer.rest()
        assert [f.payload for f in frames] == [b"before"]
        assert how == (4003, "now")
        peer.close()
        assert do(peers[-1], "count") == [N - i - 1] * 4
    gone = do(peers[-1], "gone")
    assert [(g["id"], g["code"], g["reason"], g["rooms"], g["index"])
            for g in gone] == [(peer.id, 4003, "now", 2, i)
                               for i, peer in enumerate(peers[:-1])]


def test_an_app_closes_all_of_a_room(server):
    peers = come_all(server)
    assert do(peers[1], "close_room", room="even", code=4004,
              why="out") == [N / 2]
    for peer in peers[::2]:
        assert peer.closed() == (4004, "out")
        peer.close()
    assert do(peers[1], "count") == [N / 2] * 4
    gone = do(peers[1], "gone")
    assert sorted(g["index"] for g in gone) == list(range(0, N, 2))
    assert {(g["code"], g["reason"]) for g in gone} == {(4004, "out")}
    check_heard(peers[1::2], "", set())


def test_a_client_closed_in_its_on_open_hears_nothing_but_that(server):
    early = encode(TEXT, b"early") * 3
    watcher = come(server, 0)
    for i in range(2 * LOOPS):
        with Peer(server.port) as peer:
            peer.open("/a/closed?index=1", pipelined=early)
            assert peer.closed() == (4009, "at once")
    until(lambda: len(do(watcher, "gone")) == 2 * LOOPS)
    assert {(g["code"], g["reason"]) for g in do(watcher, "gone")} == {
        (4009, "at once")}


@pytest.mark.parametrize("code, reason",
                         [(1000, "bye"), (4321, ""), (None, "")])
def test_how_a_client_ended_is_told_as_at_home(server, code, reason):
    watcher = come(server, 0)
    for i in range(LOOPS):
        peer = come(server, i + 1)
        if code is None:
            peer.reset()
        else:
            assert peer.goodbye(code, reason) == (code, "")
            peer.close()
    until(lambda: len(do(watcher, "gone")) == LOOPS)
    assert {(g["code"], g["reason"]) for g in do(watcher, "gone")} == {
        (code or 1006, reason)}


# ---- those who lag

def stall(server, index):
    return come(server, index, rcvbuf=4096)


@not_tiny
def test_a_client_that_lags_is_told_of_and_drains(tmp_path):
    with start(tmp_path, 'outbox = { hard = "400KB", soft_for = "60s" }'
               ) as server:
        watcher = come(server, 0)
        for i in range(1, 1 + LOOPS):
            peer = stall(server, i)
            assert do(watcher, "many", id=peer.id, times=150,
                      pad=2000) == [150]

            def slow_or_drain():
                return [(r["word"], r["bytes"]) for r in do(watcher, "levels")
                        if r["id"] == peer.id]
            until(lambda: len(slow_or_drain()) == 1)
            (word, size), = slow_or_drain()
            assert word == "slow" and 200_000 <= size <= 400_000
            messages, size, dropped = do(watcher, "queue", id=peer.id)
            assert messages > 50 and size > 100_000 and dropped == 0
            assert [int(m.split()[0]) for m in peer.messages(150)] == list(
                range(1, 151))
            until(lambda: len(slow_or_drain()) == 2)
            word, size = slow_or_drain()[1]
            assert word == "drain" and size < 50_000
            assert do(watcher, "queue", id=peer.id)[1] < 50_000
            peer.close()


@not_tiny
def test_policies_judge_clients_of_every_loop(tmp_path):
    with start(tmp_path, 'outbox = { hard = "64KB" }, ping = "1h"') as server:
        watcher = come(server, 0)
        slow = [come(server, i, "&room=newest", rcvbuf=4096)
                for i in range(1, 1 + LOOPS)]
        for n in range(400):
            do(watcher, "in_room", room="newest", text="%d %s" % (
                n, "x" * 1000))
        heard = 0
        for peer in slow:
            peer.text("end")
            got = []
            while (text := peer.message()) != "echo end":
                got.append(int(text.split()[0]))
            assert got == sorted(set(got))
            heard += len(got)
        dropped = counters(server)["dropped_newest_total"]
        assert dropped > 0 and heard + dropped == 400 * LOOPS
        # The app's own policy closes.
        for i in range(LOOPS):
            peer = stall(server, i)
            do(watcher, "many", id=peer.id, times=300, pad=1000)
            _, how = peer.rest()
            assert how == (1013, "slow")
            peer.close()
        assert counters(server)["slow_closed_total"] == LOOPS


@not_tiny
def test_a_key_keeps_the_newest_for_a_client_that_lags(server):
    watcher = come(server, 0)
    for i in range(1, 1 + LOOPS):
        peer = stall(server, i)
        do(watcher, "many", id=peer.id, times=60, pad=2000)   # it is full
        for n in range(20):
            do(watcher, "broadcast", text="key %d" % n, key="k",
               **{"except": [watcher.id]})
        peer.messages(60)
        assert peer.message() == "key 19"
        peer.text("now")
        assert peer.message() == "echo now"
        peer.close()
    assert counters(server)["dropped_key_total"] == 19 * LOOPS


# ---- reloads

def test_a_reload_keeps_what_belongs_to_clients_of_all_loops(server):
    peers = come_all(server)
    for i, peer in enumerate(peers):
        for _ in range(i):
            peer.text("word")
        peer.messages(i)
    mark = server.mark()
    server.write("a/main.lua", APP + "-- another one\n")
    server.wait_log(lambda r: "reloaded: generation 2, %d clients" % N
                    in r["msg"], since=mark)
    for i, peer in enumerate(peers):
        told = do(peer, "me")
        assert told["data"] == {"index": i, "said": i + 1}
        assert told["generation"] == told["app"] == 2
        assert told["user"] == "u%d" % (i // 3)
        assert told["rooms"] == ["all", "odd" if i % 2 else "even"]
    do(peers[0], "broadcast", text="all", **{"except": [peers[0].id]})
    check_heard(peers, "all", others(0))
    assert do(peers[0], "count") == [N] * 4


def test_settings_change_for_clients_of_all_loops(tmp_path):
    with start(tmp_path, 'message = { max = "2KB" }') as server:
        peers = come_all(server, 2 * LOOPS)
        for peer in peers:
            peer.text("x" * 1500)
            assert peer.message() == "echo " + "x" * 1500
        mark = server.mark()
        server.write("a/app.conf.lua", CONF % 'message = { max = "1KB" }')
        server.wait_log(lambda r: "reloaded: generation 2" in r["msg"],
                        since=mark)
        assert do(peers[0], "count") == [2 * LOOPS] * 4
        for peer in peers[1:]:
            peer.text("now")            # by now its loop has been told
            assert peer.message() == "echo now"
            peer.text("x" * 1500)
            assert peer.rest()[1][0] == 1009
            peer.close()
        late = come(server, 1)
        late.text("x" * 1500)
        assert late.rest()[1][0] == 1009

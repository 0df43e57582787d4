"""Whom the server waits for, and how long: everything here is started at once
and looked at afterwards, so that the file takes as long as its longest wait.

The times are those of base/limits.h; nothing may come early, and late only
where the machine is slow."""
import concurrent.futures
import time

import pytest

from conftest import stop_well, write_app
from support import wires
from support.lab import counters
from support.server import Server
from support.wire import (BINARY, CLOSE, FACTOR, PING, TEXT, Ended, Peer,
                          close_payload, encode, until)

WIRES = [wires.PLAIN, wires.TLS]

HANDSHAKE, KEEP_ALIVE, CLOSE_WAIT, PONG = 10, 10, 5, 10
PING_EVERY = 0.5
PATIENCE = 30 * FACTOR
LATE = 2 * FACTOR

APP = """
function on_message(client, message)
  if message == "close me" then client:close(4001, "bye") end
end
function on_close(client, code)
  log.info("closed", { path = client.path, code = code })
end
"""


def read_all(peer):
    """-> (bytes, how it ended)."""
    try:
        return peer.finished(), "fin"
    except Ended:
        return bytes(peer.reader.buffer), "reset"


# ---- the scenes: each runs in a thread of its own and returns what it saw

def silent(server, _):
    with Peer(server.port, timeout=PATIENCE) as peer:
        begun = time.monotonic()
        return read_all(peer), time.monotonic() - begun


def half_a_head(server, _):
    with Peer(server.port, timeout=PATIENCE) as peer:
        begun = time.monotonic()
        peer.send(peer.request("/half")[:-2])
        return read_all(peer), time.monotonic() - begun


def dripping_head(server, _):
    with Peer(server.port, timeout=PATIENCE) as peer:
        begun = time.monotonic()
        data = peer.request("/drip")
        try:
            for i in range(len(data)):
                peer.send(data[i:i + 1])
                if not peer.is_silent(0.25):
                    break
        except OSError:
            pass
        return read_all(peer), time.monotonic() - begun


def idle_after_an_answer(server, _):
    with Peer(server.port, timeout=PATIENCE) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.response().status == 200
        begun = time.monotonic()
        return read_all(peer), time.monotonic() - begun


def half_a_second_head(server, _):
    with Peer(server.port, timeout=PATIENCE) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.response().status == 200
        peer.is_silent(1)
        begun = time.monotonic()
        peer.send(b"GET / HTTP/1.1\r\nHost:")
        return read_all(peer), time.monotonic() - begun


def download_that_stalls(server, _):
    with Peer(server.port, rcvbuf=4096, timeout=PATIENCE) as peer:
        peer.send(b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        begun = time.monotonic()
        # Reading nothing: the reset shows as an error of the socket.
        while peer.sock.getsockopt(1, 4) == 0:      # SO_ERROR
            if time.monotonic() - begun > PATIENCE:
                return "alive", time.monotonic() - begun
            time.sleep(0.05)
        return "reset", time.monotonic() - begun


def close_never_answered(server, _):
    with Peer(server.port, timeout=PATIENCE).open("/stubborn") as peer:
        begun = time.monotonic()
        peer.text("close me")
        frame = peer.next_frame()
        assert frame.payload == close_payload(4001, "bye")
        return read_all(peer), time.monotonic() - begun


def violation_and_no_end(server, _):
    """The server has said FIN; it must not wait for ours for ever, however
    much comes."""
    with Peer(server.port, timeout=PATIENCE).open("/bad") as peer:
        begun = time.monotonic()
        peer.frame(3)
        assert peer.next_frame().opcode == CLOSE
        assert peer.finished() == b""
        try:
            while time.monotonic() - begun < PATIENCE:
                peer.send(b"x" * 100)
                time.sleep(0.05)
            return "alive", time.monotonic() - begun
        except OSError:
            return "reset", time.monotonic() - begun


def answers_pings(_, pinging):
    with Peer(pinging.port, timeout=PATIENCE).open("/polite") as peer:
        begun = time.monotonic()
        pings = 0
        while time.monotonic() - begun < PONG + PING_EVERY + LATE:
            frame = peer.next_frame()
            assert (frame.opcode, frame.payload) == (PING, b"")
            pings += 1
            peer.frame(0xA)
        peer.goodbye()
        return pings, time.monotonic() - begun


def talks_but_never_pongs(_, pinging):
    """Any byte is a sign of life."""
    peer = Peer(pinging.port, timeout=PATIENCE)
    peer.answers_pings = False
    with peer.open("/talker"):
        begun = time.monotonic()
        while time.monotonic() - begun < PONG + PING_EVERY + LATE:
            peer.is_silent(1)
            peer.text("not close me")
        peer.goodbye()
        return len(peer.pings) > 0, time.monotonic() - begun


def never_pongs(_, pinging):
    peer = Peer(pinging.port, timeout=PATIENCE)
    peer.answers_pings = False
    with peer.open("/deaf"):
        begun = time.monotonic()
        frames, how = peer.rest()
        assert not frames
        return (len(peer.pings), how), time.monotonic() - begun


def stalls_in_a_frame(_, pinging):
    peer = Peer(pinging.port, timeout=PATIENCE)
    peer.answers_pings = False
    with peer.open("/stalled"):
        begun = time.monotonic()
        peer.send(encode(TEXT, b"half", length=8))
        frames, how = peer.rest()
        assert not frames
        return (len(peer.pings), how), time.monotonic() - begun


SCENES = [silent, half_a_head, dripping_head, idle_after_an_answer,
          half_a_second_head, download_that_stalls, close_never_answered,
          violation_and_no_end, answers_pings, talks_but_never_pongs,
          never_pongs, stalls_in_a_frame]


@pytest.fixture(scope="module")
def stage(tmp_path_factory, wire):
    where = tmp_path_factory.mktemp("timeouts")
    files = {"index.html": "here", "big.bin": bytes(20 * 1024 * 1024)}
    server = Server(write_app(where / "plain", APP, files=files),
                    "--drain", "0s")
    pinging = Server(
        write_app(where / "pinging", APP,
                  'return { ping = "%dms" }' % (PING_EVERY * 1000)),
        "--drain", "0s")
    with concurrent.futures.ThreadPoolExecutor(len(SCENES)) as pool:
        futures = {scene.__name__: pool.submit(scene, server, pinging)
                   for scene in SCENES}
        yield server, pinging, futures
    stop_well(server)
    stop_well(pinging)


@pytest.fixture
def played(stage):
    def of(scene, wait):
        result, passed = stage[2][scene.__name__].result(2 * PATIENCE)
        assert wait - 0.3 <= passed <= wait + LATE, passed
        return result

    return of


def status_of(data):
    return int(data.split(b" ", 2)[1])


def test_a_peer_that_says_nothing_is_let_go(played):
    assert played(silent, HANDSHAKE) == (b"", "fin")


@pytest.mark.parametrize("scene", [half_a_head, dripping_head,
                                   half_a_second_head])
def test_a_head_that_takes_too_long_is_answered_with_408(played, scene):
    data, how = played(scene, HANDSHAKE)
    assert status_of(data) == 408
    assert b"took too long" in data and b"\r\nConnection: close\r\n" in data
    assert how == "fin"


def test_each_408_is_one_line_in_the_log(stage, played):
    for scene in (half_a_head, dripping_head, half_a_second_head):
        played(scene, HANDSHAKE)
    def lines():
        return [r for r in stage[0].log if "answered with 408" in r["msg"]]
    until(lambda: len(lines()) >= 3)
    counters(stage[0])      # a line behind all that has been said
    assert len(lines()) == 3
    assert all("127.0.0.1" in r["msg"] and "took too long" in r["msg"]
               for r in lines())


def test_a_kept_connection_that_idles_is_closed_without_a_word(played):
    assert played(idle_after_an_answer, KEEP_ALIVE) == (b"", "fin")


def test_a_download_that_stalls_is_cut(played):
    assert played(download_that_stalls, KEEP_ALIVE) == "reset"


def test_a_close_that_is_never_answered_ends_after_the_close_wait(
        stage, played):
    data, _ = played(close_never_answered, CLOSE_WAIT)
    assert data == b""
    line = stage[0].wait_log(lambda r: r.get("path") == "/stubborn")
    assert line["code"] == 4001


def test_a_peer_that_will_not_end_after_a_violation_is_reset(played):
    assert played(violation_and_no_end, CLOSE_WAIT) == "reset"


def test_an_idle_client_is_pinged_and_stays_if_it_answers(played):
    pings = played(answers_pings, PONG + PING_EVERY + LATE)
    assert pings >= 5


def test_whoever_talks_is_not_asked_for_pongs(played):
    assert played(talks_but_never_pongs, PONG + PING_EVERY + LATE)


@pytest.mark.parametrize("scene, path", [(never_pongs, "/deaf"),
                                         (stalls_in_a_frame, "/stalled")])
def test_a_client_gone_silent_is_dropped_with_1006(stage, played, scene, path):
    pings, how = played(scene, PONG + PING_EVERY)
    assert pings == 1 and how == "reset"
    line = stage[1].wait_log(lambda r: r.get("path") == path)
    assert line["code"] == 1006

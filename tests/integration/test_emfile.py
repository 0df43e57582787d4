"""A server that runs out of descriptors: those who are there go on, those who
come are let go at once, one line says so, the loop rests, and when there is
room again it takes clients in as before."""
import os
import resource
import time

import pytest

from support.lab import counters
from support.wire import FACTOR, Ended, Peer, until

ECHO = "function on_message(client, message) client:send(message) end\n"
ROOM = 20


def descriptors(server):
    return len(os.listdir("/proc/%d/fd" % server.pid))


def cpu_seconds(server):
    with open("/proc/%d/stat" % server.pid) as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def limit(server, n):
    """No more than n descriptors from now on."""
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (n, hard))


def is_let_go(peer):
    """The server ends it without having said anything."""
    try:
        return peer.finished() == b""
    except Ended:
        return True


def lines(server):
    return [r for r in server.log if "cannot accept" in r["msg"]]


@pytest.fixture
def full(serve):
    """A server with as many clients as it has descriptors for."""
    server = serve(ECHO, "--workers", "1") # each loop tells of its own port
    limit(server, descriptors(server) + ROOM)
    server.clients = [Peer(server.port).open() for _ in range(ROOM)]
    yield server
    for peer in server.clients:
        peer.close()


def all_served(peers):
    for i, peer in enumerate(peers):
        peer.text("%d" % i)
    return [p.message() for p in peers] == [str(i) for i in range(len(peers))]


def test_who_is_there_goes_on_and_who_comes_is_let_go(full):
    late = [Peer(full.port) for _ in range(50)]
    assert all(is_let_go(peer) for peer in late)
    assert all_served(full.clients)
    assert counters(full)["shed_total"] == 50


def test_a_shortage_is_told_when_it_begins_and_when_it_is_over(full):
    ends = time.monotonic() + 1
    shed = 0
    while time.monotonic() < ends:
        assert is_let_go(Peer(full.port))
        shed += 1
    limit(full, descriptors(full) + ROOM)
    over = full.wait_log(lambda r: "accepts again" in r["msg"])
    assert "%d connections were shed" % shed in over["msg"]
    (line,) = lines(full)
    assert line["level"] == "warn"
    assert "open files" in line["err"] and "shed" in line["msg"]
    assert str(full.port) in line["msg"]


def test_the_loop_does_not_spin(full):
    assert is_let_go(Peer(full.port))
    # With somebody at the door all the time, and with nobody.
    for knock in (True, False):
        used, begun = cpu_seconds(full), time.monotonic()
        while time.monotonic() - begun < 1:
            if knock:
                assert is_let_go(Peer(full.port))
            else:
                time.sleep(0.1)
        assert cpu_seconds(full) - used < 0.3 * FACTOR


def test_clients_are_taken_in_again_when_others_leave(full):
    assert is_let_go(Peer(full.port))
    for peer in full.clients[:5]:
        peer.goodbye()
        peer.close()
    full.clients = full.clients[5:]

    def comes_in():
        peer = Peer(full.port)
        try:
            peer.open()
        except (Ended, OSError):
            peer.close()
            return None
        return peer

    for _ in range(5):
        full.clients.append(until(comes_in))
    assert all_served(full.clients)
    assert is_let_go(Peer(full.port))


def test_a_file_that_cannot_be_opened_is_503(serve):
    server = serve(ECHO, files={"index.html": "here"})
    with Peer(server.port) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.response().status == 200
        limit(server, descriptors(server))
        for _ in range(2):
            peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            response = peer.response()
            assert response.status == 503
            assert "retry-after" in response.headers
        limit(server, descriptors(server) + 50)
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.response().status == 200


def test_a_reload_without_descriptors_fails_and_the_app_goes_on(full):
    mark = full.mark()
    full.write("main.lua", ECHO + "\n-- changed\n")
    line = full.wait_log(lambda r: r.get("event") == "reload", since=mark)
    assert line["level"] == "error" and "reload failed" in line["msg"]
    assert all_served(full.clients)
    limit(full, descriptors(full) + ROOM)
    mark = full.mark()
    full.write("main.lua", ECHO + "\n-- changed again\n")
    full.wait_log(lambda r: "reloaded" in r["msg"], since=mark)
    assert all_served(full.clients)

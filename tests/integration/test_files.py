"""Static files below an app's public/: what is there, what is not, and
readers of every kind."""
import email.utils
import os
import time

import pytest

from conftest import stop_well, write_app
from support import wires
from support.lab import IS_ASAN, IS_TINY, counters, memory
from support.server import Server
from support.wire import TEXT, Ended, Peer, encode, until

WIRES = [wires.PLAIN] if IS_TINY else [wires.PLAIN, wires.TLS]

BIG = 20 * 1024 * 1024

FILES = {
    "index.html": "<p>root</p>\n",
    "style.css": "a{}",
    "page.HTM": "<p>",
    "app.js": "1",
    "mod.mjs": "1",
    "data.json": "{}",
    "pic.svg": "<svg/>",
    "pic.png": b"\x89PNG",
    "font.woff2": b"x",
    "a.wasm": b"\0asm",
    "notes.txt": "ü\n",
    "archive.tar.gz": b"x",
    "noextension": b"x",
    "empty.txt": "",
    "sub/index.html": "<p>sub</p>\n",
    "sub/deep/x.txt": "deep",
    "bare/x.txt": "x",
    "with space & ü.txt": "spaced",
    "percent%41.txt": "percent",
    ".hidden": "no",
    ".git/config": "no",
    "sub/.env": "no",
}


# No two parts of it look the same where one could be taken for the other.
BIG_BYTES = b"".join(bytes([i % 251]) * 1021
                     for i in range(BIG // 1021 + 1))[:BIG]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    where = tmp_path_factory.mktemp("files")
    (where / "outside.txt").write_text("secret")
    app = write_app(where / "app", "function on_message(c, m) c:send(m) end",
                    files=FILES)
    public = app / "public"
    (public / "link.txt").symlink_to("../main.lua")
    (public / "inner.txt").symlink_to("notes.txt")
    (public / "outdir").symlink_to("../..")
    os.mkfifo(public / "fifo")
    (public / "big.bin").write_bytes(BIG_BYTES)
    return app


@pytest.fixture(scope="module")
def server(app, wire):
    server = Server(app, "--drain", "0s", "--no-reload")
    yield server
    stop_well(server)


def request(target, method="GET", version="HTTP/1.1", **headers):
    lines = ["%s %s %s" % (method, target, version), "Host: x"]
    lines += ["%s: %s" % (k.replace("_", "-"), v) for k, v in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def get(server, target, method="GET", **headers):
    with Peer(server.port) as peer:
        peer.send(request(target, method, **headers))
        return peer.response(is_head=method == "HEAD")


# ---- what is there

@pytest.mark.parametrize("name, kind", [
    ("index.html", "text/html; charset=utf-8"),
    ("page.HTM", "text/html; charset=utf-8"),
    ("style.css", "text/css; charset=utf-8"),
    ("app.js", "text/javascript; charset=utf-8"),
    ("mod.mjs", "text/javascript; charset=utf-8"),
    ("data.json", "application/json"),
    ("pic.svg", "image/svg+xml"),
    ("pic.png", "image/png"),
    ("font.woff2", "font/woff2"),
    ("a.wasm", "application/wasm"),
    ("notes.txt", "text/plain; charset=utf-8"),
    ("archive.tar.gz", "application/octet-stream"),
    ("noextension", "application/octet-stream"),
])
def test_a_file_comes_with_its_type(server, name, kind):
    data = FILES[name]
    data = data if isinstance(data, bytes) else data.encode()
    response = get(server, "/" + name)
    assert response.status == 200 and response.body == data
    assert response.headers["content-type"] == kind
    assert response.headers["x-content-type-options"] == "nosniff"
    date = email.utils.parsedate_to_datetime(response.headers["date"])
    assert abs(date.timestamp() - time.time()) < 60


def test_head_is_get_without_the_body(server):
    for target in ("/", "/style.css", "/big.bin", "/empty.txt"):
        full, head = get(server, target), get(server, target, "HEAD")
        for response in (full, head):
            del response.headers["date"]
        assert head.status == 200 and head.body == b""
        assert head.headers == full.headers
        assert int(head.headers["content-length"]) == len(full.body)
    missing = get(server, "/nothing", "HEAD")
    assert missing.status == 404


def test_an_empty_file_is_200_with_length_0(server):
    response = get(server, "/empty.txt")
    assert (response.status, response.headers["content-length"]) == (200, "0")


def test_a_query_does_not_change_the_file(server):
    assert get(server, "/style.css?v=2&x=/../a").body == b"a{}"
    assert get(server, "/?x").body == b"<p>root</p>\n"


def test_names_are_percent_decoded_once(server):
    assert get(server, "/with%20space%20&%20%C3%BC.txt").body == b"spaced"
    assert get(server, "/st%79le.css").body == b"a{}"
    assert get(server, "/percent%2541.txt").body == b"percent"
    assert get(server, "/percent%41.txt").status == 404


def test_a_directory_is_its_index_and_never_a_listing(server):
    assert get(server, "/").body == b"<p>root</p>\n"
    assert get(server, "/sub/").body == b"<p>sub</p>\n"
    assert get(server, "/bare/").status == 404
    assert b"x.txt" not in get(server, "/bare/").body


@pytest.mark.parametrize("target, location", [
    ("/sub", "./sub/"),
    ("/sub?a=b", "./sub/?a=b"),
    ("/s%75b", "./s%75b/"),
])
def test_a_directory_without_a_slash_redirects(server, target, location):
    for method in ("GET", "HEAD"):
        response = get(server, target, method)
        assert response.status == 301
        assert response.headers["location"] == location


def test_nothing_redirects_to_another_host(server):
    for target in ("//sub", "//evil.example/sub", "/%2F/evil.example", "/\\sub",
                   "//sub/..%2f"):
        response = get(server, target)
        assert response.status == 404, (target, response)


# ---- what is not there

@pytest.mark.parametrize("target", [
    "/nothing", "/nothing/", "/style.css/", "/style.css/x", "/sub/nothing",
    "/../main.lua", "/../app.conf.lua", "/%2e%2e/main.lua",
    "/%2E%2E%2Fmain.lua", "/..%2fmain.lua", "/sub/../../main.lua",
    "/sub/%2e%2e/%2e%2e/main.lua", "/sub/..", "/.", "/..", "/./index.html",
    "/sub/../index.html", "/sub//deep/x.txt", "//style.css", "/..\\main.lua",
    "/..%5cmain.lua", "/%c0%ae%c0%ae/main.lua", "/main.lua",
    "/../../../../../../etc/passwd", "/etc/passwd", "//etc/passwd",
    "/.hidden", "/%2ehidden", "/.git/config", "/sub/.env", "/.git/",
    "/link.txt", "/inner.txt", "/outdir", "/outdir/", "/outdir/outside.txt",
    "/fifo", "/" + "x" * 300, "/" + "x/" * 2000, "/index.html%20", "/INDEX.HTML",
])
def test_what_is_not_there_for_the_world_is_404(server, target):
    response = get(server, target)
    assert response.status == 404, response
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert b"secret" not in response.body and b"on_message" not in response.body


def test_a_nul_in_a_path_is_400(server):
    assert get(server, "/index.html%00.txt").status == 400


def test_an_app_without_public_serves_nothing(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app/main.lua").write_text("")
    server = Server(tmp_path / "app", "--drain", "0s")
    try:
        assert get(server, "/").status == 404
        with Peer(server.port) as peer:
            peer.open("/")
    finally:
        stop_well(server)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH",
                                    "OPTIONS"])
def test_other_methods_are_405(server, method):
    response = get(server, "/index.html", method)
    assert response.status == 405
    assert response.headers["allow"] == "GET, HEAD"


def test_a_get_with_a_body_is_refused_and_the_body_is_no_request(server):
    with Peer(server.port) as peer:
        inner = request("/style.css")
        peer.send(request("/", Content_Length=len(inner)) + inner)
        assert peer.response().status == 400
        assert peer.finished() == b""


# ---- validators

def test_an_unchanged_file_is_304_and_a_changed_one_200(tmp_path):
    app = write_app(tmp_path / "app", "", files={"a.txt": "one"})
    server = Server(app, "--drain", "0s", "--no-reload")
    try:
        first = get(server, "/a.txt")
        tag = first.headers["etag"]
        assert tag.startswith('"') and tag.endswith('"')
        assert first.headers["cache-control"] == "no-cache"
        for value in (tag, "W/" + tag, '"x", %s , "y"' % tag, "*"):
            same = get(server, "/a.txt", If_None_Match=value)
            assert (same.status, same.body) == (304, b""), value
            assert same.headers["etag"] == tag
            assert "content-length" not in same.headers
        assert get(server, "/a.txt", "HEAD", If_None_Match=tag).status == 304
        for value in ('"x"', tag.strip('"'), '"%s"' % tag, "W/", '"', ""):
            other = get(server, "/a.txt", If_None_Match=value)
            assert (other.status, other.body) == (200, b"one"), value
        (app / "public/a.txt").write_text("two")    # of the same length
        changed = get(server, "/a.txt", If_None_Match=tag)
        assert (changed.status, changed.body) == (200, b"two")
        assert changed.headers["etag"] != tag
    finally:
        stop_well(server)


# ---- connections

def test_a_connection_is_kept_for_many_requests(server):
    with Peer(server.port) as peer:
        for i in range(50):
            target = ("/", "/nothing", "/style.css", "/sub")[i % 4]
            peer.send(request(target))
            response = peer.response()
            assert response.status == (200, 404, 200, 301)[i % 4]
            assert response.headers["connection"] == "keep-alive"


def test_pipelined_requests_are_answered_in_order(server):
    with Peer(server.port) as peer:
        peer.send(request("/style.css") + request("/nothing") +
                  request("/big.bin") + request("/app.js", "HEAD") +
                  request("/", "POST") + request("/data.json") * 50)
        assert peer.response().body == b"a{}"
        assert peer.response().status == 404
        assert peer.response().body == BIG_BYTES
        assert peer.response(is_head=True).headers["content-length"] == "1"
        assert peer.response().status == 405
        for _ in range(50):
            assert peer.response().body == b"{}"


def test_pipelined_requests_byte_by_byte(server):
    with Peer(server.port) as peer:
        peer.drip(request("/style.css") + request("/data.json"))
        assert peer.response().body == b"a{}"
        assert peer.response().body == b"{}"


def test_requests_behind_a_connection_close_are_not_answered(server):
    with Peer(server.port) as peer:
        peer.send(request("/style.css", Connection="close") +
                  request("/data.json"))
        response = peer.response()
        assert response.headers["connection"] == "close"
        assert peer.finished() == b""


def test_http_1_0_ends_unless_it_asks_to_stay(server):
    with Peer(server.port) as peer:
        peer.send(request("/style.css", version="HTTP/1.0"))
        assert peer.response().headers["connection"] == "close"
        assert peer.finished() == b""
    with Peer(server.port) as peer:
        for _ in range(3):
            peer.send(request("/style.css", version="HTTP/1.0",
                              Connection="keep-alive"))
            assert peer.response().headers["connection"] == "keep-alive"


def test_a_get_and_then_an_upgrade_on_one_connection(server):
    with Peer(server.port) as peer:
        peer.send(request("/style.css"))
        assert peer.response().body == b"a{}"
        peer.open("/")
        peer.text("now a WebSocket")
        assert peer.message() == "now a WebSocket"


def test_a_get_an_upgrade_and_a_frame_in_one_write(server):
    with Peer(server.port) as peer:
        peer.send(request("/style.css") + request("/big.bin") +
                  peer.request("/") + encode(TEXT, b"pipelined"))
        assert peer.response().body == b"a{}"
        assert peer.response().body == BIG_BYTES
        assert peer.response().status == 101
        assert peer.message() == "pipelined"


def test_a_request_and_a_half_close_is_answered(server):
    with Peer(server.port) as peer:
        peer.send(request("/big.bin"))
        peer.half_close()
        response = peer.response()
        assert response.body == BIG_BYTES
        assert peer.finished() == b""


def test_an_upgrade_refused_ends_the_connection(server):
    with Peer(server.port) as peer:
        peer.send(request("/style.css"))
        peer.response()
        peer.send(peer.request(drop=["Sec-WebSocket-Key"]) +
                  request("/style.css"))
        assert peer.response().status == 400
        assert peer.finished() == b""


# ---- big files and slow readers

@pytest.mark.skipif(IS_TINY, reason="400 MB in pieces of 3 bytes")
def test_slow_readers_of_a_big_file_cost_no_memory(server):
    readers = [Peer(server.port, rcvbuf=8192) for _ in range(20)]
    before = memory(server.pid)[0]
    for peer in readers:
        peer.send(request("/big.bin"))
    # All are answered, and stand at what the kernel takes.
    for peer in readers:
        while b"\r\n\r\n" not in peer.reader.buffer:
            peer._fill()
    grown = memory(server.pid)[0] - before
    assert grown < (24 if IS_ASAN else 6) * 1024 * 1024, grown
    # A quick one is not held up by them.
    assert get(server, "/big.bin").body == BIG_BYTES
    # One of them reads on, to the last byte.
    assert readers[0].response().body == BIG_BYTES
    for peer in readers:
        peer.close()
    until(lambda: counters(server).get("connections", 0) == 0)


def test_downloads_that_are_cut_leak_no_descriptors(server):
    def descriptors():
        return len(os.listdir("/proc/%d/fd" % server.pid))

    before = descriptors()
    for leave in (Peer.reset, Peer.close):
        for _ in range(20):
            peer = Peer(server.port, rcvbuf=4096)
            peer.send(request("/big.bin") * 2)
            peer._fill()
            leave(peer)
    until(lambda: descriptors() <= before)


@pytest.fixture
def changing(tmp_path):
    app = write_app(tmp_path / "app", "", files={"f.bin": bytes(BIG)})
    server = Server(app, "--drain", "0s", "--no-reload")
    server.file = app / "public/f.bin"
    yield server
    stop_well(server)


def begun(server):
    """A download whose head has come, and not much more."""
    peer = Peer(server.port, rcvbuf=4096)
    peer.send(request("/f.bin") + request("/f.bin", "HEAD"))
    while b"\r\n\r\n" not in peer.reader.buffer:
        peer._fill()
    return peer


def test_a_file_that_shrinks_is_cut_not_passed_off_as_whole(changing):
    with begun(changing) as peer:
        os.truncate(changing.file, BIG // 2)
        with pytest.raises(Ended):
            peer.response()
        assert len(peer.reader.buffer) < BIG // 2 + 4096


def test_a_file_that_grows_comes_as_long_as_was_said(changing):
    with begun(changing) as peer:
        with open(changing.file, "ab") as f:
            f.write(b"more")
        assert len(peer.response().body) == BIG
        assert peer.response(is_head=True).headers["content-length"] == str(
            BIG + 4)


def test_a_file_that_is_replaced_comes_as_it_was(changing):
    with begun(changing) as peer:
        fresh = changing.file.with_name("fresh")
        fresh.write_bytes(b"new")
        fresh.replace(changing.file)
        assert peer.response().body == bytes(BIG)
        assert peer.response(is_head=True).headers["content-length"] == "3"


def test_a_file_that_is_removed_comes_to_its_end(changing):
    with begun(changing) as peer:
        changing.file.unlink()
        assert peer.response().body == bytes(BIG)
        assert peer.response(is_head=True).status == 404

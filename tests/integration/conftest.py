"""Servers for the tests of this directory.

A server that a test has used must also end well: at the end it gets SIGTERM,
has to exit with 0, and may have written nothing but log records to stderr (a
sanitizer's report would stand there).
"""
import pathlib

import pytest

from support import wires
from support.server import Server

ROOT = pathlib.Path(__file__).resolve().parents[2]


def pytest_generate_tests(metafunc):
    """A file that says WIRES = wires.ALL has its tests run over each."""
    names = getattr(metafunc.module, "WIRES", None)
    if names is not None:
        metafunc.parametrize("wire", names, indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def wire(request):
    """What servers and peers speak while the test runs."""
    with wires.use(getattr(request, "param", wires.PLAIN)) as name:
        yield name


def stop_well(server):
    try:
        code = server.stop()
        assert code == 0, server._told("exit code %d" % code)
        assert not server.noise, "\n".join(server.noise)
    finally:
        server.close()


def write_app(directory, source, conf=None, files=()):
    directory.mkdir(parents=True)
    (directory / "public").mkdir()
    (directory / "main.lua").write_text(source, encoding="utf-8")
    if conf is not None:
        (directory / "app.conf.lua").write_text(conf, encoding="utf-8")
    for name, data in dict(files).items():
        path = directory / "public" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return directory


@pytest.fixture
def serve(tmp_path, wire):
    """serve(main.lua, *options, conf=app.conf.lua, files={name: data})."""
    servers = []

    def start(source, *options, conf=None, files=(), env=None):
        app = write_app(tmp_path / ("app%d" % len(servers)), source, conf,
                        files)
        servers.append(Server(app, "--drain", "0s", *options, env=env))
        return servers[-1]

    yield start
    for server in servers:
        stop_well(server)


@pytest.fixture(scope="module")
def echo(wire):
    """apps/echo, one for all tests of a file."""
    server = Server(ROOT / "apps/echo", "--drain", "0s")
    yield server
    stop_well(server)

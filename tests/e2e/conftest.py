"""One browser for all tests of a run, one server for each test."""
import pytest

from support import wires
from support.browser import Browser
from support.server import ROOT, Server

APPS = ROOT / "apps"


@pytest.fixture(scope="session")
def chromium():
    ca = wires.ca()
    chain, _ = ca.issue("localhost")
    with Browser(trusts=[ca.fingerprint(chain)]) as browser:
        yield browser


@pytest.fixture
def browser(chromium):
    yield chromium
    chromium.close_tabs()


def pytest_generate_tests(metafunc):
    """As in tests/integration: over each wire that the file names."""
    names = getattr(metafunc.module, "WIRES", None)
    if names is not None:
        metafunc.parametrize("wire", names, indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def wire(request):
    with wires.use(getattr(request, "param", wires.PLAIN)) as name:
        yield name


@pytest.fixture
def serve(wire):
    """serve("chat") -> a server of a copy of that app, which may be edited."""
    servers = []

    def start(name, *options):
        server = Server(APPS / name, "--drain", "0s", *options, copy=True)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()

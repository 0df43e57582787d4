"""One browser for all tests of a run, one server for each test."""
import pytest

from support.browser import Browser
from support.server import ROOT, Server

APPS = ROOT / "apps"


@pytest.fixture(scope="session")
def chromium():
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium):
    yield chromium
    chromium.close_tabs()


@pytest.fixture
def serve():
    """serve("chat") -> a server of a copy of that app, which may be edited."""
    servers = []

    def start(name, *options):
        server = Server(APPS / name, "--drain", "0s", *options, copy=True)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()

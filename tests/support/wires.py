"""What tests of a running server speak: plain TCP or TLS, compressed or not.

A file of tests/integration that says

    from support import wires
    WIRES = wires.ALL

has all its tests run over each of them; servers and peers ask here. The
certificate authority is made on first use, for the life of the process.
"""
import atexit
import contextlib
import shutil

from support import authority, server

PLAIN, DEFLATE, TLS, BOTH = "plain", "deflate", "tls", "tls+deflate"
ALL = [PLAIN, DEFLATE, TLS, BOTH]
OFFER = "permessage-deflate; client_max_window_bits"

_now = PLAIN
_authority = None


def ca():
    global _authority
    if _authority is None:
        _authority = authority.Authority()
        atexit.register(shutil.rmtree, _authority.dir, ignore_errors=True)
    return _authority


def is_tls():
    return _now in (TLS, BOTH)


def is_packed():
    return _now in (DEFLATE, BOTH)


def offer():
    return OFFER if is_packed() else ""


def client_context():
    return ca().client_context() if is_tls() else None


def websockets_options():
    """For websockets.connect()."""
    options = {"compression": "deflate" if is_packed() else None}
    if is_tls():
        options["ssl"] = client_context()
    return options


@contextlib.contextmanager
def use(name):
    global _now
    before = _now, list(server.MORE_ARGS)
    _now = name
    if is_tls():
        chain, key = ca().issue("localhost")
        server.MORE_ARGS[:] = ["--tls-cert", chain, "--tls-key", key]
    try:
        yield name
    finally:
        _now, server.MORE_ARGS[:] = before


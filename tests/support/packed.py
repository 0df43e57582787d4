"""permessage-deflate (RFC 7692) for a rude peer: what it offers, and the two
directions as the answer says. Strict, as all that reads here."""
import re
import zlib

TAIL = b"\x00\x00\xff\xff"
PARAMS = {"server_no_context_takeover", "client_no_context_takeover",
          "server_max_window_bits", "client_max_window_bits"}


def parse_answer(header):
    """-> {parameter: value or None} of an accepting answer."""
    name, *rest = [part.strip() for part in header.split(";")]
    assert name == "permessage-deflate", header
    params = {}
    for part in rest:
        key, _, value = part.partition("=")
        assert key in PARAMS and key not in params, header
        is_bits = key.endswith("bits")
        assert is_bits == bool(value), header
        if is_bits:
            assert re.fullmatch("8|9|1[0-5]", value), header
        params[key] = int(value) if is_bits else None
    return params


class Codec:
    def __init__(self, params, level=6):
        self.server_bits = params.get("server_max_window_bits", 15)
        self.client_bits = params.get("client_max_window_bits", 15)
        self.server_keeps = "server_no_context_takeover" not in params
        self.client_keeps = "client_no_context_takeover" not in params
        self.level = level
        self._in = None
        self._out = None

    def pack(self, data):
        if not data:
            return b"\x00"
        if self._out is None or not self.client_keeps:
            self._out = zlib.compressobj(self.level, zlib.DEFLATED,
                                         -max(9, self.client_bits))
        packed = (self._out.compress(data)
                  + self._out.flush(zlib.Z_SYNC_FLUSH))
        assert packed.endswith(TAIL)
        return packed[:-4]

    def unpack(self, data):
        if self._in is None or not self.server_keeps:
            self._in = zlib.decompressobj(-self.server_bits)
        # Piece by piece, so that nothing helps but the agreed window.
        out = b""
        rest = data + TAIL
        while rest:
            out += self._in.decompress(rest, 100)
            rest = self._in.unconsumed_tail
        assert not self._in.eof and not self._in.unused_data
        return out

"""A rude WebSocket peer over a raw socket.

It sends whatever it is told, right or wrong, whole or in pieces, and reads
strictly: whatever the server must not send (RFC 6455) is a Violation.

    peer = Peer(server.port)
    peer.open("/room")                        # handshake; 101 or AssertionError
    peer.text("hello")
    peer.frame(0x9, b"x" * 126)               # no good peer would
    peer.frame(0x1, b"\\xff", rsv=4, mask=None, length_bytes=8)
    assert peer.message() == "hello"
    assert peer.closed() == (1002, "...")     # Close frame, then FIN
    peer.reset()                              # RST; or half_close(), close()

Peers speak over the wire of the moment (see support/wires.py): plain, TLS,
compressed. Where a test says neither, a peer's whole messages are compressed
if that was agreed on, and what it reads is inflated before it is judged.

MOONWIRE_TIME_FACTOR stretches every time-out; 4 under a sanitizer, else 1.
"""
import base64
import collections
import hashlib
import os
import re
import socket
import ssl
import struct
import time
import weakref

from support import packed, wires
from support.server import BINARY as SERVER


def is_sanitized(letters=b"at"):
    """Is the server under test built with a sanitizer (Address, Thread)?"""
    try:
        with open(SERVER, "rb") as file:
            return re.search(b"__[%s]san_init" % letters,
                             file.read()) is not None
    except OSError:
        return False


FACTOR = float(os.environ.get("MOONWIRE_TIME_FACTOR",
                              "4" if is_sanitized() else "1"))
HOST = "127.0.0.1"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x37\xfa\x21\x3d"

# So long one waits for what comes at once when all is well.
PATIENCE_S = 20 * FACTOR

Frame = collections.namedtuple("Frame", "fin opcode payload")
Response = collections.namedtuple("Response", "status reason headers body")


class Violation(AssertionError):
    """The server sent what it must not send."""


class Ended(Exception):
    """The stream ended (reset: by an RST)."""

    def __init__(self, reset=False):
        super().__init__("reset" if reset else "end of stream")
        self.reset = reset


def until(predicate, seconds=PATIENCE_S, what="", step=0.01):
    """Waits until predicate() is true; -> its value."""
    ends = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > ends:
            raise AssertionError("waited %.0f s in vain %s" % (seconds, what))
        time.sleep(step)


def masked(payload, key):
    if not payload:
        return b""
    n = len(payload)
    pad = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(payload, "big")
            ^ int.from_bytes(pad, "big")).to_bytes(n, "big")


def encode(opcode, payload=b"", fin=True, rsv=0, mask=MASK,
           length_bytes=None, length=None):
    """A frame as bytes.

    rsv: 0..7. mask: four bytes, or None for an unmasked frame.
    length_bytes: 0, 2 or 8 of extended length; None: the fewest that do.
    length: what the header claims; None: the truth.
    """
    claimed = len(payload) if length is None else length
    if length_bytes is None:
        length_bytes = 0 if claimed < 126 else 2 if claimed < 65536 else 8
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask is not None else 0
    if length_bytes == 0:
        head += bytes([bit | claimed])
    elif length_bytes == 2:
        head += bytes([bit | 126]) + struct.pack("!H", claimed)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", claimed)
    if mask is None:
        return head + payload
    return head + mask + masked(payload, mask)


def close_payload(code, reason=""):
    return struct.pack("!H", code) + reason.encode()


def parse_close(payload):
    """-> (code, reason); (1005, "") if it has no body."""
    if not payload:
        return 1005, ""
    return struct.unpack("!H", payload[:2])[0], payload[2:].decode()


class FrameReader:
    """Bytes -> frames, strictly. feed() what comes; take() what is whole."""

    def __init__(self):
        self.buffer = bytearray()
        self.is_closed = False      # a Close has come
        self.codec = None           # of permessage-deflate
        self.packed = 0             # frames that came compressed
        self.packed_bytes = 0
        self._opcode = None         # of the message under way
        self._text = bytearray()

    def feed(self, data):
        self.buffer += data

    def take(self):
        """-> the next Frame, or None."""
        b = self.buffer
        if len(b) < 2:
            self._check_first(b)
            return None
        self._check_first(b)
        n, at = b[1] & 0x7f, 2
        if n >= 126:
            at = 4 if n == 126 else 10
            if len(b) < at:
                return None
            n = int.from_bytes(b[2:at], "big")
            if n < (126 if at == 4 else 65536):
                raise Violation("length %d in %d bytes" % (n, at - 2))
        if len(b) < at + n:
            return None
        payload = bytes(b[at:at + n])
        if b[0] & 0x40:
            if not b[0] & 0x80:
                raise Violation("a compressed message in fragments")
            self.packed += 1
            self.packed_bytes += n
            payload = self.codec.unpack(payload)
        frame = Frame(bool(b[0] & 0x80), b[0] & 0x0f, payload)
        del b[:at + n]
        self._check_frame(frame)
        return frame

    def _check_first(self, b):
        # Only a Pong may follow: it answers a Ping that crossed the Close.
        if b and self.is_closed and b[0] != 0x80 | PONG:
            raise Violation("%d bytes after a Close" % len(b))
        rsv1 = 0x40 if self.codec and b and b[0] & 0x0f in (1, 2) else 0
        if b and b[0] & 0x70 & ~rsv1:
            raise Violation("reserved bits in %02x" % b[0])
        if b and b[0] & 0x0f not in (CONT, TEXT, BINARY, CLOSE, PING, PONG):
            raise Violation("opcode in %02x" % b[0])
        if len(b) > 1 and b[1] & 0x80:
            raise Violation("a masked frame")

    def _check_frame(self, frame):
        if frame.opcode >= CLOSE:
            if not frame.fin or len(frame.payload) > 125:
                raise Violation("control frame %r" % (frame,))
            if frame.opcode == CLOSE:
                self._check_close(frame.payload)
            return
        if (frame.opcode == CONT) != (self._opcode is not None):
            raise Violation("opcode %d within a message of %r"
                            % (frame.opcode, self._opcode))
        opcode = frame.opcode or self._opcode
        self._opcode = None if frame.fin else opcode
        if opcode == TEXT:
            self._text += frame.payload
            if frame.fin:
                self._check_utf8(bytes(self._text))
                self._text.clear()

    def _check_close(self, payload):
        self.is_closed = True
        if len(payload) == 1:
            raise Violation("a Close of one byte")
        if payload:
            code = struct.unpack("!H", payload[:2])[0]
            if (not 1000 <= code <= 4999 or code in (1004, 1005, 1006, 1015)
                    or 1016 <= code < 3000):
                raise Violation("close code %d" % code)
            self._check_utf8(payload[2:])

    @staticmethod
    def _check_utf8(data):
        try:
            data.decode()
        except UnicodeDecodeError as e:
            raise Violation("text is not UTF-8: %s" % e) from None


class Peer:
    """One connection. rcvbuf: SO_RCVBUF, set before it connects."""

    everybody = weakref.WeakSet()

    def __init__(self, port, host=HOST, rcvbuf=None, timeout=PATIENCE_S,
                 tls=None, offer=None, front=()):
        """front: pieces of what stands in front of everything, TLS too; the
        last comes in one packet with what follows. tls: an ssl context, False: none; offer: for
        Sec-WebSocket-Extensions, "": none. None: as the wire has it."""
        self.offer = wires.offer() if offer is None else offer
        tls = wires.client_context() if tls is None else tls
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if rcvbuf is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout = timeout
        self.sock.settimeout(timeout)
        self.sock.connect((host, port))
        for i, piece in enumerate(front, 1):
            self.sock.sendall(
                piece, socket.MSG_MORE if i == len(front) else 0)
        if tls:
            # An end without close_notify is none, and how a reset shows.
            self.sock = tls.wrap_socket(self.sock, suppress_ragged_eofs=False,
                                        server_hostname="localhost")
        Peer.everybody.add(self)
        self.host = "%s:%d" % (host, port)
        self.reader = FrameReader()
        self.sends_packed = True
        self.pings = []     # payloads of pings read, in order
        self.answers_pings = True
        self.was_reset = False      # what rest() came to was an RST

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- handshake

    def request(self, path="/", headers=(), key=None, drop=(), method="GET",
                version="HTTP/1.1"):
        """A handshake as bytes. headers: further (name, value) pairs; one
        whose name is there already replaces it. drop: names left out."""
        self.key = key or base64.b64encode(os.urandom(16)).decode()
        lines = [("Host", self.host), ("Upgrade", "websocket"),
                 ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
                 ("Sec-WebSocket-Key", self.key)]
        if self.offer:
            lines.append(("Sec-WebSocket-Extensions", self.offer))
        given = {name.lower() for name, _ in headers}
        lines = [(n, v) for n, v in lines if n.lower() not in given]
        lines += list(headers)
        gone = {name.lower() for name in drop}
        text = "%s %s %s\r\n" % (method, path, version)
        text += "".join("%s: %s\r\n" % (n, v) for n, v in lines
                        if n.lower() not in gone)
        return (text + "\r\n").encode("latin-1")

    def open(self, path="/", headers=(), pipelined=b""):
        """The whole handshake; `pipelined` rides in the same packet."""
        self.agreed = None          # the answer to our offer
        self.send(self.request(path, headers) + pipelined)
        response = self.response()
        assert response.status == 101, response
        accept = base64.b64encode(
            hashlib.sha1(self.key.encode() + GUID).digest()).decode()
        assert response.headers.get("sec-websocket-accept") == accept, response
        assert response.headers.get("upgrade", "").lower() == "websocket"
        # RFC 6455 4.1: a client fails the connection without this token, and
        # over an extension or a protocol that it did not ask for.
        assert response.headers.get("connection", "").lower() == "upgrade"
        asked = {name.lower() for name, _ in headers}
        for name, is_asked in (
                ("sec-websocket-extensions",
                 self.offer or "sec-websocket-extensions" in asked),
                ("sec-websocket-protocol", "sec-websocket-protocol" in asked)):
            assert is_asked or name not in response.headers, response
        self.agreed = response.headers.get("sec-websocket-extensions")
        if self.agreed is not None:
            self.reader.codec = packed.Codec(
                packed.parse_answer(self.agreed))
        return self

    def response(self, is_head=False):
        """Reads a response. Its body is read if it is no 101 and says how
        long it is; what follows a 101 is left to the frame reader. is_head:
        the answer to a HEAD request, whose length is that of no body."""
        b = self.reader.buffer
        while b"\r\n\r\n" not in b:
            self._fill()
        head, _, rest = bytes(b).partition(b"\r\n\r\n")
        del b[:]
        lines = head.decode("latin-1").split("\r\n")
        version, status, reason = (lines[0].split(" ", 2) + [""])[:3]
        assert version == "HTTP/1.1", lines[0]
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            assert colon and name == name.strip(), line
            name = name.lower()
            value = value.strip()
            headers[name] = (headers[name] + ", " + value if name in headers
                             else value)
        if int(status) == 101:
            b += rest
            return Response(101, reason, headers, b"")
        n = 0 if is_head else int(headers.get("content-length", "0"))
        b += rest
        while len(b) < n:
            self._fill()
        body = bytes(b[:n])
        del b[:n]
        return Response(int(status), reason, headers, body)

    # ---- out

    def send(self, data):
        self.sock.sendall(data)

    def drip(self, data, size=1, pause=0.0):
        """Sends piece by piece, each as a packet of its own."""
        for i in range(0, len(data), size):
            self.send(data[i:i + size])
            if pause:
                time.sleep(pause)

    def frame(self, opcode, payload=b"", **how):
        codec = self.reader.codec
        if codec and self.sends_packed and not how and opcode in (TEXT, BINARY):
            payload, how = codec.pack(payload), {"rsv": 4}
        self.send(encode(opcode, payload, **how))

    def text(self, text, **how):
        data = text.encode() if isinstance(text, str) else text
        self.frame(TEXT, data, **how)

    def binary(self, data, **how):
        self.frame(BINARY, data, **how)

    # ---- in

    def _fill(self):
        try:
            data = self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            raise Ended(reset=True) from None
        if not data:
            raise Ended()
        self.reader.feed(data)

    def next_frame(self):
        """-> the next Frame, whatever it is. Raises Ended."""
        while True:
            frame = self.reader.take()
            if frame is not None:
                return frame
            self._fill()

    def _is_ping(self, frame):
        if frame.opcode != PING:
            return False
        self.pings.append(frame.payload)
        if self.answers_pings:
            self.frame(PONG, frame.payload)
        return True

    def message(self):
        """-> str or bytes; pings are answered, pongs read over."""
        parts, opcode = [], None
        while True:
            frame = self.next_frame()
            if frame.opcode == CLOSE:
                raise AssertionError("closed: %s %s"
                                     % parse_close(frame.payload))
            if frame.opcode >= CLOSE:
                self._is_ping(frame)
                continue
            opcode = frame.opcode or opcode
            parts.append(frame.payload)
            if frame.fin:
                data = b"".join(parts)
                return data.decode() if opcode == TEXT else data

    def messages(self, n):
        return [self.message() for _ in range(n)]

    def pong(self):
        """-> the payload of the next pong; data frames are an error."""
        while True:
            frame = self.next_frame()
            if frame.opcode == PONG:
                return frame.payload
            assert self._is_ping(frame), frame

    def is_silent(self, seconds=0.2):
        """Does nothing come for so long?"""
        if self.reader.buffer:
            return False
        self.sock.settimeout(seconds)
        try:
            self._fill()
            return False
        except socket.timeout:
            return True
        except Ended:
            return False
        finally:
            self.sock.settimeout(self.timeout)

    def rest(self, answers_close=True):
        """-> (frames, how it ended): all that still comes. How: (code,
        reason) of the Close frame, "fin", or "reset". Our Close is sent in
        answer, and after a Close the stream has to end. answers_close=False:
        it has to end without a word of ours."""
        frames, how = [], None
        while True:
            try:
                frame = self.next_frame()
            except Ended as end:
                self.was_reset = end.reset
                if self.reader.buffer and not end.reset:
                    raise Violation("the stream ends within a frame")
                return frames, how or ("reset" if end.reset else "fin")
            if frame.opcode == CLOSE:
                how = parse_close(frame.payload)
                try:
                    if answers_close:
                        self.frame(CLOSE, frame.payload)
                except OSError:
                    pass    # it has cut us off already
            elif not self._is_ping(frame):
                frames.append(frame)

    def closed(self):
        """-> (code, reason) of the Close that comes before anything else;
        then the stream must end."""
        frames, how = self.rest()
        assert not frames, frames
        return how

    def finished(self):
        """-> bytes that come before the server's FIN; an RST raises."""
        while True:
            try:
                self._fill()
            except Ended as end:
                if end.reset:
                    raise
                data = bytes(self.reader.buffer)
                del self.reader.buffer[:]
                return data

    # ---- ends

    def goodbye(self, code=1000, reason=""):
        """Our Close; -> theirs."""
        self.frame(CLOSE, close_payload(code, reason))
        frames, how = self.rest()
        return how

    def half_close(self):
        # Past TLS, if there is any, whose other half goes on.
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def reset(self):
        """RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

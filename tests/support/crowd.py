"""Many clients that listen, while the test does something else.

    with Crowd() as crowd:
        peers = [crowd.add(Peer(port).open()) for _ in range(100)]
        ...
        crowd.wait(lambda: all(len(p.heard) == 3 for p in peers))

A thread reads for all of them and puts each message into its peer's `heard`;
how a stream ended is in `end`: None, (code, reason), "fin" or "reset". It
writes nothing: Pings are for tests of their own.
"""
import selectors
import threading
import time

from support.wire import CLOSE, PATIENCE_S, PING, TEXT, parse_close


class Crowd(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self._selector = selectors.DefaultSelector()
        self._grown = threading.Condition()
        self._is_over = False
        self.error = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._is_over = True
        self.join()
        self._selector.close()

    def add(self, peer):
        peer.heard, peer.end = [], None
        self._take_frames(peer)     # what came with the handshake
        peer.sock.setblocking(True)
        self._selector.register(peer.sock, selectors.EVENT_READ, peer)
        return peer

    def wait(self, predicate, seconds=PATIENCE_S, what=""):
        """Until predicate() is true of what has been heard."""
        ends = time.monotonic() + seconds
        with self._grown:
            while not predicate():
                if self.error is not None:
                    raise self.error
                left = ends - time.monotonic()
                assert left > 0, "waited %.0f s in vain %s" % (
                    seconds, what() if callable(what) else what)
                self._grown.wait(min(left, 0.1))

    def run(self):
        try:
            while not self._is_over:
                for key, _ in self._selector.select(0.05):
                    self._read(key.data)
                with self._grown:
                    self._grown.notify_all()
        except Exception as e:      # for the test, which is elsewhere
            self.error = e

    def _read(self, peer):
        try:
            data = peer.sock.recv(1 << 20)
            how = "fin"
        except ConnectionResetError:
            data, how = b"", "reset"
        if not data:
            peer.end = peer.end or how
            self._selector.unregister(peer.sock)
            return
        peer.reader.feed(data)
        self._take_frames(peer)

    @staticmethod
    def _take_frames(peer):
        while (frame := peer.reader.take()) is not None:
            if frame.opcode == CLOSE:
                peer.end = parse_close(frame.payload)
            elif frame.opcode != PING:
                assert frame.fin
                peer.heard.append(frame.payload.decode()
                                  if frame.opcode == TEXT else frame.payload)

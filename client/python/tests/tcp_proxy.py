"""A small TCP proxy that cuts: between a client and a server of a test, in threads."""

from __future__ import annotations

import socket
import threading


class TcpProxy:
    """Listens on a free port of 127.0.0.1 and passes bytes to `target` ("HOST:PORT")."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._mute = False
        self._closed = False
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Resets every connection, and lets the answers of later ones through."""
        with self._lock:
            self._mute = False
            broken, self._sockets = self._sockets, set()
        for each in broken:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:  # its other side was faster
                pass
            each.close()

    def swallow_answers(self) -> None:
        """From now on nothing comes back from the server, until cut()."""
        with self._lock:
            self._mute = True

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._listener.shutdown(socket.SHUT_RDWR)  # close alone does not end an accept
        self._listener.close()
        self.cut()

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:  # the server is down: so are we
                near.close()
                continue
            with self._lock:
                if self._closed:
                    near.close()
                    far.close()
                    return
                self._sockets |= {near, far}
                self.connections += 1
            for source, sink, answers in ((near, far, False), (far, near, True)):
                threading.Thread(
                    target=self._pass, args=(source, sink, answers), daemon=True
                ).start()

    def _swallows(self, source: socket.socket) -> bool:
        with self._lock:
            # One that was cut says nothing more, though it may not have noticed yet.
            return self._mute or source not in self._sockets

    def _pass(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while chunk := source.recv(1 << 16):
                if not (answers and self._swallows(source)):
                    sink.sendall(chunk)
        except OSError:  # cut
            pass
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:  # already
                pass

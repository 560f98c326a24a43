"""A unix socket that a thread of the harness listens at."""

import socket
import threading


class Listener:
    """serve(sock) is called with each connection, in a thread of its own when `many`; it closes the connection."""

    def __init__(self, path, serve, many=False):
        self._path = path
        self._serve = serve
        self._many = many
        path.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        path.chmod(0o666)
        self._server.listen(50)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self):
        """Closing alone does not wake the thread, and once a signal has it would go on at whatever has the number
        of the socket by then: at another test's."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        assert not self._thread.is_alive(), "the listener goes on"
        self._server.close()
        self._path.unlink(missing_ok=True)

    def _accept(self):
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return  # closed
            if self._many:
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()
            else:
                self._serve(sock)

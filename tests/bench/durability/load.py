"""Many LMTP connections from one thread, at a small price: the client must not be what is measured."""

import itertools
import selectors
import socket
import time

HEAD = ("Message-ID: <bench-{0}@lab.invalid>\r\nFrom: sender@lab.invalid\r\nTo: {1}\r\nSubject: {0}\r\n"
        "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\n")
BODY = ("x" * 70 + "\r\n") * 15 + ".\r\n"
_number = itertools.count(1)
_senders = itertools.count(1)


class Connection:
    """One mail after the other; replies are counted, not looked at but for their codes."""

    def __init__(self, host, port, users):
        self.sock = host.connect(port, 30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else ends of mails wait for an ACK
        self.sock.setblocking(False)
        self.sender = f"s{next(_senders)}@lab.invalid"  # mails of one sender to one user seldom come at once
        self.users = itertools.cycle(users)
        self.text = b""
        self.wanted = [b"220"]
        self.step = self._hello
        self.began = 0.0

    def take(self, done):
        """Bytes have come. done: (began, ended) of each mail that was answered with 250 is added."""
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        *lines, self.text = (self.text + data).split(b"\n")
        for line in lines:
            if line[3:4] == b"-":
                continue
            if line[:3] != self.wanted[0]:
                raise ConnectionError(f"{line!r} came, not {self.wanted[0]!r}")
            del self.wanted[0]
            if not self.wanted:
                self.step(done)

    def _say(self, data, wanted, step):
        self.sock.send(data)  # small enough for the socket's buffer
        self.wanted, self.step = wanted, step

    def _hello(self, _):
        self._say(b"LHLO bench.lab.invalid\r\n", [b"250"], self._envelope)

    def _envelope(self, _):
        user = next(self.users)
        self.mail = (HEAD.format(next(_number), user) + BODY).encode()
        self.began = time.monotonic()
        self._say(f"MAIL FROM:<{self.sender}>\r\nRCPT TO:<{user}>\r\nDATA\r\n".encode(),
                  [b"250", b"250", b"354"], self._content)

    def _content(self, _):
        self._say(self.mail, [b"250"], self._accepted)

    def _accepted(self, done):
        done.append((self.began, time.monotonic()))
        self._envelope(done)


def deliver(host, port, connections, users, seconds):
    """[(began, ended)] of the mails that were accepted."""
    done = []
    with selectors.DefaultSelector() as selector:
        for first in range(connections):
            one = Connection(host, port, users[first:] + users[:first])
            selector.register(one.sock, selectors.EVENT_READ, one)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, _ in selector.select(0.2):
                key.data.take(done)
        for key in list(selector.get_map().values()):
            key.fileobj.close()
    return done

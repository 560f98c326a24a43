"""Delivering mail by LMTP, and remembering exactly what was accepted."""

import contextlib
import itertools
import os
import socket
import threading
import time

from .dovecot import LMTP_PORT

_counter = itertools.count(1)


def message(number, user, size=1200, ident=None):
    """A small mail with an id that says which it is: (id, bytes)."""
    ident = ident or f"lab-{os.getpid()}-{number}@lab.invalid"
    head = (f"Message-ID: <{ident}>\r\nFrom: sender@lab.invalid\r\nTo: {user}\r\n"
            f"Subject: message {number}\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\n")
    line = (f"This is line {{}} of message {number}. ").ljust(70, "x") + "\r\n"
    body = "".join(line.format(row) for row in range(max(1, (size - len(head)) // 72)))
    return ident, (head + body).encode()


class Delivered:
    """One mail that was answered with 250."""

    __slots__ = ("ident", "user", "sent", "accepted", "size")

    def __init__(self, ident, user, sent, accepted, size):
        self.ident = ident
        self.user = user
        self.sent = sent            # time.monotonic() when the transaction began
        self.accepted = accepted    # when its 250 was here
        self.size = size


class LmtpError(Exception):
    """The server gave another answer than the expected one."""


class LmtpClient:
    """One connection for any number of mails."""

    def __init__(self, host, timeout=20, port=LMTP_PORT):
        self.sock = host.connect(port, timeout)
        self.file = self.sock.makefile("rb")
        self._expect(b"220")
        self._command(b"LHLO client.lab.invalid\r\n", b"250")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def close(self):
        self.file.close()
        self.sock.close()

    def ask(self, text):
        """Says it, and returns the reply to it."""
        self.sock.sendall(text)
        return self.reply()

    def reply(self):
        """The next reply: its last line."""
        while True:
            line = self.file.readline()
            if not line:
                raise LmtpError("the connection ended")
            if line[3:4] != b"-":
                return line.decode().rstrip("\r\n")

    def send(self, users, data):
        """One mail for all of them: the reply to each."""
        recipients = "".join(f"RCPT TO:<{user}>\r\n" for user in users)
        self.sock.sendall(f"MAIL FROM:<sender@lab.invalid>\r\n{recipients}DATA\r\n".encode())
        for code in (b"250", *(b"250" for _ in users), b"354"):
            self._expect(code)
        self.sock.sendall(data + b".\r\n")
        return [self.reply() for _ in users]

    def _expect(self, code):
        while True:
            line = self.file.readline()
            if not line:
                raise LmtpError("the connection ended")
            if not line.startswith(code):
                raise LmtpError(line.decode(errors="replace").strip())
            if line[3:4] != b"-":
                return

    def _command(self, text, code):
        self.sock.sendall(text)
        self._expect(code)

    def deliver(self, user, size=1200, ident=None):
        """Returns Delivered once the server has taken the mail."""
        ident, data = message(next(_counter), user, size, ident)
        return self.deliver_bytes(user, data, ident)

    def deliver_bytes(self, user, data, ident=None):
        """The same with a mail of the caller's."""
        sent = time.monotonic()
        self.begin(user, data)
        self.end()
        return Delivered(ident, user, sent, time.monotonic(), len(data))

    def begin(self, user, data):
        """All but the answer to it."""
        self.sock.sendall(f"MAIL FROM:<sender@lab.invalid>\r\nRCPT TO:<{user}>\r\nDATA\r\n".encode())
        for code in (b"250", b"250", b"354"):
            self._expect(code)
        self.sock.sendall(data + b".\r\n")

    def end(self):
        self._expect(b"250")


class LmtpLoad:
    """A thread that delivers to the users in turn; history is what was accepted. rate: mails a second,
    None for as many as the server takes. Connections that break are made again, as an MTA does."""

    def __init__(self, host, users, rate=None, size=1200, after=None, port=LMTP_PORT):
        self.host = host
        self.port = port
        self.users = itertools.cycle(users)
        self.rate = rate
        self.size = size
        self.after = after  # called with each Delivered before the next one is sent
        self.history = []
        self.errors = 0
        self._client = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def stop(self):
        """Ends after the mail under way, which nobody answers when the host is down; returns the history."""
        self._stop.set()
        client = self._client
        if client is not None and not self.host.up:
            with contextlib.suppress(OSError):
                client.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(60)
        return self.history

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        self.stop()

    def _work(self):
        while not self._stop.is_set():
            try:
                with LmtpClient(self.host, port=self.port) as client:
                    self._client = client
                    self._deliver(client)
            except (OSError, LmtpError):
                self.errors += 1
                self._stop.wait(0.05)

    def _deliver(self, client):
        due = time.monotonic()
        while not self._stop.is_set():
            if self.rate:
                due = max(due + 1 / self.rate, time.monotonic() - 1)
                self._stop.wait(max(0.0, due - time.monotonic()))
            done = client.deliver(next(self.users), self.size)
            self.history.append(done)
            if self.after:
                self.after(done)

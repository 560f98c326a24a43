"""When does a mail appear on the standby? inotify on the new and cur of some INBOXes; mails are known by
their Message-ID, as dsync gives them other file names."""

import ctypes
import os
import select
import struct
import threading
import time

from lab.mail import IDENT

IN_MOVED_TO, IN_CREATE, IN_CLOSE_WRITE = 0x80, 0x100, 0x8
_libc = ctypes.CDLL(None, use_errno=True)


class Arrivals:
    """at: {Message-ID: time.monotonic() of its appearance}."""

    def __init__(self, host, users):
        self.at = {}
        self.fd = _libc.inotify_init1(os.O_CLOEXEC)
        self.folders = {}
        for user in users:
            name, _, domain = user.partition("@")
            for part in ("new", "cur"):
                self._watch(host.path(f"{host.mail}/{domain}/{name}/{part}"))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _watch(self, path):
        watch = _libc.inotify_add_watch(self.fd, os.fsencode(path), IN_MOVED_TO | IN_CREATE)
        if watch < 0:
            raise OSError(ctypes.get_errno(), f"inotify_add_watch {path}")
        self.folders[watch] = os.fsencode(path)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self._stop.set()
        self._thread.join(10)
        os.close(self.fd)

    def _work(self):
        while not self._stop.is_set():
            if select.select([self.fd], [], [], 0.2)[0]:
                data = os.read(self.fd, 1 << 20)
                self._take(data, time.monotonic())

    def _take(self, data, now):
        offset = 0
        while offset < len(data):
            watch, _, _, length = struct.unpack_from("iIII", data, offset)
            name = data[offset + 16:offset + 16 + length].rstrip(b"\0")
            offset += 16 + length
            if name and not name.startswith(b"."):  # rsync's temporary names begin with a dot
                self._note(os.path.join(self.folders[watch], name), now)

    def _note(self, path, now):
        try:
            with open(path, "rb") as file:
                match = IDENT.search(file.read(512))
        except FileNotFoundError:
            return
        if match:
            self.at.setdefault(match.group(1).decode(), now)

"""Sockets in another network namespace. setns(2) moves only the calling thread, so a client thread can
open a socket in the lab's network and go on; the socket stays where it was made."""

import contextlib
import ctypes
import os
import socket

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def _namespace(process):
    fd = os.open(f"/proc/{process}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def inside(pid):
    """The calling thread is in the network of process pid."""
    with _namespace("thread-self") as home, _namespace(pid) as there:
        _setns(there)
        try:
            yield
        finally:
            _setns(home)


def connect(pid, address, timeout):
    """A TCP connection from the network of process pid."""
    with inside(pid):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock

"""Hosts of the lab that are virtual machines with Debian's own kernel: for what namespaces cannot show.

    with VmLab(["mx1", "mx2"], disks={"data": 256}) as lab:
        lab.boot()
        lab["mx1"].run("mkfs.ext4", "-q", lab["mx1"].disk("data"))

Whatever the lab does with a host by run(), spawn() and connect(), it does with these: Dovecot, the daemon, the gate, clients.
See docs/testing.md."""

from .image import Unavailable
from .lab import VmLab

__all__ = ["Unavailable", "VmLab"]

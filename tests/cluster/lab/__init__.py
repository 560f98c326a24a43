"""The cluster lab: hosts made of namespaces, each with its own disks, Dovecot and mailtwin.

    with Lab(["mx1", "mx2"]) as lab:
        lab.start()                                 # disks, Dovecot on mx1, the daemons
        with lab.lmtp("mx1") as lmtp:
            lmtp.deliver("ann@example.org")
        lab.level()                                 # mx2 has all that mx1 has
        lab.same()                                  # verify and the independent compare agree

See docs/testing.md."""

from .lab import Lab
from .wait import LabTimeout, wait_until

__all__ = ["Lab", "LabTimeout", "wait_until"]

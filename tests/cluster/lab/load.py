"""The mix of everything a mail server's stores go through, running beside the faults."""

import contextlib

from .chaos import FilesChaos, MaildirWriter, Steps
from .imap import ImapLoad
from .lmtp import LmtpLoad
from .wait import wait_until

ANN, BOB = "ann@example.org", "bob@example.org"
DIRECT = "example.org/direct"  # the user whose Maildir is written past Dovecot


class Mix:
    """LMTP to two users, IMAP work on one of them, a program that writes a Maildir itself, chaos in the
    files store: all on `host` until the end of the with block."""

    def __init__(self, host, seed=1, rate=60):
        self.host = host
        self.lmtp = LmtpLoad(host, [ANN, BOB], rate=rate)
        self.imap = ImapLoad(host, ANN, seed)
        self.direct = Steps(host, MaildirWriter(host.path(host.mail) / DIRECT, seed), rate)
        self.files = Steps(host, FilesChaos(host.path(host.files), seed), rate)
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for part in (self.lmtp, self.imap, self.direct, self.files):
                stack.enter_context(part)
            self.wait_steps(1)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind, value, trace):
        self._stack.close()

    def kept(self):
        """What was accepted for the user whose mail nobody deletes: it has to be there in the end."""
        return [one for one in self.lmtp.history if one.user == BOB]

    def done(self):
        """What each part has done so far."""
        return [len(self.lmtp.history), self.imap.done, self.direct.done, self.files.done]

    def wait_steps(self, steps, within=60):
        """Until each part has done that many steps more."""
        goal = [done + steps for done in self.done()]
        wait_until(lambda: all(done >= end for done, end in zip(self.done(), goal)), within,
                   lambda: f"the load does not go on: {self.done()} of {goal}; IMAP: {self.imap.last_error}, "
                   f"{self.imap.errors} errors, LMTP: {self.lmtp.errors} errors")

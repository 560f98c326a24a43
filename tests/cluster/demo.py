#!/usr/bin/python3
"""The demonstration: a pair of mail servers on this machine, a crash, a takeover. Needs root.

Two hosts made of namespaces, each with its own disks, network and Dovecot. Mail is delivered by LMTP to
mx1 while mailtwin streams it to mx2; mx1 dies in the middle; mx2 is promoted and serves the same mail.
Exit status: 0 all of it held, 1 not."""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lab import Lab, mail, wait_until  # noqa: E402
from lab.imap import ImapClient  # noqa: E402
from lab.lmtp import LmtpLoad  # noqa: E402

ANN = "ann@example.org"
USERS = [ANN, "bob@example.org", "eve@example.org"]
BOLD, GREEN, RED, PLAIN = ("\033[1m", "\033[32m", "\033[31m", "\033[0m") if sys.stdout.isatty() else ("",) * 4
BEGAN = time.monotonic()


def say(text):
    print(f"{BOLD}[{time.monotonic() - BEGAN:5.1f} s]{PLAIN} {text}", flush=True)


def show(text):
    for line in text.rstrip().splitlines():
        print(f"          | {line}", flush=True)


class Demo:
    """What was promised is noted as it is checked."""

    def __init__(self, lab):
        self.lab = lab
        self.old, self.new = lab["mx1"], lab["mx2"]
        self.checks = []
        self.acked = []
        self.known = {}

    def check(self, held, text):
        self.checks.append((bool(held), text))
        print(f"          {GREEN + 'ok  ' if held else RED + 'NOT '}{PLAIN} {text}", flush=True)

    # --- the scenes ---

    def build(self):
        say("Two hosts, mx1 and mx2: own processes, network, disks, clock of boot.")
        self.lab.boot()
        say("Certificates: an authority on mx1, one for each node.")
        self.lab.pki()
        say("The daemons start; mx1 is made primary, mx2 follows it; Dovecot serves on mx1.")
        for host in (self.old, self.new):
            host.daemon.start()
        self.old.mailtwin("promote")
        self.old.dovecot.start()
        self.lab.wait_level(self.old)

    def use(self):
        say(f"A client reads {ANN}'s mail on mx1, marks some, makes a folder, and remembers what it saw.")
        with self.lab.lmtp("mx1") as lmtp:
            for _ in range(20):
                self.acked.append(lmtp.deliver(ANN))
        with ImapClient(self.old, ANN) as client:
            client.select()
            client.uid("STORE", [2, 3, 5], "+FLAGS", "(\\Seen \\Flagged)")
            client.do("create", '"Projects"')
            client.uid("MOVE", [7, 8], '"Projects"')
            self.known = client.view()
        self.old.mailtwin("barrier", "--timeout", "10s")

    def deliver_until_death(self):
        say("Mail comes in, 50 a second. After each mail the sender asks for the barrier: is it safe on mx2?")
        self.asked = []
        before = len(self.acked)
        with LmtpLoad(self.old, USERS, rate=50, after=self._ask) as load:
            wait_until(lambda: len(load.history) >= 60, 30, "sixty mails")
            say("mailtwin status, on mx1, in the middle of it:")
            show(self.old.mailtwin("status").stdout)
            wait_until(lambda: len(load.history) >= 120, 30, "more mails")
            say("mx1 dies: SIGKILL to everything that runs on it, at once.")
            self.died = time.monotonic()
            self.old.halt()
        self.history = load.history
        self.accepted = before + len(load.history)

    def _ask(self, delivered):
        began = time.monotonic()
        if self.old.mailtwin("barrier", "--timeout", "10s", check=False).returncode == 0:
            self.asked.append(time.monotonic() - began)
            self.acked.append(delivered)

    def take_over(self):
        say("mx2 is promoted by hand, and its Dovecot starts.")
        self.new.mailtwin("promote", "--force")
        self.new.daemon.wait_role("primary")
        self.new.dovecot.start()
        with ImapClient(self.new, ANN) as client:
            self.outage = time.monotonic() - self.died
            self.seen = client.view()
        show(self.new.mailtwin("status").stdout)

    def judge(self):
        say("Does it hold what it promised?")
        missing = mail.missing(self.acked, self.new.path(self.new.mail))
        self.check(not missing, f"every mail that was said to be safe is on mx2 ({len(self.acked)} of "
                   f"{self.accepted} delivered; {len(missing)} missing)")
        same = all(self.seen[folder][0] == validity for folder, (validity, _) in self.known.items()
                   if folder in self.seen)
        self.check(same and self.seen.keys() >= self.known.keys(), "the client finds its folders with the same UIDVALIDITY")
        self.check(self._uids_kept(), "every mail it knew has the same UID and the same flags")
        with self.lab.lmtp("mx2") as lmtp:
            fresh = lmtp.deliver(ANN)
        with ImapClient(self.new, ANN) as client:
            _, mails = client.identity()
        self.check(mails[max(mails)][0] == fresh.ident, "mx2 takes new mail, with a UID above all others")
        unsafe = mail.missing(self.history, self.new.path(self.new.mail))
        self.check(len(unsafe) <= 1, f"at most the one mail under way at the crash is not on mx2 ({len(unsafe)})")

    def _uids_kept(self):
        return all(self.seen.get(folder, (0, {}))[1].get(uid) == what
                   for folder, (_, mails) in self.known.items() for uid, what in mails.items())

    def summary(self):
        waits = sorted(self.asked)
        held = sum(1 for fine, _ in self.checks if fine)
        say("Summary")
        show(f"delivered {self.accepted}, safe on the standby {len(self.acked)}, of these found on mx2 "
             f"{len(self.acked) - len(mail.missing(self.acked, self.new.path(self.new.mail)))}\n"
             f"wait for the barrier, with starting the command: median {waits[len(waits) // 2] * 1000:.1f} ms, "
             f"longest {waits[-1] * 1000:.1f} ms\n"
             f"from the death of mx1 to the first IMAP login on mx2: {self.outage:.2f} s\n"
             f"{held} of {len(self.checks)} promises held")
        return all(fine for fine, _ in self.checks)


def main():
    if os.geteuid() != 0:
        print("demo: needs root, to make namespaces and mounts", file=sys.stderr)
        return 1
    with Lab(["mx1", "mx2"]) as lab:
        demo = Demo(lab)
        for scene in (demo.build, demo.use, demo.deliver_until_death, demo.take_over, demo.judge):
            scene()
        held = demo.summary()
    print(f"{GREEN}The demonstration succeeded.{PLAIN}" if held else f"{RED}The demonstration FAILED.{PLAIN}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""The demonstration: a pair of mail servers on this machine, a crash, a takeover, a return, an accident. Needs root.

Two hosts made of namespaces, each with its own disks, network, Dovecot, Postfix, directory server and a small
database. Mail is delivered through mailtwin's gate to mx1 while mailtwin streams it to mx2; mx1 dies in the middle; mx2
is promoted and serves the same mail; mx1 returns and is made level; a mailbox is deleted by accident and brought back.
Exit status: 0 all of it held, 1 not."""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lab import Lab, mail, wait_until  # noqa: E402
from lab.gate import PORT, Gate, section  # noqa: E402
from lab.host import STORE  # noqa: E402
from lab.imap import ImapClient  # noqa: E402
from lab.lmtp import LmtpClient, LmtpLoad  # noqa: E402
from lab.mta import CONFIG_DIR, Postfix, Smtp  # noqa: E402
from lab.postgres import Dumpd  # noqa: E402
from lab.slapd import Directoryd, Slapd, person, store  # noqa: E402

ANN = "ann@example.org"
USERS = [ANN, "bob@example.org", "eve@example.org"]
LATER = "later@example.org"  # whose mail Postfix cannot deliver on mx1
QUEUE, ROSTER = f"{STORE}/queue", f"{STORE}/roster.db"
STORES = {"mail": {"kind": "maildir", "path": f"{STORE}/vmail", "users": "*/*", "mass-delete-limit": "80%"},
          "queue": {"kind": "queue", "path": QUEUE, "config-dir": CONFIG_DIR},
          "directory": store(),
          "roster": {"kind": "dump", "command": f"sqlite3 {ROSTER} .dump", "every": "1h",
                     "restore": f"sh -ec 'rm -f {ROSTER}.new; sqlite3 {ROSTER}.new; mv {ROSTER}.new {ROSTER}'"}}
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
        self.slapd = {host.name: Slapd(host) for host in (self.old, self.new)}
        self.directoryd = {host.name: Directoryd(host) for host in (self.old, self.new)}
        self.dumpd = {host.name: Dumpd(host) for host in (self.old, self.new)}
        self.postfix = {host.name: Postfix(host, long_ids=False) for host in (self.old, self.new)}
        self.checks = []
        self.known = {}

    def check(self, held, text):
        self.checks.append((bool(held), text))
        print(f"          {GREEN + 'ok  ' if held else RED + 'NOT '}{PLAIN} {text}", flush=True)

    def missing(self, history, host):
        return mail.missing(history, host.path(host.mail))

    # --- the scenes ---

    def build(self):
        say("Two hosts, mx1 and mx2: own processes, network, disks, clock of boot.")
        self.lab.boot()
        say("Certificates: an authority on mx1, one for each node.")
        self.lab.pki()
        say("The daemons start; mx1 is made primary, mx2 follows it. On mx1 Dovecot serves behind the gate, which answers")
        say("250 when the mail is on mx2's disk, and with the plugin, which says OK to an IMAP client when its change is;")
        say("slapd has the accounts, Postfix a queue, SQLite the roster of a chat server.")
        for host in (self.old, self.new):
            host.run("mkdir", QUEUE)
            host.daemon.start()
        self.old.mailtwin("promote")
        for name, slapd in self.slapd.items():
            slapd.install()
            slapd.start()
            self.directoryd[name].start()
        self.slapd["mx1"].fill()
        self.dumpd["mx1"].start()
        self.old.dovecot.start(self.old.dovecot.with_plugin())
        Gate(self.old).start()
        self.postfix["mx1"].configure(f"{{ {LATER}=lmtp:inet:[127.0.0.1]:1 }}")
        self.postfix["mx2"].configure()
        self.postfix["mx1"].start()
        self.lab.wait_level(self.old)

    def use(self):
        say(f"A client reads {ANN}'s mail on mx1, marks some, makes a folder, and remembers what it saw.")
        with LmtpClient(self.old, port=PORT) as lmtp:
            self.accepted = [lmtp.deliver(ANN) for _ in range(20)]
        with ImapClient(self.old, ANN) as client:
            client.select()
            client.uid("STORE", [2, 3, 5], "+FLAGS", "(\\Seen \\Flagged)")
            client.do("create", '"Projects"')
            client.uid("MOVE", [7, 8], '"Projects"')
            self.known = client.view()
        say("Postfix takes three mails that it cannot deliver yet, and somebody joins the chat server.")
        with Smtp(self.old) as smtp:
            self.queued = [smtp.send(f"later{number}", LATER) for number in range(3)]
        self.postfix["mx1"].wait_waiting({"deferred": 3})
        self.roster(self.old, "create table people (name text); insert into people values ('ann')")
        self.old.mailtwin("dump", "run", "roster")
        self.old.mailtwin("barrier", "--timeout", "10s")

    @staticmethod
    def roster(host, sql=None):
        """The names in it; sql: what is done before."""
        words = [sql] if sql else []
        return host.run("sqlite3", ROSTER, *words, "select name from people").stdout.split()

    def deliver_until_death(self):
        say("Mail comes in through the gate. Each 250 is a promise: this mail is on both machines.")
        load = LmtpLoad(self.old, USERS, rate=50, port=PORT).start()
        wait_until(lambda: len(load.history) >= 60, 30, "sixty mails")
        say("mailtwin status, on mx1, in the middle of it:")
        show(self.old.mailtwin("status").stdout)
        say("A new account is made on mx1, while mail goes on.")
        self.slapd["mx1"].add(person("fresh"))
        self.old.mailtwin("barrier", "--timeout", "20s", "directory", within=30)
        wait_until(lambda: len(load.history) >= 120, 30, "more mails")
        say("mx1 dies: SIGKILL to everything that runs on it, at once.")
        self.died = time.monotonic()
        self.old.halt()
        self.accepted += load.stop()

    def take_over(self):
        say("mx2 is promoted by hand, and its Dovecot starts.")
        show(self.new.mailtwin("promote", "--force").stdout)
        self.new.daemon.wait_role("primary")
        self.new.dovecot.start(self.new.dovecot.with_plugin())
        with ImapClient(self.new, ANN) as client:
            self.outage = time.monotonic() - self.died
            self.seen = client.view()
        say("What may be missing is on record, and so is what is at risk from now on:")
        show(self.new.mailtwin("loss").stdout + self.new.mailtwin("status").stdout)

    def judge(self):
        say("Does it hold what it promised?")
        lost = self.missing(self.accepted, self.new)
        self.check(not lost, f"every mail that was answered with 250 is on mx2 ({len(self.accepted)}; {len(lost)} missing)")
        same = all(self.seen[folder][0] == validity for folder, (validity, _) in self.known.items()
                   if folder in self.seen)
        self.check(same and self.seen.keys() >= self.known.keys(), "the client finds its folders with the same UIDVALIDITY")
        self.check(self._uids_kept(), "every mail it knew has the same UID and the same flags")
        with self.lab.lmtp("mx2") as lmtp:
            self.fresh = lmtp.deliver(ANN)
        with ImapClient(self.new, ANN) as client:
            _, mails = client.identity()
        given = max(uid for folder, (_, known) in self.known.items() if folder == "INBOX" for uid in known)
        self.check(mails[max(mails)][0] == self.fresh.ident and max(mails) > given + 1000,
                   "mx2 takes new mail, with a UID above all that mx1 may have given out")
        self.check(self.slapd["mx2"].login("fresh", "pass-fresh"), "the account made just before the crash can log in on mx2")
        self.postfix["mx2"].start()
        self.postfix["mx2"].wait_waiting({})
        found = mail.idents(self.new.path(self.new.mail))
        self.check([len(found.get(ident, [])) for ident in self.queued] == [1, 1, 1],
                   "the mail that waited in mx1's queue is delivered by mx2's Postfix, each once")
        self.check(self.roster(self.new) == ["ann"], "the roster is in mx2's database")

    def _uids_kept(self):
        return all(self.seen.get(folder, (0, {}))[1].get(uid) == what
                   for folder, (_, mails) in self.known.items() for uid, what in mails.items())

    def come_back(self):
        say("mx1 returns. What only it has is kept first, then it is made level and becomes the standby.")
        self.old.boot()
        self.slapd["mx1"].start()
        self.old.daemon.start()
        self.directoryd["mx1"].start()
        self.old.daemon.wait_role("standby", 60)
        self.old.daemon.wait_status(lambda status: status["salvage"]["waiting"] == 0, 60, "all is delivered")
        self.lab.wait_level(self.new)
        show(self.new.mailtwin("loss").stdout)
        self.check("degraded" not in self.new.mailtwin("status", "--json").stdout.split('"state"')[1][:40],
                   "mx2 is protected again, by mx1")

    def undo(self):
        say(f"An accident: rm -rf of {ANN}'s mailbox on mx2.")
        kept = [one for one in [*self.accepted, self.fresh] if one.user == ANN]
        self.new.run("rm", "-rf", f"{self.new.mail}/example.org/ann")
        self.lab.level(self.new)
        gone = len(self.missing(kept, self.new))
        began = time.monotonic()
        show(self.old.mailtwin("retained", "restore", "--user", ANN, "--since", "1h", "--yes", within=60).stdout)
        took = time.monotonic() - began
        lost = self.missing(kept, self.new)
        self.check(gone == len(kept) and not lost, f"all {gone} mails are back, {took:.1f} s after the command")

    def summary(self):
        held = sum(1 for fine, _ in self.checks if fine)
        waits = sorted(one.accepted - one.sent for one in self.accepted)
        say("Summary")
        show(f"answered with 250: {len(self.accepted)} mails, after {waits[len(waits) // 2] * 1000:.1f} ms in the median, "
             f"{waits[-1] * 1000:.1f} ms at most\n"
             f"from the death of mx1 to the first IMAP login on mx2: {self.outage:.2f} s\n"
             f"{held} of {len(self.checks)} promises held")
        return all(fine for fine, _ in self.checks)


def main():
    if os.geteuid() != 0:
        print("demo: needs root, to make namespaces and mounts", file=sys.stderr)
        return 1
    with Lab(["mx1", "mx2"], stores=STORES, settings={"directory-user": "nobody"}, state_mb=256) as lab:
        lab.text = section() + lab.text
        for host in lab.hosts.values():
            lab.configure(host)
        demo = Demo(lab)
        for scene in (demo.build, demo.use, demo.deliver_until_death, demo.take_over, demo.judge, demo.come_back, demo.undo):
            scene()
        held = demo.summary()
    print(f"{GREEN}The demonstration succeeded.{PLAIN}" if held else f"{RED}The demonstration FAILED.{PLAIN}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

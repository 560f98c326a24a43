"""The directory servers of a pair, and one who changes accounts there and waits at the barrier after each change."""

import itertools
import subprocess

from .clients import Client
from .history import GONE, OPEN
from .slapd import PEOPLE, Directoryd, Slapd, person
from .space import CommandFailed

TIMEOUT = "5s"  # of a barrier: the change is refused then


class Office:
    """slapd and mailtwin-directoryd of every host of a lab."""

    def __init__(self, lab):
        self.slapd = {name: Slapd(host) for name, host in lab.hosts.items()}
        self.daemon = {name: Directoryd(host) for name, host in lab.hosts.items()}

    def open(self, primary):
        """Empty servers everywhere, and the top of the tree on the primary's. No tool syncs what it installs."""
        for slapd in self.slapd.values():
            slapd.install()
            slapd.host.sync()
        for name in self.slapd:
            self.start(name)
        self.slapd[primary].fill()
        self.daemon[primary].wait_mode("capture")

    def start(self, name):
        """On a host that was booted."""
        self.slapd[name].start()
        self.daemon[name].start()

    def ensure(self, name):
        """As a service manager does it."""
        for one in (self.slapd[name], self.daemon[name]):
            if one.process is None or not one.process.running():
                one.start()


class Clerk(Client):
    """Makes accounts, changes and removes them."""

    def __init__(self, host, slapd, history, seed):
        super().__init__(host, history, seed)
        self.slapd = slapd
        self.numbers = itertools.count(self.random.randrange(1 << 40))

    def step(self, _):
        with self.history.lock:
            known = sorted(name for name, fact in self.history.accounts.items() if fact not in (OPEN, GONE))
        if len(known) < 5 or self.random.random() < 0.4:
            self._hire()
        elif self.random.random() < 0.7:
            self._entitle(self.random.choice(known))
        else:
            self._dismiss(self.random.choice(known))

    def _told(self, name, fact, change, *arguments):
        """A change counts as made once a barrier behind it has opened."""
        with self.history.act(accounts={name: fact}):
            try:
                change(*arguments)
                self.host.mailtwin("barrier", "--timeout", TIMEOUT, "directory")
            except subprocess.SubprocessError as error:
                raise CommandFailed(str(error)) from error

    def _title(self):
        return f"title {self.random.randrange(1 << 30)}"

    def _hire(self):
        name, title = f"clerk{next(self.numbers)}", self._title()
        self._told(name, title, self.slapd.add, person(name, title=title))

    def _entitle(self, name):
        title = self._title()
        self._told(name, title, self.slapd.replace, f"uid={name},{PEOPLE}", "title", title)

    def _dismiss(self, name):
        self._told(name, GONE, self.slapd.delete, f"uid={name},{PEOPLE}")


def check(history, slapd):
    """[(what, sentence)]: where a server breaks what the clerks were told. Then what was open is as it has it."""
    entries = {values["uid"][0]: values for values in slapd.entries("(uid=clerk*)").values()}
    problems = []
    with history.lock:
        for name, fact in history.accounts.items():
            now = entries[name]["title"][0] if name in entries else GONE
            if fact is not OPEN and now != fact:
                problems.append(("account", f"{name} is {now}, told was {fact}"))
            elif now is not GONE:
                history.accounts[name] = now
            uuid = entries.get(name, {}).get("entryUUID", [None])[0]
            if uuid and history.uuids.setdefault(name, uuid) != uuid:
                problems.append(("entryUUID", f"{name} was {history.uuids[name]}, is {uuid}"))
    return problems

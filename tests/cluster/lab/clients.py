"""Clients that work on a mail server under load and write down what they were told: see history.py.

Each has mailboxes of its own, so that what it was told last is what has to be there. They stand outside the hosts,
at the switch, and outlive any of them."""

import contextlib
import imaplib
import itertools
import poplib
import random
import re
import subprocess
import threading
import time

from .dovecot import IMAP_PORT, PASSWORD
from .history import GONE, OPEN, ident_of, look_by_pop3, row_facts, uid_set
from .imap import ImapClient, ImapFailed
from .lmtp import LMTP_PORT, LmtpClient, LmtpError, message
from .space import CommandFailed
from .wait import wait_until

FAILURES = (OSError, EOFError, imaplib.IMAP4.error, ImapFailed, LmtpError, poplib.error_proto, CommandFailed)
_numbers = itertools.count(1)


class Client:
    """step() is one act after another, over a connection that is made anew when it breaks, until stop()."""

    def __init__(self, host, history, seed):
        self.host = host
        self.history = history
        self.random = random.Random(seed)
        self.done = 0
        self.error = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def connect(self):
        """A context manager with close(); None for a client that connects by itself."""
        return contextlib.nullcontext()

    def start(self):
        self._thread.start()

    def join(self):
        self._thread.join(60)
        assert not self._thread.is_alive(), f"{type(self).__name__} does not end"

    def _work(self):
        while not self._end.is_set():
            try:
                with self.connect() as connection:
                    while not self._end.is_set():
                        self.step(connection)
                        self.done += 1
            except FAILURES as error:
                self.error = error
                self._end.wait(0.05)

    def stop(self):
        self._end.set()

    def new_mail(self, user, size=600):
        """A mail that nobody has yet: its bytes."""
        _, data = message(next(_numbers), user, size, ident=f"{user}-{self.random.randrange(1 << 62)}")
        self.history.sent(data)
        return data


class Deliverer(Client):
    """An MTA: LMTP to its users in turn. What is answered with 451 is not tried again."""

    def __init__(self, host, history, seed, users, port=LMTP_PORT):
        super().__init__(host, history, seed)
        self.users = itertools.cycle(users)
        self.port = port

    def connect(self):
        return LmtpClient(self.host, timeout=5, port=self.port)

    def step(self, lmtp):
        user = next(self.users)
        data = self.new_mail(user)
        with self.history.act({(user, "INBOX", ident_of(data)): frozenset()}):
            lmtp.deliver_bytes(user, data)


class Owner(Client):
    """A user who does all that IMAP knows to his own folders: append, flags, copy, move, expunge, folders."""

    def __init__(self, host, history, seed, user):
        super().__init__(host, history, seed)
        self.user = user
        self.folders = itertools.count(self.random.randrange(1 << 40))
        self.acts = [self._append] * 4 + [self._flag] * 4 + [self._copy, self._move, self._expunge, self._close,
                                                             self._make, self._rename, self._delete]

    def connect(self):
        return ImapClient(self.host, self.user, timeout=5)

    def step(self, client):
        self.random.choice(self.acts)(client)

    # --- what he knows ---

    def _mine(self):
        """Folders that are there for certain."""
        with self.history.lock:
            return ["INBOX"] + sorted(name for (who, name), there in self.history.folders.items()
                                      if who == self.user and there is True)

    def _key(self, folder, ident):
        return self.user, folder, ident

    def _select(self, client, folder):
        """{uid: ident} of the folder's mails about which nothing is open, and its UIDVALIDITY."""
        client.select(folder)
        validity = int(client.imap.untagged_responses["UIDVALIDITY"][0])
        rows = client.do("uid", "FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        found = {row_facts(row[0])[0]: ident_of(row[1]) for row in rows if isinstance(row, tuple)}
        self.history.saw_uids(self.user, folder, validity, found)
        return {uid: ident for uid, ident in found.items()
                if isinstance(self.history.mails.get(self._key(folder, ident)), frozenset)}, validity

    def _some(self, client, most=6):
        folder = self.random.choice(self._mine())
        mails, _ = self._select(client, folder)
        uids = self.random.sample(sorted(mails), min(len(mails), self.random.randint(1, most)))
        return folder, {uid: mails[uid] for uid in uids}

    @staticmethod
    def _code(client, name):
        """What the answer had in brackets."""
        found = client.imap.response(name)[1][0]
        if found is None:
            raise ImapFailed(f"no {name} in the answer")
        return found.decode()

    # --- what he does ---

    def _append(self, client):
        folder, data = self.random.choice(self._mine()), self.new_mail(self.user)
        flags = frozenset(self.random.sample(["\\Seen", "\\Flagged", "\\Draft"], 1))
        with self.history.act({self._key(folder, ident_of(data)): flags}):
            client.do("append", f'"{folder}"', f"({' '.join(flags)})", None, data)
        validity, uid = self._code(client, "APPENDUID").split()
        self.history.saw_uids(self.user, folder, int(validity), {int(uid): ident_of(data)})

    def _flag(self, client):
        folder, mails = self._some(client)
        flag = self.random.choice(["\\Seen", "\\Flagged", "\\Answered", "$Label", "kw1", "kw2"])
        add = self.random.random() < 0.6
        keys = [self._key(folder, ident) for ident in mails.values()]
        if not keys:
            return
        before = {key: self.history.mails[key] for key in keys}
        with self.history.act({key: flags | {flag} if add else flags - {flag} for key, flags in before.items()}):
            client.uid("STORE", mails, "+FLAGS" if add else "-FLAGS", f"({flag})")

    def _transfer(self, client, command):
        folder, mails = self._some(client)
        target = self.random.choice(self._mine())
        mails = {uid: ident for uid, ident in mails.items()  # each ident once in a folder: that is how it is known
                 if self.history.mails.get(self._key(target, ident), GONE) == GONE}
        if target == folder or not mails:
            return
        results = {self._key(target, ident): self.history.mails[self._key(folder, ident)] for ident in mails.values()}
        if command == "MOVE":
            results.update({self._key(folder, ident): GONE for ident in mails.values()})
        with self.history.act(results):
            client.uid(command, mails, f'"{target}"')
        validity, old, new = self._code(client, "COPYUID").split()
        pairs = zip(uid_set(old), uid_set(new))
        self.history.saw_uids(self.user, target, int(validity), {uid: mails[source] for source, uid in pairs})

    def _copy(self, client):
        self._transfer(client, "COPY")

    def _move(self, client):
        self._transfer(client, "MOVE")

    def _expunge(self, client, way="expunge"):
        folder, mails = self._some(client, 3)
        if not mails:
            return
        marked = {ident for ident, flags in self._inside(folder).items()
                  if isinstance(flags, frozenset) and "\\Deleted" in flags}  # by one who got no answer
        with self.history.act({self._key(folder, ident): GONE for ident in marked.union(mails.values())}):
            client.uid("STORE", mails, "+FLAGS.SILENT", "(\\Deleted)")
            client.do(way)

    def _close(self, client):
        self._expunge(client, "close")

    def _make(self, client):
        if len(self._mine()) < 6:
            name = f"F{next(self.folders)}"
            with self.history.act(folders={(self.user, name): True}):
                client.do("create", name)

    def _pick(self, client):
        own = self._mine()[1:]
        client.do("select", "INBOX")  # Dovecot hangs up on who has a folder selected that goes
        return self.random.choice(own) if own else None

    def _inside(self, folder):
        with self.history.lock:
            return {ident: flags for (who, name, ident), flags in self.history.mails.items()
                    if who == self.user and name == folder}

    def _known_inside(self, folder):
        """Without what only a dead machine may have."""
        return {ident: flags for ident, flags in self._inside(folder).items() if flags is not OPEN}

    def _rename(self, client):
        old, new = self._pick(client), f"F{next(self.folders)}"
        if old is None:
            return
        inside = self._known_inside(old)
        mails = {self._key(new, ident): flags for ident, flags in inside.items()}
        mails.update({self._key(old, ident): GONE for ident in inside})
        with self.history.act(mails, {(self.user, old): False, (self.user, new): True}):
            client.do("rename", old, new)

    def _delete(self, client):
        name = self._pick(client)
        if name is None or self.random.random() < 0.5:
            return
        with self.history.act({self._key(name, ident): GONE for ident in self._known_inside(name)}, {(self.user, name): False}):
            client.do("delete", name)


class Popper(Client):
    """Fetches what is new by POP3 and leaves all of it on the server."""

    def __init__(self, host, history, seed, user):
        super().__init__(host, history, seed)
        self.user = user

    def step(self, _):
        self.history.saw_uidls(self.user, look_by_pop3(self.host, self.user, 5))
        self._end.wait(0.1)


class Quick(Client):
    """A client with CONDSTORE and QRESYNC and a cache: {uid: flags} of the INBOX at a HIGHESTMODSEQ. It is the one
    that changes flags there."""

    def __init__(self, host, history, seed, user, cache=None):
        super().__init__(host, history, seed)
        self.user = user
        self.validity, self.modseq, self.cache = cache or (0, 0, {})

    def connect(self):
        return ImapClient(self.host, self.user, timeout=5)

    def step(self, client):
        self.catch_up(client)
        uids = self.random.sample(sorted(self.cache), min(3, len(self.cache)))
        if uids:
            client.uid("STORE", uids, self.random.choice(["+FLAGS", "-FLAGS"]), "(\\Flagged $Quick)")
        self._end.wait(0.02)

    def catch_up(self, client):
        """As RFC 7162 has it: SELECT with what is known brings what changed since."""
        client.do("enable", "QRESYNC")
        known = f" (QRESYNC ({self.validity} {self.modseq}))" if self.validity else " (CONDSTORE)"
        imap = client.imap
        imap.untagged_responses = {}
        answer, data = imap._simple_command("SELECT", "INBOX" + known)
        if answer != "OK":
            raise ImapFailed(f"SELECT: {data}")
        imap.state = "SELECTED"
        said = imap.untagged_responses
        validity = int(said["UIDVALIDITY"][0])
        if validity != self.validity:
            rows = client.do("uid", "FETCH", "1:*", "(FLAGS)")
            self.cache = dict(row_facts(row) for row in rows if row)
        else:
            for line in said.get("VANISHED", []):
                for uid in uid_set(line.decode().split()[-1]):
                    self.cache.pop(uid, None)
            self.cache.update(row_facts(row) for row in said.get("FETCH", []) if row)
        self.validity = validity
        self.modseq = int(said["HIGHESTMODSEQ"][0])
        self.history.saw_modseq(self.user, self.validity, self.modseq)

    def knowledge(self):
        return self.validity, self.modseq, dict(self.cache)

    def check(self):
        """After a change of servers: it catches up, and then knows what a new client is told."""
        try:
            with self.connect() as client:
                self.catch_up(client)
                rows = client.do("uid", "FETCH", "1:*", "(FLAGS)")
        except FAILURES as error:
            return [("qresync", f"{self.user}: {error}")]
        fresh = dict(row_facts(row) for row in rows if row)
        wrong = {uid for uid in {*fresh, *self.cache} if fresh.get(uid) != self.cache.get(uid)}
        return [("qresync", f"{self.user}: after catching up it is wrong about {sorted(wrong)[:20]}")] if wrong else []


MBSYNC = """\
IMAPStore server
Host {address}
Port {port}
User {user}
Pass {password}
SSLType None
AuthMechs LOGIN

MaildirStore here
Path {folder}/
Inbox {folder}/INBOX
SubFolders Verbatim

Channel all
Far :server:
Near :here:
Patterns INBOX
Sync Pull
Create Near
SyncState *
"""


class Mbsync(Client):
    """isync: keeps a copy of a user's INBOX. `folder` outlives the servers."""

    def __init__(self, host, history, seed, user, folder):
        super().__init__(host, history, seed)
        self.user, self.folder = user, folder
        self.had = []  # [(when it ended, idents)]
        folder.mkdir(exist_ok=True)

    def sync(self):
        conf = self.folder / "mbsyncrc"
        conf.write_text(MBSYNC.format(address=self.host.address, port=IMAP_PORT, user=self.user, password=PASSWORD,
                                      folder=self.folder))
        switch = self.host.lab.network.switch.pid
        return subprocess.run(["nsenter", "-t", str(switch), "-n", "mbsync", "-q", "-c", conf, "all"], timeout=120,
                              capture_output=True, text=True, check=False)

    def idents(self):
        """What it has, one for each file."""
        return [ident_of(path.read_bytes()) for part in ("cur", "new") for path in self.folder.glob(f"INBOX/{part}/*")]

    def step(self, _):
        if self.sync().returncode != 0:
            raise ImapFailed("mbsync")
        self.had.append((time.monotonic(), set(self.idents())))
        self._end.wait(0.1)

    def check(self):
        """It goes on where it was, and downloads nothing that it had. What no act covered before the server died is
        covered by none of another server. What its server had lost before, and has again since a returning primary gave
        it back, is another mail to it."""
        self.had = [one for one in self.had if one[0] <= self.history.safe]
        had = self._paired() & set().union(*(idents for _, idents in self.had), set())
        before, pairs = self.idents(), self._pairs()
        done = self.sync()
        if done.returncode != 0:
            return [("mbsync", f"{self.user}: {done.stderr.strip()}")]
        after = self.idents()
        again = sorted(ident for ident in had if after.count(ident) > before.count(ident))
        if not again:
            return []
        when = [round(self.history.safe - when, 3) for when, some in self.had if again[0] in some]
        news = sorted(set(self._pairs()) - set(pairs))
        return [("mbsync", f"{self.user}: downloaded again: {again[:10]}; had the first {when[:3]} s before what is safe; "
                           f"its memory before: {pairs[-12:]}, new in it: {news[-12:]}")]

    def _pairs(self):
        """Lines of its memory: the UID on the server (0: gone from there), its own, flags."""
        state = self.folder / "INBOX" / ".mbsyncstate"
        return state.read_text().splitlines() if state.exists() else []

    def _paired(self):
        """Mails that it knows its server to have; the names of files tell their UIDs here."""
        here = {line.split()[1] for line in self._pairs() if re.match(r"[1-9]\d* [1-9]", line)}
        return {ident_of(path.read_bytes()) for part in ("cur", "new") for path in self.folder.glob(f"INBOX/{part}/*")
                if (uid := re.search(r",U=(\d+)", path.name)) and uid[1] in here}


def seeds_of(seed):
    """A seed for each client of a group, without end."""
    dice = random.Random(seed)
    return iter(lambda: dice.randrange(1 << 30), None)


class Group:
    """Clients of one server. After its death: stop(), promote, check(new server), and a new group there."""

    quick = mbsync = None

    def __init__(self, history, clients):
        self.history = history
        self.clients = clients
        for client in self.clients:
            client.start()

    def wait_acts(self, number, within=60):
        """Until that many more acts were acknowledged or refused."""
        goal = self.history.acts + self.history.refused + number
        wait_until(lambda: self.history.acts + self.history.refused >= goal, within,
                   lambda: f"the load does not go on: {[(type(one).__name__, one.done, one.error) for one in self.clients]}")

    def stop(self):
        for client in self.clients:
            client.stop()
        for client in self.clients:
            client.join()

    def check(self, host):
        """[(what, sentence)] of all that was told by the dead server and is not so here."""
        return self.history.check(host)


class Crowd(Group):
    """All of them. more(seeds): further clients."""

    def __init__(self, host, history, seed, folder, quick=None, mbsync=None, more=lambda seeds: []):
        seeds = seeds_of(seed)
        history.loose.add("quick@example.org")
        self.quick = Quick(host, history, next(seeds), "quick@example.org", quick and quick.knowledge())
        self.mbsync = Mbsync(host, history, next(seeds), "sync@example.org", folder)
        if mbsync is not None:
            self.mbsync.had = mbsync.had
        super().__init__(history, [
            Deliverer(host, history, next(seeds), ["ann@example.org", "sync@example.org"]),
            Deliverer(host, history, next(seeds), ["quick@example.org", "ann@example.org"]),
            Owner(host, history, next(seeds), "bob@example.org"),
            Owner(host, history, next(seeds), "eve@example.org"),
            Popper(host, history, next(seeds), "ann@example.org"), self.quick, self.mbsync, *more(seeds)])

    def check(self, host):
        self.quick.host = self.mbsync.host = host
        return super().check(host) + self.quick.check() + self.mbsync.check()

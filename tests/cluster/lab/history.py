"""What clients were told, and whether a server still holds to it.

A History knows only acknowledged acts. An act whose answer never came, or was NO, leaves what it touched open:
both outcomes are right, until the next look at a server says which it was (adopt()). What a client has read without
an answer that waits at the barrier (UIDs, UIDLs, HIGHESTMODSEQ) counts as told from the next acknowledged act of
anybody on, for a barrier covers all that was before it; a UID that was ever seen may never name another mail."""

import contextlib
import hashlib
import re
import threading
import time
from collections import namedtuple

from .dovecot import PASSWORD
from .imap import ImapClient, Pop

OPEN = None
GONE = "gone"
SALVAGED = "$Salvaged"  # what a returning primary had alone
IDENT = re.compile(rb"^Message-ID: <([^>]*)>", re.M | re.I)
Folder = namedtuple("Folder", "validity next modseq mails")  # mails: {uid: (ident, flags, digest)}


def digest(message):
    """Of a mail without what a delivery puts in front of it."""
    return hashlib.sha256(message[message.index(b"Message-ID:"):].replace(b"\r\n", b"\n")).hexdigest()


def ident_of(message):
    found = IDENT.search(message)
    return found.group(1).decode() if found else ""


def uid_set(text):
    """The numbers of "1:3,7"."""
    for part in text.split(","):
        first, _, last = part.partition(":")
        yield from range(int(first), int(last or first) + 1)


def look(host, user):
    """{folder: Folder} of all that a user sees."""
    with ImapClient(host, user, timeout=60) as client:
        client.do("enable", "CONDSTORE")
        return {name: look_at(client, name) for name in client.folders()}


def look_at(client, name):
    status = client.do("status", f'"{name}"', "(UIDVALIDITY UIDNEXT HIGHESTMODSEQ)")[0]
    numbers = {key: int(value) for key, value in re.findall(rb"([A-Z]+) (\d+)", status.rpartition(b"(")[2])}
    mails = {}
    if client.select(name) > 0:
        for row in client.do("uid", "FETCH", "1:*", "(FLAGS BODY.PEEK[])"):
            if isinstance(row, tuple):
                uid, flags = row_facts(row[0])
                mails[uid] = (ident_of(row[1]), flags, digest(row[1]))
    return Folder(numbers[b"UIDVALIDITY"], numbers[b"UIDNEXT"], numbers[b"HIGHESTMODSEQ"], mails)


def row_facts(head):
    uid = int(re.search(rb"UID (\d+)", head).group(1))
    flags = re.search(rb"FLAGS \(([^)]*)\)", head).group(1).decode().split()
    return uid, frozenset(flags) - {"\\Recent"}


def look_by_pop3(host, user, timeout=60):
    """{UIDL: ident}, and nothing is deleted."""
    pop = Pop(host, timeout)
    pop.user(user)
    pop.pass_(PASSWORD)
    found = {}
    for line in pop.uidl()[1]:
        number, uidl = line.split()
        found[uidl.decode()] = ident_of(b"\r\n".join(pop.top(int(number), 0)[1]))
    pop.quit()
    return found


class History:
    """mails: {(user, folder, ident): flags, GONE or OPEN}; folders: {(user, folder): True, False or OPEN};
    accounts: {name: title, GONE or OPEN}."""

    def __init__(self, durable=True):
        """durable: an answer means that a standby has it, and all that was before it."""
        self.durable = durable
        self.lock = threading.RLock()
        self.mails, self.folders, self.digests = {}, {}, {}
        self.accounts, self.uuids = {}, {}
        self.uids = {}      # (user, validity, uid): (ident, when it was seen)
        self.uidls = {}     # (user, uidl): (ident, when)
        self.modseqs = {}   # (user, validity): [(modseq, when)]
        self.validities = {}  # (user, folder): (validity, when)
        self.left = {}      # (user, ident): when it was last taken out of a folder; its UIDs of before are history
        self.loose = set()  # users whose flags nobody writes down
        self.safe = 0.0     # what was before this moment is covered by an acknowledgement
        self.acts = self.refused = 0

    # --- writing it ---

    @contextlib.contextmanager
    def act(self, mails=None, folders=None, accounts=None):
        """An act with its result if it is acknowledged. The body raises when it is not. A barrier of a directory says
        nothing of mail."""
        began = time.monotonic()
        with self.lock:
            self.mails.update(dict.fromkeys(mails or {}, OPEN))
            self.folders.update(dict.fromkeys(folders or {}, OPEN))
            self.accounts.update(dict.fromkeys(accounts or {}, OPEN))
            self.left.update({(user, ident): began for (user, _, ident), flags in (mails or {}).items() if flags == GONE})
            for key in folders or {}:
                self.validities.pop(key, None)
        try:
            yield
        except Exception:
            self.refused += 1
            raise
        with self.lock:
            self.mails.update(mails or {})
            self.folders.update(folders or {})
            self.accounts.update(accounts or {})
            if accounts is None and self.durable:
                self.safe = max(self.safe, began)
            self.acts += 1
            self.acknowledged(mails or {})

    def acknowledged(self, mails):
        """For those who want to know more of an act."""

    def sent(self, message):
        """The bytes of a mail that is about to be given to the server; returns its ident."""
        ident = ident_of(message)
        self.digests[ident] = digest(message)
        return ident

    def saw_uids(self, user, folder, validity, idents):
        """idents: {uid: ident}."""
        now = time.monotonic()
        with self.lock:
            self.validities.setdefault((user, folder), (validity, now))
            for uid, ident in idents.items():
                self.uids.setdefault((user, validity, uid), (ident, now))

    def saw_modseq(self, user, validity, modseq):
        with self.lock:
            self.modseqs.setdefault((user, validity), []).append((modseq, time.monotonic()))

    def saw_uidls(self, user, uidls):
        now = time.monotonic()
        with self.lock:
            for uidl, ident in uidls.items():
                self.uidls.setdefault((user, uidl), (ident, now))

    # --- holding a server against it ---

    def users(self):
        return sorted({key[0] for key in (*self.mails, *self.folders, *self.uids, *self.uidls)})

    def check(self, host):
        """[(what, sentence)]: where the server breaks what was told. Then what was open is as the server has it."""
        problems = []
        for user in self.users():
            seen = look(host, user)
            problems += self._check_mails(user, seen) + self._check_uids(user, seen) + self._check_modseqs(user, seen)
            problems += self._check_uidls(user, host)
            self._adopt(user, seen)
        self._forget_what_was_not_covered()
        return problems

    def _forget_what_was_not_covered(self):
        """No later act of another server makes it told. That a UID was seen stays known."""
        with self.lock:
            for facts in (self.uids, self.uidls):
                facts.update({key: (ident, float("inf")) for key, (ident, when) in facts.items() if when > self.safe})
            self.validities = {key: fact for key, fact in self.validities.items() if fact[1] <= self.safe}
            self.modseqs = {key: [one for one in told if one[1] <= self.safe] for key, told in self.modseqs.items()}

    def _check_mails(self, user, seen):
        problems = []
        for (who, folder), there in self.folders.items():
            if who == user and there is not OPEN and (folder in seen) != there and not self._is_salvaged(user, folder, seen):
                inside = sorted(mail[:2] for mail in seen[folder].mails.values()) if folder in seen else ""
                problems.append(("folder", f"{user}: folder {folder} is {'lost' if there else 'back'} {inside}"))
        for (who, folder, ident), flags in self.mails.items():
            if who == user and flags is not OPEN and self.folders.get((user, folder), True):
                found = [mail for mail in seen.get(folder, Folder(0, 0, 0, {})).mails.values() if mail[0] == ident]
                problems += self._check_mail(f"{user} {folder} {ident}", flags, found, user in self.loose)
        return problems

    def _is_salvaged(self, user, folder, seen):
        """A folder that was deleted is made again for mail that only a returning primary had: nobody was told of it."""
        inside = seen[folder].mails.values() if folder in seen else ()
        return bool(inside) and all(SALVAGED in mail[1] and self.mails.get((user, folder, mail[0])) is OPEN for mail in inside)

    def _check_mail(self, name, flags, found, loose):
        if flags == GONE:
            return [("expunge", f"{name} is back with {sorted(found[0][1])}")] if found else []
        if not found:
            return [("mail", f"{name} is lost")]
        if len(found) > 1:
            return [("twice", f"{name} is there {len(found)} times")]
        _, now, content = found[0]
        problems = []
        if content != self.digests[found[0][0]]:
            problems.append(("content", f"{name} has other bytes"))
        if now - {SALVAGED} != flags - {SALVAGED} and not loose:
            problems.append(("flags", f"{name} has the flags {sorted(now)}, told were {sorted(flags)}"))
        return problems

    def _check_uids(self, user, seen):
        problems, by_validity = [], {folder.validity: folder for folder in seen.values()}
        for (who, validity, uid), (ident, when) in self.uids.items():
            folder = by_validity.get(validity)
            if who != user or folder is None:
                continue
            now = folder.mails.get(uid, (None,))[0]
            others = [other for other, mail in folder.mails.items() if mail[0] == ident]
            if now not in (None, ident):
                problems.append(("uid reused", f"{user} {validity}: {uid} was {ident} and is {now}"))
            elif now is None and others and self.left.get((user, ident), 0) < when <= self.safe:
                problems.append(("uid changed", f"{user} {validity}: {ident} was {uid} and is {others}; "
                                 + self._story(user, ident, when)))
            if uid >= folder.next:
                problems.append(("uidnext", f"{user} {validity}: {uid} was given out, the next is {folder.next}"))
        return problems + self._check_validities(user, seen)

    def _check_validities(self, user, seen):
        return [("uidvalidity", f"{user} {name}: was {validity}, is {seen[name].validity}")
                for (who, name), (validity, when) in self.validities.items()
                if who == user and name in seen and when <= self.safe and seen[name].validity != validity]

    def _story(self, user, ident, when):
        told = [f"{folder}: {flags if isinstance(flags, str | None) else sorted(flags)}"
                for (who, folder, mail), flags in self.mails.items() if who == user and mail == ident]
        return f"told of it: {told}; seen {self.safe - when:.3f} s before the last act that was acknowledged"

    def _check_modseqs(self, user, seen):
        problems = []
        for name, folder in seen.items():
            told = [modseq for modseq, when in self.modseqs.get((user, folder.validity), ()) if when <= self.safe]
            if told and folder.modseq < max(told):
                problems.append(("modseq", f"{user} {name}: HIGHESTMODSEQ was {max(told)}, is {folder.modseq}"))
        return problems

    def _check_uidls(self, user, host):
        told = {uidl: fact for (who, uidl), fact in self.uidls.items() if who == user}
        now = look_by_pop3(host, user) if told else {}
        problems = []
        for uidl, (ident, when) in told.items():
            if now.get(uidl, ident) != ident:
                problems.append(("uidl reused", f"{user}: {uidl} was {ident} and is {now[uidl]}"))
            elif uidl not in now and ident in now.values() and self.left.get((user, ident), 0) < when <= self.safe:
                new = [other for other, mail in now.items() if mail == ident]
                problems.append(("uidl changed", f"{user}: {ident} had {uidl}, has {new}; {self._story(user, ident, when)}"))
        return problems

    def _adopt(self, user, seen):
        """What was open and is there is known from here on. What is not there stays open: a returning machine may have
        it still."""
        with self.lock:
            for (who, folder), there in self.folders.items():
                if who == user and there is not True and folder in seen:
                    self.folders[who, folder] = True
            for (who, folder, ident), flags in self.mails.items():
                if who == user and flags is OPEN:
                    mails = seen.get(folder, Folder(0, 0, 0, {})).mails.values()
                    self.mails[who, folder, ident] = next((mail[1] for mail in mails if mail[0] == ident), OPEN)

"""Reading and changing mail as users do: IMAP and POP3."""

import imaplib
import poplib
import random
import re
import threading

from .dovecot import IMAP_PORT, PASSWORD, POP3_PORT


class _Imap(imaplib.IMAP4):
    """imaplib over a socket of the lab's network."""

    def __init__(self, host, timeout):
        self._lab_host = host
        self._lab_timeout = timeout
        super().__init__()

    def _create_socket(self, timeout):
        return self._lab_host.connect(IMAP_PORT, self._lab_timeout)


class Pop(poplib.POP3):
    """poplib over a socket of the lab's network."""

    def __init__(self, host, timeout):
        self._lab_host = host
        super().__init__(host.address, POP3_PORT, timeout)

    def _create_socket(self, timeout):
        return self._lab_host.connect(POP3_PORT, timeout)


class ImapFailed(AssertionError):
    """The server said NO or BAD."""


class ImapClient:
    """A user logged in over IMAP."""

    def __init__(self, host, user, timeout=20):
        self.imap = _Imap(host, timeout)
        self.imap.login(user, PASSWORD)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def close(self):
        try:
            self.imap.logout()
        except (OSError, imaplib.IMAP4.error):
            self.imap.shutdown()

    def do(self, name, *arguments):
        """An imaplib method by name; its data."""
        answer, data = getattr(self.imap, name)(*arguments)
        if answer != "OK":
            raise ImapFailed(f"{name} {arguments}: {data}")
        return data

    def select(self, folder="INBOX"):
        """The number of mails in it."""
        return int(self.do("select", f'"{folder}"')[0])

    def uids(self):
        """UIDs in the selected folder, rising."""
        return [int(word) for word in self.do("uid", "SEARCH", "ALL")[0].split()]

    def uid(self, command, uids, *arguments):
        """UID STORE, COPY, MOVE, ... for a list of UIDs."""
        return self.do("uid", command, ",".join(str(uid) for uid in uids), *arguments)

    def folders(self):
        found = []
        for line in self.do("list"):
            found.append(re.search(rb'"?([^" ]+)"?$', line).group(1).decode())
        return sorted(found)

    def identity(self, folder="INBOX"):
        """What a client remembers of a folder: (UIDVALIDITY, {uid: (Message-ID, flags)})."""
        status = self.do("status", f'"{folder}"', "(UIDVALIDITY UIDNEXT)")[0]
        validity = int(re.search(rb"UIDVALIDITY (\d+)", status).group(1))
        if self.select(folder) == 0:
            return validity, {}
        rows = self.do("uid", "FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        return validity, dict(_identity_row(row) for row in rows if isinstance(row, tuple))

    def bytes(self, folder="INBOX"):
        """{uid: the message as it is} of a folder."""
        if self.select(folder) == 0:
            return {}
        rows = self.do("uid", "FETCH", "1:*", "BODY.PEEK[]")
        return {int(re.search(rb"UID (\d+)", row[0]).group(1)): row[1] for row in rows if isinstance(row, tuple)}

    def view(self):
        """identity() of every folder."""
        return {folder: self.identity(folder) for folder in self.folders()}


def _identity_row(row):
    uid = int(re.search(rb"UID (\d+)", row[0]).group(1))
    flags = re.search(rb"FLAGS \(([^)]*)\)", row[0]).group(1).split()
    ident = re.search(rb"<([^>]*)>", row[1])
    kept = frozenset(flag.decode() for flag in flags if flag != b"\\Recent")
    return uid, (ident.group(1).decode() if ident else "", kept)


def pop3_uidls(host, user):
    """What a POP3 client remembers: the list of UIDLs."""
    pop = Pop(host, 20)
    pop.user(user)
    pop.pass_(PASSWORD)
    answer = [line.split()[1].decode() for line in pop.uidl()[1]]
    pop.quit()
    return answer


class ImapLoad:
    """A thread that does to one user's mail what users do, from a seed."""

    def __init__(self, host, user, seed=1):
        self.host = host
        self.user = user
        self.random = random.Random(seed)
        self.done = 0
        self.errors = 0
        self.last_error = None
        self.folders = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stop()

    def stop(self):
        self._stop.set()
        self._thread.join(60)

    def _work(self):
        while not self._stop.is_set():
            try:
                with ImapClient(self.host, self.user) as client:
                    while not self._stop.is_set():
                        self.step(client)
                        self.done += 1
            except (OSError, imaplib.IMAP4.error, ImapFailed) as error:
                self.errors += 1
                self.last_error = error
                self._stop.wait(0.05)

    def step(self, client):
        """One random act."""
        acts = [self._flag, self._flag, self._copy, self._move, self._expunge, self._append, self._folder]
        self.random.choice(acts)(client)

    def _some(self, client):
        """A few UIDs of a random folder, or none."""
        client.select(self.random.choice(client.folders()))
        uids = client.uids()
        return self.random.sample(uids, min(len(uids), self.random.randint(1, 5)))

    def _flag(self, client):
        uids = self._some(client)
        flag = self.random.choice(["\\Seen", "\\Flagged", "\\Answered", "$Label1", f"kw{self.random.randint(1, 9)}"])
        if uids:
            client.uid("STORE", uids, self.random.choice(["+FLAGS", "-FLAGS"]), f"({flag})")

    def _copy(self, client):
        target = self.random.choice(client.folders())
        uids = self._some(client)
        if uids:
            client.uid("COPY", uids, f'"{target}"')

    def _move(self, client):
        target = self.random.choice(client.folders())
        uids = self._some(client)
        if uids:
            client.uid("MOVE", uids, f'"{target}"')

    def _expunge(self, client):
        uids = self._some(client)
        if len(uids) > 2:
            client.uid("STORE", uids, "+FLAGS", "(\\Deleted)")
            client.do("expunge")

    def _append(self, client):
        text = f"Subject: draft {self.done}\r\nMessage-ID: <draft-{self.user}-{self.done}>\r\n\r\nhello\r\n"
        client.do("append", '"INBOX"', "(\\Draft)", None, text.encode())

    def _folder(self, client):
        client.select("INBOX")  # Dovecot hangs up on who has the deleted folder selected
        own = [folder for folder in client.folders() if folder != "INBOX"]
        if len(own) < 4 or self.random.random() < 0.3:
            self.folders += 1
            client.do("create", f'"Folder{self.folders}"')
        elif self.random.random() < 0.5:
            self.folders += 1
            client.do("rename", f'"{self.random.choice(own)}"', f'"Folder{self.folders}"')
        else:
            client.do("delete", f'"{self.random.choice(own)}"')

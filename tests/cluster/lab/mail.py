"""What mail is in a store, found by reading it."""

import os
import random
import re
from pathlib import Path

from .dovecot import VMAIL_UID

IDENT = re.compile(rb"^Message-ID: <([^>]*)>", re.M | re.I)


def idents(root):
    """{Message-ID: [paths]} of all messages in all new and cur below root."""
    found = {}
    for directory, _, names in os.walk(os.fsencode(root)):
        if os.path.basename(directory) in (b"new", b"cur"):
            for name in names:
                path = os.path.join(directory, name)
                ident = _ident(path)
                if ident is not None:
                    found.setdefault(ident, []).append(path)
    return found


def _ident(path):
    try:
        with open(path, "rb") as file:
            match = IDENT.search(file.read(4096))
    except FileNotFoundError:
        return None
    return match.group(1).decode() if match else None


def missing(history, root):
    """The Delivered of a history that are not below root."""
    found = idents(root)
    return [one for one in history if one.ident not in found]


def seed(root, users, folders, mails, size=2000, dense=False):
    """Writes Maildirs straight to the disk, as a store that has grown: users x folders x mails.

    dense: text that compression halves at best, for what must take time on a narrow link."""
    for user in range(users):
        home = Path(root) / "example.org" / f"user{user}"
        for folder in range(folders):
            _seed_folder(home if folder == 0 else home / f".Folder{folder}", user, folder, mails, size,
                         dense)
    for directory, _, names in os.walk(root):
        for name in (".", *names):
            os.chown(os.path.join(directory, name), VMAIL_UID, VMAIL_UID)


def _seed_folder(path, user, folder, mails, size, dense):
    for part in ("tmp", "new", "cur"):
        (path / part).mkdir(parents=True, exist_ok=True)
    for number in range(mails):
        text = f"Message-ID: <seed-{user}-{folder}-{number}>\nSubject: seed\n\n"
        if dense:
            text += random.Random(text).randbytes(size // 2).hex()
        text = text.ljust(size, "s")[:size]
        (path / "cur" / f"{1700000000 + number}.M{number}P1.seed,S={size}:2,S").write_text(text)

"""What ransomware does to a store: its files, control files first, overwritten in both manners."""

import random

SUFFIX = ".locked"


def files(host, user=None):
    """All files of the mail store, or of one user's mailbox: what is not a message comes first."""
    root = host.path(host.mail)
    if user is not None:
        name, domain = user.split("@")
        root = root / domain / name
    found = [one for one in root.rglob("*") if one.is_file() and ".mailtwin" not in one.parts]
    return sorted(found, key=lambda one: (one.parent.name in ("cur", "new"), one))


def _overwrite(file, chance):
    with open(file, "r+b") as open_file:
        open_file.write(chance.randbytes(max(file.stat().st_size, 100)))


def begin(host, seed=6):
    """A first pass, in place: what is no message, and ten messages. Returns those."""
    chance = random.Random(seed)
    found = files(host)
    for file in found:
        if file.parent.name not in ("cur", "new"):
            _overwrite(file, chance)
    messages = [one for one in found if one.name.endswith(":2,")][:10]
    for file in messages:
        _overwrite(file, chance)
    return messages


def encrypt(host, user=None, seed=7):
    """Every second file in its place, the others under a name that says so. Returns how many."""
    chance = random.Random(seed)
    found = files(host, user)
    for number, file in enumerate(found):
        if number % 2:
            file = file.rename(file.with_name(file.name + SUFFIX))
        _overwrite(file, chance)
    return len(found)


def empty(host, user=None):
    for file in files(host, user):
        with open(file, "r+b") as open_file:
            open_file.truncate(0)

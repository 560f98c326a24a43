"""Compares two stores without any code of mailtwin: names, types, bytes, modes, owners, times, extended
attributes and ACLs, symlink targets, hard links. Times of directories are not replicated."""

import fnmatch
import os
import stat

# What a store of kind maildir leaves out: it is a lock, a cache, or rebuilt. In cur and new no message: a message's
# name begins with a digit. In tmp also what is being delivered.
MAILDIR_IGNORED = ("[!.]*.lock", ".dovecot.lda-dupes.lock", "dovecot-uidlist.tmp", "dovecot.index", "dovecot.index.*",
                   "dovecot.list.index", "dovecot.list.index.*", "dovecot.mailbox.log", "dovecot.mailbox.log.*",
                   "maildirsize", "dovecot-acl-list")
# What of an MTA's queue is mail; all else is of one host alone. In QUEUE_WRITTEN a file counts once its owner
# may execute it.
QUEUE_PARTS = (b"incoming", b"active", b"deferred", b"hold", b"corrupt", b"defer", b"bounce", b"trace", b"flush",
               b"saved", b"maildrop")
QUEUE_WRITTEN = (b"incoming", b"maildrop")
PRIVATE = b".mailtwin"
CHUNK = 1 << 20


def ignored(directory, name, kind, in_tmp):
    """Is the name left out in this directory of a store of this kind?"""
    if kind == "queue":
        return directory == b"" and name not in QUEUE_PARTS
    if kind in ("ldap", "dump"):
        return name.startswith(b".tmp-")
    if kind != "maildir":
        return False
    if name[:1].isdigit() and (in_tmp or os.path.basename(directory) in (b"cur", b"new")):
        return in_tmp and b"." in name
    return any(fnmatch.fnmatchcase(os.fsdecode(name), pattern) for pattern in MAILDIR_IGNORED)


class Tree:
    """What is below root: path -> lstat, and which paths are one file."""

    def __init__(self, root, kind):
        self.root = os.fsencode(root)
        self.kind = kind
        self.found = {}
        self.links = {}
        self._walk(b"")

    def full(self, path):
        return os.path.join(self.root, path) if path else self.root

    def _walk(self, directory, in_tmp=False):
        names = set(os.listdir(self.full(directory)))
        for name in sorted(names):
            if ignored(directory, name, self.kind, in_tmp) or (directory == b"" and name == PRIVATE):
                continue
            path = os.path.join(directory, name)
            facts = os.lstat(self.full(path))
            if self._is_unfinished(directory, facts.st_mode):
                continue
            self.found[path] = facts
            if stat.S_ISDIR(facts.st_mode):
                self._walk(path, self._is_tmp(name, names))
            elif facts.st_nlink > 1:
                self.links.setdefault(facts.st_ino, set()).add(path)

    def _is_tmp(self, name, siblings):
        """The tmp of a Maildir: deliveries in it are nobody's yet."""
        return self.kind == "maildir" and name == b"tmp" and (b"cur" in siblings or b"new" in siblings)

    def _is_unfinished(self, directory, mode):
        """A queue file that is being written."""
        return (self.kind == "queue" and directory.split(b"/")[0] in QUEUE_WRITTEN and stat.S_ISREG(mode)
                and not mode & stat.S_IXUSR)

    def partners(self, path):
        """All names of the file below the root."""
        return self.links.get(self.found[path].st_ino, {path})

    def xattrs(self, path):
        full = self.full(path)
        return {name: os.getxattr(full, name, follow_symlinks=False)
                for name in os.listxattr(full, follow_symlinks=False)}


def _show(path):
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode()


def _same_bytes(one, other):
    with open(one, "rb") as first, open(other, "rb") as second:
        while True:
            left, right = first.read(CHUNK), second.read(CHUNK)
            if left != right:
                return False
            if not left:
                return True


def _content(one, other, path, facts):
    """What differs in the object itself, as words."""
    mode = facts.st_mode
    if stat.S_ISLNK(mode):
        targets = os.readlink(one.full(path)), os.readlink(other.full(path))
        return [] if targets[0] == targets[1] else [f"target {targets[0]!r} != {targets[1]!r}"]
    if stat.S_ISREG(mode) and not _same_bytes(one.full(path), other.full(path)):
        return ["bytes"]
    return []


def _facts(one, other, path):
    """What differs of two objects of one type."""
    left, right = one.found[path], other.found[path]
    words = []
    if stat.S_IMODE(left.st_mode) != stat.S_IMODE(right.st_mode):
        words.append(f"mode {left.st_mode:o} != {right.st_mode:o}")
    if (left.st_uid, left.st_gid) != (right.st_uid, right.st_gid):
        words.append(f"owner {left.st_uid}:{left.st_gid} != {right.st_uid}:{right.st_gid}")
    if not stat.S_ISDIR(left.st_mode):
        if left.st_mtime_ns != right.st_mtime_ns:
            words.append(f"mtime {left.st_mtime_ns} != {right.st_mtime_ns}")
        if one.partners(path) != other.partners(path):
            words.append(f"hard links {len(one.partners(path))} != {len(other.partners(path))}")
        if stat.S_ISREG(left.st_mode) and left.st_size != right.st_size:
            return [*words, f"size {left.st_size} != {right.st_size}"]
    if one.xattrs(path) != other.xattrs(path):
        words.append("extended attributes")
    return words + _content(one, other, path, left)


def differences(one_root, other_root, kind):
    """A line for each difference, none when the stores are the same."""
    one, other = Tree(one_root, kind), Tree(other_root, kind)
    lines = [f"only in the first: {_show(path)}" for path in sorted(one.found.keys() - other.found.keys())]
    lines += [f"only in the second: {_show(path)}" for path in sorted(other.found.keys() - one.found.keys())]
    for path in sorted(one.found.keys() & other.found.keys()):
        types = stat.S_IFMT(one.found[path].st_mode), stat.S_IFMT(other.found[path].st_mode)
        if types[0] != types[1]:
            lines.append(f"{_show(path)}: type {types[0]:o} != {types[1]:o}")
            continue
        words = _facts(one, other, path)
        if words:
            lines.append(f"{_show(path)}: " + ", ".join(words))
    return lines

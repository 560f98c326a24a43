"""Everything that can be done to files, at random, from a seed: for stores of kind files. And a mail
program that writes Maildirs by itself, past Dovecot."""

import os
import random
import shutil
import socket
import subprocess
import threading
import time

from .dovecot import VMAIL_UID

ODD_NAMES = ["plain", "with space", "näme", "new\nline", "tab\there", "quote\"'", "-dash", ".hidden", "back\\slash",
             "*?[x]", "x" * 250, "\udcff\udcfe bytes", "semi;colon", "%41", "trailing."]


class FilesChaos:
    """step() does one act below root. It keeps no picture of the tree: it looks."""

    def __init__(self, root, seed=1, limit=300):
        self.root = str(root)
        self.random = random.Random(seed)
        self.limit = limit
        self.made = 0
        self.acts = [self.create, self.create, self.create, self.append, self.overwrite, self.truncate, self.sparse,
                     self.rename_file, self.rename_directory, self.replace, self.hard_link, self.symlink, self.fifo,
                     self.mode, self.owner, self.xattr, self.acl, self.times, self.unlink, self.make_directory,
                     self.remove_tree, self.swap]

    def step(self):
        """One random act; what is no longer there is fine. Returns its name."""
        act = self.random.choice(self.acts)
        try:
            act()
        except FileNotFoundError:
            pass
        return act.__name__

    # --- choosing ---

    def _walk(self):
        for directory, below, names in os.walk(self.root):
            if ".mailtwin" in below:
                below.remove(".mailtwin")
            below.sort()
            yield directory, below, sorted(names)

    def _directory(self):
        return self.random.choice([directory for directory, _, _ in self._walk()])

    def _subdirectory(self):
        found = [directory for directory, _, _ in self._walk()][1:]
        return self.random.choice(found) if found else None

    def _file(self, regular=True):
        found = [os.path.join(directory, name) for directory, _, names in self._walk() for name in names]
        found = [path for path in found if not regular or (os.path.isfile(path) and not os.path.islink(path))]
        if not found:
            raise FileNotFoundError
        return self.random.choice(found)

    def _new_name(self):
        self.made += 1
        odd = self.random.choice(ODD_NAMES)
        name = odd if len(odd) > 200 else f"{odd}{self.made}"
        return os.path.join(self._directory(), name)

    def _bytes(self):
        return self.random.randbytes(self.random.choice([0, 1, 100, 4096, 5000, 70000, 400000]))

    # --- acts ---

    def create(self):
        if sum(len(names) for _, _, names in self._walk()) > self.limit:
            self.unlink()
            return
        target = self._new_name()
        if not os.path.lexists(target):
            with open(target, "wb") as file:
                file.write(self._bytes())

    def append(self):
        with open(self._file(), "ab") as file:
            file.write(self._bytes())

    def overwrite(self):
        path = self._file()
        with open(path, "r+b") as file:
            file.seek(self.random.randint(0, os.path.getsize(path)))
            file.write(self._bytes())

    def truncate(self):
        path = self._file()
        os.truncate(path, self.random.randint(0, os.path.getsize(path) + 10000))

    def sparse(self):
        target = self._new_name()
        if os.path.lexists(target):
            return
        with open(target, "wb") as file:
            file.seek(self.random.randint(1, 64) << 20)
            file.write(b"far out")

    def rename_file(self):
        source, target = self._file(regular=False), self._new_name()
        if not os.path.isdir(target):
            os.rename(source, target)

    def rename_directory(self):
        source = self._subdirectory()
        target = self._new_name()
        if source and not os.path.lexists(target) and not (target + "/").startswith(source + "/"):
            os.rename(source, target)

    def replace(self):
        """As editors do: a new file is renamed over the old one."""
        path = self._file()
        part = path[:-1] + "~" if len(os.path.basename(path)) > 1 else path + "~"
        if os.path.isdir(part):
            return
        with open(part, "wb") as file:
            file.write(self._bytes())
        os.rename(part, path)

    def hard_link(self):
        target = self._new_name()
        if not os.path.lexists(target):
            os.link(self._file(), target)

    def symlink(self):
        target = self._new_name()
        if not os.path.lexists(target):
            os.symlink(self.random.choice(["/etc/passwd", "../up", "gone", "x" * 1000, "sub/näme"]), target)

    def fifo(self):
        target = self._new_name()
        if not os.path.lexists(target):
            os.mkfifo(target, 0o640)

    def mode(self):
        os.chmod(self._file(), self.random.choice([0o600, 0o644, 0o4755, 0o2640, 0o400, 0o000]))
        if path := self._subdirectory():
            os.chmod(path, self.random.choice([0o755, 0o700, 0o2775, 0o1777]))

    def owner(self):
        os.chown(self._file(regular=False), self.random.choice([0, VMAIL_UID, 65534]), self.random.choice([0, 12]),
                 follow_symlinks=False)

    def xattr(self):
        path = self.random.choice([self._file(), self._directory()])
        name = f"user.lab{self.random.randint(1, 3)}"
        if name in os.listxattr(path) and self.random.random() < 0.4:
            os.removexattr(path, name)
        else:
            os.setxattr(path, name, self.random.randbytes(self.random.choice([0, 1, 60, 1000])))

    def acl(self):
        path = self._file()
        entry = f"u:{self.random.choice([1, 2, 3])}:{self.random.choice(['r--', 'rw-', 'rwx'])}"
        subprocess.run(["setfacl", "-m", entry, "--", path], check=False, capture_output=True)

    def times(self):
        stamp = self.random.randint(0, 2_000_000_000_000_000_000)
        os.utime(self._file(), ns=(stamp, stamp))

    def unlink(self):
        os.unlink(self._file(regular=False))

    def make_directory(self):
        target = self._new_name()
        if not os.path.lexists(target):
            os.makedirs(os.path.join(target, "deep", "deeper"))

    def remove_tree(self):
        if self.random.random() < 0.3 and (path := self._subdirectory()):
            shutil.rmtree(path)

    def swap(self):
        """Two files change names by way of a third one."""
        one, other = self._file(), self._file()
        if one != other:
            third = os.path.join(self.root, f"third{self.made}")
            os.rename(one, third)
            os.rename(other, one)
            os.rename(third, other)


class MaildirWriter:
    """Delivers as a program does that writes Maildirs by itself: tmp, fsync, rename to new; then marks
    mails as read, moves and deletes them by renaming and unlinking."""

    def __init__(self, root, seed=1):
        self.root = str(root)
        self.random = random.Random(seed)
        self.number = 0
        for part in ("tmp", "new", "cur"):
            os.makedirs(os.path.join(self.root, part), exist_ok=True)
        for directory in (os.path.dirname(self.root), *(found[0] for found in os.walk(self.root))):
            os.chown(directory, VMAIL_UID, VMAIL_UID)

    def deliver(self, size=2000):
        """Returns the path of the new mail."""
        self.number += 1
        name = f"{time.time():.6f}.W{self.number}.{socket.gethostname()},S={size}"
        part = os.path.join(self.root, "tmp", name)
        with open(part, "wb") as file:
            file.write(f"Message-ID: <direct-{name}>\n\n".encode() + self.random.randbytes(size))
            os.fchown(file.fileno(), VMAIL_UID, VMAIL_UID)
            os.fsync(file.fileno())
        final = os.path.join(self.root, "new", name)
        os.rename(part, final)
        return final

    def step(self):
        """A delivery, or something done to a mail."""
        act = self.random.choice([self.deliver, self.deliver, self.read, self.flag, self.delete])
        try:
            act()
        except FileNotFoundError:
            pass

    def _any(self, part):
        names = sorted(os.listdir(os.path.join(self.root, part)))
        if not names:
            raise FileNotFoundError
        return os.path.join(self.root, part, self.random.choice(names))

    def read(self):
        path = self._any("new")
        os.rename(path, os.path.join(self.root, "cur", os.path.basename(path) + ":2,S"))

    def flag(self):
        path = self._any("cur")
        flags = "".join(sorted(self.random.sample("DFRST", self.random.randint(0, 5))))
        os.rename(path, path.partition(":2,")[0] + ":2," + flags)

    def delete(self):
        if self.number > 20:
            os.unlink(self._any(self.random.choice(["new", "cur"])))


class Steps:
    """A thread that calls what.step() until it is stopped, or until the host goes down. rate: steps a
    second at most. An error of a host that is up is raised by stop()."""

    def __init__(self, host, what, rate=200):
        self.host = host
        self.what = what
        self.rate = rate
        self.done = 0
        self.error = None
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
        if self.error is not None:
            raise self.error

    def _work(self):
        try:
            while self.host.up and not self._stop.wait(1 / self.rate):
                self.what.step()
                self.done += 1
        except OSError as error:
            if self.host.up:
                self.error = error

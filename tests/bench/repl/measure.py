"""Measuring: lag of deliveries, processor time, memory; and stores to measure on."""

import contextlib
import json
import os
import queue
import socket
import statistics
import subprocess
import threading
import time
from pathlib import Path

from lab import Lab, mail, proc, wait_until
from lab.disk import MAKERS
from lab.lmtp import LmtpLoad

from .arrivals import Arrivals
from .peers import USERS

TWO_MACHINES = {"mx1": "0", "mx2": "1"}  # each host keeps to one processor, as if it were a machine


def percentile(values, share):
    """The value below which `share` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Seen:
    """A run of deliveries: lags in seconds in the order of delivery, None for what never came."""

    def __init__(self, history, at, seconds):
        self.rate = len(history) / seconds
        self.lags = [at[one.ident] - one.accepted if one.ident in at else None for one in history]
        self.missing = self.lags.count(None)

    def arrived(self):
        return [lag for lag in self.lags if lag is not None]

    def p50(self):
        return percentile(self.arrived(), 0.5)

    def p99(self):
        return percentile(self.arrived(), 0.99)

    def growth(self):
        """Median of the last third over the median of the first third."""
        lags = self.arrived()
        third = len(lags) // 3
        return statistics.median(lags[-third:]) / max(1e-6, statistics.median(lags[:third]))


def start_mail(lab, peer):
    """Dovecot on a (and on b where the peer needs it), a mail for every user, the peer level."""
    lab["mx1"].dovecot.start(peer.dovecot_on_a)
    if peer.dovecot_on_b is not None:
        lab["mx2"].dovecot.start(peer.dovecot_on_b)
    with lab.lmtp("mx1") as client:
        for user in USERS:
            client.deliver(user)
    peer.start()
    b = lab["mx2"]
    folders = [b.path(f"{b.mail}/example.org/{user.partition('@')[0]}/{part}") for user in USERS
               for part in ("new", "cur")]
    wait_until(lambda: all(folder.exists() for folder in folders), 60, "the users' folders on the standby")


def deliver(host, seconds, rate, after=None):
    """Delivers for a while, without a rate over four connections at once; (history, seconds it took)."""
    began = time.monotonic()
    loads = [LmtpLoad(host, USERS[first:] + USERS[:first], rate=rate, after=after)
             for first in range(1 if rate else 4)]
    for load in loads:
        load.start()
    wait_until(lambda: time.monotonic() >= began + seconds, seconds + 60, "the end of the measurement")
    took = time.monotonic() - began
    history = [one for load in loads for one in load.stop() if one.accepted <= began + took]
    return sorted(history, key=lambda one: one.accepted), took


def lag_by_arrival(lab, seconds, rate, patience=60):
    """When the mails appear under their name on b, durable or not."""
    with Arrivals(lab["mx2"], USERS) as arrivals:
        history, took = deliver(lab["mx1"], seconds, rate)
        end = time.monotonic() + patience
        wait_until(lambda: time.monotonic() > end or all(one.ident in arrivals.at for one in history), patience + 10,
                   "arrivals")
    return Seen(history, arrivals.at, took)


class Barriers:
    """Asks a's barrier right after each delivery; at[ident] is when it opened: durable on b."""

    def __init__(self, host, workers=4):
        self.at = {}
        self.failed = 0
        self.socket = str(host.path("/run/mailtwin/barrier.sock"))
        self.queue = queue.Queue()
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, value, trace):
        for _ in self.threads:
            self.queue.put(None)
        for thread in self.threads:
            thread.join(60)

    def ask(self, delivered):
        self.queue.put(delivered.ident)

    def _work(self):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.socket)
            file = sock.makefile("rwb")
            while (ident := self.queue.get()) is not None:
                file.write(b'{"do":"barrier","timeout_ms":20000}\n')
                file.flush()
                if json.loads(file.readline()).get("ok"):
                    self.at[ident] = time.monotonic()
                else:
                    self.failed += 1


def lag_by_barrier(lab, seconds, rate):
    """When each mail is durable on b, as a's barrier tells an MTA that waits for it."""
    with Barriers(lab["mx1"]) as barriers:
        history, took = deliver(lab["mx1"], seconds, rate, barriers.ask)
    return Seen(history, barriers.at, took)


class Cpu:
    """Share of a core used by processes and the children they have waited for, between begin and end."""

    def __init__(self, pids):
        self.pids = pids
        self.began = time.monotonic()
        self.used = self._sum()

    def _sum(self):
        return sum(_with_children(pid) for pid in self.pids)

    def share(self):
        return (self._sum() - self.used) / (time.monotonic() - self.began)


def _with_children(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def memory(pids):
    """The most resident memory the processes ever had, file pages of the state not counted."""
    return sum(proc.memory_bytes(pid, "RssAnon") for pid in pids)


@contextlib.contextmanager
def inotify_watches(least):
    """The machine's limit of inotify watches is at least that high meanwhile; lsyncd needs one a directory."""
    knob = Path("/proc/sys/fs/inotify/max_user_watches")
    before = int(knob.read_text())
    knob.write_text(str(max(before, least)))
    try:
        yield
    finally:
        knob.write_text(str(before))


class Template:
    """An image with a seeded store, made once for several runs."""

    def __init__(self, folder, size_mb, mkfs=()):
        self.image = Path(folder) / "template.img"
        with open(self.image, "wb") as file:
            file.truncate(size_mb << 20)
        subprocess.run([*MAKERS["ext4"], *mkfs, str(self.image)], check=True, capture_output=True)

    def fill(self, **shape):
        """shape: see mail.seed()."""
        with Lab(["mx1"], templates={"mx1": self.image}) as lab:
            lab.boot()
            host = lab["mx1"]
            mail.seed(host.path(host.mail), **shape)
            host.sync()
            host.halt()
            os.replace(lab.directory / "hosts" / "mx1" / "store.img", self.image)
        return self.image

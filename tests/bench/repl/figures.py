"""The figures: each function measures one and returns its rows."""

import os
import statistics
import tempfile
import time
from pathlib import Path

from lab import Lab, wait_until
from lab.chaos import MaildirWriter
from lab.host import STORE
from lab.lab import SCRATCH

from . import measure, peers
from .measure import TWO_MACHINES
from .report import figure


def _lab(template=None, size_mb=4096, both=False, **options):
    """template: what a's disk begins with; both: b's too."""
    templates = {}
    if template is not None:
        templates = {"mx1": template, "mx2": template} if both else {"mx1": template}
    return Lab(["mx1", "mx2"], size_mb=size_mb, cpus=TWO_MACHINES, templates=templates, state_mb=4096,
               mkfs=("-N", str(options.pop("inodes", 262144))), stores=peers.MAIL_ONLY, **options)


def _with(peer_class, work, **options):
    """work(lab, peer) in a fresh lab."""
    with _lab(**options) as lab:
        lab.boot()
        return work(lab, peer_class(lab))


# --- lag ---

def _arrival(lab, peer, seconds, rate):
    measure.start_mail(lab, peer)
    return measure.lag_by_arrival(lab, seconds, rate)


def _durable(lab, peer, seconds, rate):
    measure.start_mail(lab, peer)
    return measure.lag_by_barrier(lab, seconds, rate)


def lag(scale):
    """(a) lag of a delivery at 100 a second."""
    seconds = max(3, 30 * scale)
    ours = _with(peers.Mailtwin, lambda lab, peer: _durable(lab, peer, seconds, 100))
    seen = _with(peers.Mailtwin, lambda lab, peer: _arrival(lab, peer, seconds, 100))
    others = {peer.name: _with(peer, lambda lab, one: _arrival(lab, one, seconds, 100))
              for peer in (peers.Lsyncd, peers.Dsync)}
    note = (f"{seconds:g} s of LMTP at 100/s, ours {ours.rate:.0f}/s. Ours is durable on the standby (barrier asked "
            f"after each mail); appearing under its name, which is what is measured of the peers, took p50 "
            f"{seen.p50() * 1000:.2f} ms, p99 {seen.p99() * 1000:.2f} ms. Reached: "
            + ", ".join(f"{name} {one.rate:.0f}/s, {one.missing} missing" for name, one in others.items()))
    rows = []
    for word, limit in (("p50", 10), ("p99", 100)):
        rows.append(figure(f"lag of a delivery, {word}", "ms", getattr(ours, word)() * 1000,
                           {name: getattr(one, word)() * 1000 for name, one in others.items()},
                           f"<= {limit} ms" + (", 20 times below the best peer" if word == "p50" else ""), note,
                           at_most=limit, at_least=20 if word == "p50" else None))
        note = ""
    if ours.missing:
        rows[0].update(met=False, note=f"{ours.missing} barriers did not open")
    return rows


# --- at the highest rate ---

def _alone(seconds):
    with _lab() as lab:
        lab.boot()
        lab["mx1"].dovecot.start()
        history, took = measure.deliver(lab["mx1"], seconds, None)
        return len(history) / took


def peak(scale):
    """(b) the deliverer at full speed, alone and replicated."""
    seconds = max(4, 30 * scale)
    alone = _alone(seconds)
    runs = {peer.name: _with(peer, lambda lab, one: _arrival(lab, one, seconds, None))
            for peer in (peers.Mailtwin, peers.Lsyncd, peers.Dsync)}
    again = _alone(seconds)
    base = statistics.mean([alone, again])
    slower = {name: 100 * (1 - run.rate / base) for name, run in runs.items()}
    growth = {name: run.growth() for name, run in runs.items()}
    note = (f"{seconds:g} s; alone {alone:.0f}/s before and {again:.0f}/s after; replicated "
            + ", ".join(f"{name} {run.rate:.0f}/s (lag p50 {run.p50() * 1000:.1f} ms)" for name, run in runs.items())
            + ". Four connections; they and the primary share one processor.")
    ours = peers.Mailtwin.name
    return [figure("deliverer slowed at the highest LMTP rate", "%", slower.pop(ours), slower, "< 10 %", note,
                   at_most=10, times=False),
            figure("growth of lag at the highest LMTP rate", "last third / first third", growth.pop(ours), growth,
                   "does not grow (<= 1.5)", "", at_most=1.5, times=False)]


# --- initial sync ---

def _initial(lab, peer):
    peer.prepare()
    began = time.monotonic()
    peer.once()
    took = time.monotonic() - began
    lab.compare(lab["mx1"], lab["mx2"])
    return took


def initial(scale):
    """(c) initial sync of 100,000 mails of 20 KB."""
    users = max(2, int(1000 * scale))
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        size_mb = 1024 + users * 100 * 24 // 1000
        template = measure.Template(folder, size_mb).fill(users=users, folders=5, mails=20, size=20000)
        times = {peer.name: _with(peer, _initial, template=template, size_mb=size_mb)
                 for peer in (peers.Mailtwin, peers.RsyncDaemon, peers.RsyncSsh)}
    ours = times.pop(peers.Mailtwin.name)
    note = f"{users * 100} mails of 20,000 bytes; all of them end with the data on the standby's disk"
    return [figure("initial sync against rsync over ssh", "s", ours, times, ">= 1.5 times faster", note, at_least=1.5,
                   against=peers.RsyncSsh.name),
            figure("initial sync against a plain rsync daemon", "s", ours, times, "not slower", "", at_least=1,
                   against=peers.RsyncDaemon.name)]


# --- level again ---

def _change(root, changes):
    """Deliveries, flags and deletions, each in another place of a seeded store."""
    folders = sorted(path for path in Path(root).glob("example.org/*/*/cur"))
    step = max(1, len(folders) // changes)
    for number, folder in enumerate(folders[::step][:changes]):
        mails = sorted(os.listdir(folder))
        if number % 3 == 0:
            (folder.parent / "new" / f"1800000000.M{number}P9.bench").write_text("Subject: new\n\nnew\n")
        elif number % 3 == 1:
            os.rename(folder / mails[0], folder / (mails[0] + "F"))
        else:
            os.unlink(folder / mails[-1])


def _again_ours(lab, peer, changes):
    peer.start()
    a, b = lab["mx1"], lab["mx2"]
    lab.network.cut(a, b)
    a.daemon.wait_status(lambda status: a.daemon.peer(b.name, status).get("state") != "connected", 120, "peer lost")
    _change(a.path(a.mail), changes)
    lab.network.heal(a, b)  # packets go both ways again only when the second filter is gone
    began = time.monotonic()
    a.daemon.wait_peer(b.name, "connected", within=600)
    lab.level(a, within=600)
    return time.monotonic() - began


def _again_rsync(lab, peer, changes):
    peer.prepare()
    peer.once()
    _change(lab["mx1"].path(lab["mx1"].mail), changes)
    began = time.monotonic()
    peer.once()
    return time.monotonic() - began


def again(scale):
    """(d) level again after a cut with 1,000 changes in a store of a million files."""
    users = max(2, int(1000 * scale))
    changes = max(20, int(1000 * scale))
    options = {"size_mb": 2048 + users * 5, "inodes": 65536 + users * 1200}
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        template = measure.Template(folder, options["size_mb"], ("-N", str(options["inodes"])))
        image = template.fill(users=users, folders=10, mails=100, size=300)
        ours = _with(peers.Mailtwin, lambda lab, peer: _again_ours(lab, peer, changes), template=image, **options)
        times = {peer.name: _with(peer, lambda lab, one: _again_rsync(lab, one, changes), template=image, both=True,
                                  **options) for peer in (peers.RsyncDaemon, peers.RsyncSsh)}
    note = (f"{changes} changes in {users * 1000} files; ours from the healing of the cut, with the time it takes to "
            "connect again, to the opened barrier")
    return [figure("level again after a cut", "s", ours, times, ">= 50 times faster", note, at_least=50)]


# --- a million directories ---

def _directories(folder, count, options):
    """An image with that many directories below the mail store."""
    template = measure.Template(folder, options["size_mb"], ("-N", str(options["inodes"])))
    with _lab(template=template.image, **options) as lab:
        host = lab["mx1"]
        host.boot()
        root = host.path(host.mail)
        for number in range(count // 1000):
            for below in range(999):
                os.makedirs(root / f"d{number}" / f"e{below}")
        host.sync()
        host.halt()
        os.replace(host.directory / "store.img", template.image)
    return template.image


def _start_again(lab, peer):
    """(memory, seconds of a start after a clean stop, sweeps in it)."""
    daemon = lab["mx1"].daemon
    peer.prepare()
    memory = measure.memory(daemon.pids())
    daemon.stop()
    sweeps = len(daemon.events("SWEEP_BEGIN"))
    began = time.monotonic()
    daemon.start()
    peer.indexed()
    took = time.monotonic() - began
    return memory, took, len(daemon.events("SWEEP_BEGIN")) - sweeps


def _start_lsyncd(lab, peer):
    """(memory, seconds until it watches a tree that is already level)."""
    peers.serve_rsync(lab["mx2"])
    peers.RsyncDaemon(lab).once()
    began = time.monotonic()
    peer.start(serve=False)
    return measure.memory(peer.processes()), time.monotonic() - began


def directories(scale):
    """(e) a million directories: memory, and a start after a clean stop."""
    count = max(2000, int(1_000_000 * scale) // 1000 * 1000)
    options = {"size_mb": 1024 + count * 5 // 1000, "inodes": 65536 + count * 11 // 10}
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        image = _directories(folder, count, options)
        memory, took, sweeps = _with(peers.Mailtwin, _start_again, template=image, **options)
        with measure.inotify_watches(count + 10000):
            theirs = _with(peers.Lsyncd, _start_lsyncd, template=image, **options)
    rows = [figure("memory for a million directories", "MB", memory / 1e6, {peers.Lsyncd.name: theirs[0] / 1e6},
                   "<= 100 MB", f"{count} directories; anonymous memory of both roles; lsyncd's inotify watches are "
                   "kernel memory and come on top", at_most=100),
            figure("start after a clean stop", "s", took, {peers.Lsyncd.name: theirs[1]}, "<= 2 s, without a scan",
                   f"{count} directories, {sweeps} sweeps; lsyncd until its startup is finished on a level tree",
                   at_most=2)]
    rows[1]["met"] = rows[1]["met"] and sweeps == 0
    return rows


# --- processor ---

def _thousand(lab, peer, seconds):
    """Share of a core while a Maildir is changed 1,000 times a second, and the rate that was reached."""
    a = lab["mx1"]
    writer = MaildirWriter(a.path(a.mail) / "example.org/ann", seed=5)
    peer.start()
    cpu = measure.Cpu(peer.processes())
    began = time.monotonic()
    done = 0
    while time.monotonic() < began + seconds:
        due = int((time.monotonic() - began) * 1000)
        while done < due:
            writer.step()
            done += 1
        wait_until(lambda: time.monotonic() - began >= (done + 1) / 1000, 1, "the next change is due", every=0.0005)
    return cpu.share(), done / seconds


def processor(scale):
    """(f) processor time of the primary's daemon at 1,000 changes a second."""
    seconds = max(3, 20 * scale)
    ours, rate = _with(peers.Mailtwin, lambda lab, peer: _thousand(lab, peer, seconds))
    theirs, their_rate = _with(peers.Lsyncd, lambda lab, peer: _thousand(lab, peer, seconds))
    return [figure("processor time at 1,000 changes/s", "% of a core", ours * 100, {peers.Lsyncd.name: theirs * 100},
                   "<= 25 %", f"{seconds:g} s of deliveries, flags and deletions on {STORE}: {rate:.0f} changes/s, with "
                   f"lsyncd {their_rate:.0f}/s; lsyncd with its rsyncs, which merge changes they come late for",
                   at_most=25)]


FIGURES = {"lag": lag, "peak": peak, "initial": initial, "again": again, "directories": directories,
           "processor": processor}

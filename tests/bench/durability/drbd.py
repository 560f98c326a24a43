"""LMTP through the gate with a durable standby, beside the same Dovecot on DRBD (protocol C) and on a disk of its own: three
filesystems of one size in the same two virtual machines. One server serves them all: a domain is a disk."""

import statistics

from lab.dovecot import LMTP_PORT, VMAIL_UID
from lab.gate import PORT, Gate, section
from repl.measure import TWO_MACHINES
from repl.report import figure
from vms import VmLab
from vms.disk import SlowDisk, make_filesystem, mount
from vms.drbd import Drbd

from .gate import Turns

DISKS = {"plain": 2048, "drbd": 2048, "twin": 2048}
STORE = "/srv/twin/vmail"
PEER = "DRBD protocol C"
ALONE = "one machine's ext4"
CONNECTIONS = (1, 10)
TURNS = 4
# Emulated, a processor is some thirty times slower and a disk is not. A flush of a millisecond is slowed down as much.
FLUSHES_MS = (0, 30)
# Starting a process takes most of a second there.
READY = f"""service lmtp {{
  process_min_avail = {2 * max(CONNECTIONS)}
}}
"""
# Refused, not degraded, should the standby be lost: then there is no figure.
STORES = {"mail": {"kind": "maildir", "path": STORE, "durability": "durable", "when-alone": "refuse"}}


def _lab():
    """The state lies on the disk with the mail, as DRBD's own data do."""
    lab = VmLab(disks=DISKS, cpus=TWO_MACHINES, stores=STORES, settings={"state-dir": "/srv/twin/state"})
    lab.text = section(backend="unix:/run/dovecot/lmtp") + lab.text
    for host in lab.hosts.values():
        lab.configure(host)
    return lab


def _disks(lab):
    """All three are mounted on mx1, ours on mx2, too. Returns the DRBD and all disks."""
    first, second = lab["mx1"], lab["mx2"]
    slow = {(host, name): SlowDisk(host, name) for host in (first, second) for name in DISKS}
    drbd = Drbd(first, second, slow[first, "drbd"].device)
    drbd.create()
    drbd.mount(first, "/srv/drbd", fresh=True)
    for host, name in ((first, "plain"), (first, "twin"), (second, "twin")):
        make_filesystem(host, slow[host, name].device)
        mount(host, slow[host, name].device, f"/srv/{name}")
    for host in lab.hosts.values():
        host.run("sh", "-ec", f"for disk in /srv/*; do install -d -o {VMAIL_UID} -g {VMAIL_UID} $disk/vmail; done;"
                 "install -d -m 700 /srv/twin/state")
    return drbd, slow.values()


def _start(lab):
    """Dovecot, both daemons and the gate; every user has a mail, and the standby has them."""
    first = lab["mx1"]
    first.mail = "/srv/%d/vmail"  # in Dovecot's words
    lab.serve(dovecot=False)
    first.dovecot.start(READY)
    Gate(first).start()
    for name in DISKS:
        with lab.lmtp("mx1") as client:
            for user in _users(name):
                client.deliver(user)
    lab.level(first)


def _users(disk):
    return [f"u{number}@{disk}" for number in range(max(CONNECTIONS))]


def _count(host, disk):
    """Mails in all folders below a disk."""
    return int(host.run("sh", "-c", f"find /srv/{disk}/vmail -path '*/new/*' -type f | wc -l").stdout)


def _measure(lab, connections, seconds):
    """{disk: Turns}, turn by turn one after the other, each time another one first: what else the machine does hits all."""
    first = lab["mx1"]
    all_turns = {name: Turns(first, PORT if name == "twin" else LMTP_PORT, _users(name)) for name in DISKS}
    order = list(all_turns.values())
    for one in order:
        one.warm(connections, seconds)
    for _ in range(TURNS):
        for one in order:
            one.turn(connections, seconds)
        order.append(order.pop(0))
    return all_turns


def _rows(connections, flush_ms, turns):
    words = f"{connections} connection{'s' if connections > 1 else ''}"
    words += f", flushes of {flush_ms} ms" if flush_ms else ""
    twin, drbd, plain = (turns[name] for name in ("twin", "drbd", "plain"))
    share = sorted(ours / theirs for ours, theirs in zip(twin.rates, drbd.rates))
    note = (f"Emulated machines: the ratio of one run counts, not the figures. {TURNS} turns of each, one after the other, "
            f"{len(twin.latencies)}, {len(drbd.latencies)} and {len(plain.latencies)} mails; medians. Turn by turn the ratio is {share[0]:.2f} to {share[-1]:.2f}, "
            f"median {statistics.median(share):.2f}. p50 {twin.p50():.0f} ms, {PEER} {drbd.p50():.0f} ms, {ALONE} {plain.p50():.0f} ms")
    goal = "not slower than DRBD protocol C"
    return [figure(f"LMTP beside DRBD, {words}", "mails/s", twin.rate(), {PEER: drbd.rate(), ALONE: plain.rate()}, goal, note,
                   at_least=1, against=PEER, lower_is_better=False),
            figure(f"LMTP beside DRBD, {words}, p99", "ms", twin.p99(), {PEER: drbd.p99(), ALONE: plain.p99()}, goal, "",
                   at_least=1, against=PEER)]


def _check(lab, drbd):
    """Both were in force to the end, and the standby has what it should."""
    first, second = lab["mx1"], lab["mx2"]
    drbd.wait_state("Connected", "Primary/Secondary", "UpToDate/UpToDate", host=first, within=1)
    lab.level(first)
    assert not first.daemon.events("DEGRADED"), first.daemon.events("DEGRADED")
    here, there = _count(first, "twin"), _count(second, "twin")
    assert here == there, f"{here} mails on mx1, {there} on mx2"


def drbd(scale):
    """Durable LMTP beside DRBD, in two virtual machines. They are emulated: the ratios of one run count, not the figures."""
    seconds = max(3, 6 * scale)
    rows = []
    with _lab() as lab:
        lab.boot()
        device, disks = _disks(lab)
        _start(lab)
        for flush_ms in FLUSHES_MS:
            for disk in disks:
                disk.flushes_take(flush_ms)
            for connections in CONNECTIONS:
                rows += _rows(connections, flush_ms, _measure(lab, connections, seconds))
        _check(lab, device)
    return rows


FIGURES = {"drbd": drbd}

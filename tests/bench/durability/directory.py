"""A directory kept on two nodes, beside OpenLDAP's own replication (syncrepl, refreshAndPersist) between the same servers."""

import time

from lab import Lab
from lab.slapd import ADMIN, BASE, PEOPLE, SECRET, URI, Directoryd, Slapd, store
from lab.wait import wait_until
from repl.measure import TWO_MACHINES, percentile
from repl.report import figure

ENTRIES = 50000
CHANGES = 200
SYNCREPL = f"""\
dn: olcDatabase={{{{1}}}}mdb,cn=config
changetype: modify
add: olcSyncrepl
olcSyncrepl: rid=001 provider=ldap://{{provider}}:389 type=refreshAndPersist retry="1 +" searchbase="{BASE}" bindmethod=simple binddn="{ADMIN}" credentials={SECRET}
"""


def _servers(lab, entries):
    """A full one on mx1, an empty one on mx2."""
    here, there = Slapd(lab["mx1"]), Slapd(lab["mx2"])
    for slapd in (here, there):
        slapd.install()
    here.start()
    here.fill()
    here.stop()
    here.load(entries)
    here.start()
    there.start()
    return here, there


def _ask(slapd, *arguments, **options):
    return slapd.host.run("ldapsearch", "-x", "-LLL", "-H", URI, "-D", ADMIN, "-w", SECRET, *arguments, **options)


def _filled(there, entries, began):
    """The last accounts are there, then all are counted."""
    last = f"uid=u{entries - 1},{PEOPLE}"
    wait_until(lambda: _ask(there, "-b", last, "-s", "base", "1.1", check=False).returncode == 0, 600, last, every=0.1)
    wait_until(lambda: _ask(there, "-b", BASE, "1.1").stdout.count("dn: ") == entries + 2, 600, "all", every=0.3)
    return time.monotonic() - began


def _changes(here, there, count):
    """Milliseconds from the answer of the primary's server until the standby's server tells a search that stays open."""
    log = there.host.directory / "log" / "watch.out"
    watch = there.host.spawn("stdbuf", "-oL", "ldapsearch", "-x", "-H", URI, "-D", ADMIN, "-w", SECRET, "-b", PEOPLE,
                             "-E", "!sync=rp", "(uid=u1)", "description", log="watch.out")
    wait_until(lambda: log.exists() and "refresh done" in log.read_text(), 30, "the watch stands")
    times = []
    for number in range(count):
        seen = log.stat().st_size
        here.replace(f"uid=u1,{PEOPLE}", "description", f"c{number}.")
        times.append(_seen_after(log, seen, f"c{number}.".encode()))
    watch.kill()
    return times


def _seen_after(log, seen, wanted):
    answered = time.monotonic()
    with open(log, "rb") as out:
        out.seek(seen)
        text = b""
        while wanted not in text:
            text += out.read()
            if time.monotonic() > answered + 30:
                raise AssertionError(f"{wanted} does not arrive")
            time.sleep(0.0002)
    return (time.monotonic() - answered) * 1000


def _lab():
    return Lab(["mx1", "mx2"], stores={"directory": store()}, settings={"directory-user": "nobody"}, state_mb=2048,
               size_mb=2048, cpus=TWO_MACHINES)


def _ours(entries, count):
    with _lab() as lab:
        lab.start(dovecot=False)
        here, there = _servers(lab, entries)
        began = time.monotonic()
        for host in (here.host, there.host):
            Directoryd(host).start()
        return _filled(there, entries, began), _changes(here, there, count)


def _syncrepl(entries, count):
    with _lab() as lab:
        lab.boot()
        here, there = _servers(lab, entries)
        began = time.monotonic()
        there.host.run("ldapmodify", "-x", "-H", URI, "-D", "cn=config", "-w", SECRET,
                       stdin=SYNCREPL.format(provider=here.host.address))
        return _filled(there, entries, began), _changes(here, there, count)


def directory(scale):
    """A directory on the standby's server: all of it, and one change."""
    entries, count = max(500, int(ENTRIES * scale)), max(50, int(CHANGES * scale))
    ours, changes = _ours(entries, count)
    theirs, their_changes = _syncrepl(entries, count)
    peer = "OpenLDAP syncrepl"
    return [
        figure(f"a directory of {entries} entries on the standby's server", "s", ours, {peer: theirs}, "<= 60 s",
               "OpenLDAP 2.5, nometasync on both; syncrepl sends an entry to the server alone, without a journal, an order with "
               "mail, or anything on the disk that a barrier could wait for", at_most=60),
        figure("a change on the standby's server, p50", "ms", percentile(changes, 0.5), {peer: percentile(their_changes, 0.5)},
               "<= 50 ms", f"{count} changes, each behind the answer of the primary's server", at_most=50),
        figure("a change on the standby's server, p99", "ms", percentile(changes, 0.99), {peer: percentile(their_changes, 0.99)},
               "<= 50 ms", "", at_most=50),
    ]


FIGURES = {"directory": directory}

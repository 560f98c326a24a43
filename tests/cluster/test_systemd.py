"""mailtwin as a user installs it: under systemd, with the unit's limits in force."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from lab import compare, lab as labs
from lab.machine import STORE, UNIT, Machine
from lab.network import Network
from lab.wait import wait_until

CONFIGURATION = """cluster = "example"
node "mx1" {{ address = "{0}" }}
node "mx2" {{ address = "{1}" }}
store "mail" {{ kind = maildir  path = "{2}" }}
"""
# Everything that the unit might forbid by mistake: owners, modes, attributes, special files, deltas, trees.
WORK = """
cd {store} && mkdir -p u/cur u/new u/tmp && for i in 1 2 3; do echo "mail $i" >u/tmp/$i.M && mv u/tmp/$i.M u/new/$i.M; done
mv u/new/1.M u/cur/1.M:2,S && ln u/cur/1.M:2,S u/new/4.M && ln -s cur/1.M u/symlink && mkfifo u/fifo
seq 100000 >u/large && chown 1234:2345 u/large && chmod 4750 u/large && setfacl -m u:77:rw u/new/2.M
setfattr -n user.note -v x u/new/3.M && touch -d '2001-02-03 04:05:06.7' u/new/3.M
mailtwin barrier --timeout 30s
echo middle | dd of=u/large bs=1 seek=200000 conv=notrunc status=none
mkdir -p gone/below && echo x >gone/below/x && mailtwin barrier --timeout 30s && rm -r gone && mv u v
mailtwin barrier --timeout 30s
"""


@pytest.fixture
def folder():
    labs.sweep_leftovers()
    labs.SCRATCH.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f"{labs.PREFIX}{os.getpid()}.", dir=labs.SCRATCH))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def tree(folder):
    """What `make install` puts on a machine."""
    variant = os.environ.get("MAILTWIN_BUILD", "build/gcc").rpartition("/")[2]
    subprocess.run(["make", "-s", "install", f"VARIANT={variant}", "PREFIX=/usr", f"DESTDIR={folder / 'tree'}"], cwd=labs.REPOSITORY,
                   check=True, capture_output=True)
    return folder / "tree"


@pytest.fixture
def machines(folder, tree):
    """mx1 and mx2, configured as the README says; nothing is started."""
    with contextlib.ExitStack() as ends:
        network = Network()
        ends.callback(network.end)
        both = []
        for number, name in enumerate(("mx1", "mx2"), start=1):
            both.append(Machine(folder / name, network, tree, name, number))
            ends.callback(both[-1].end)
        configure(both)
        yield both


def configure(both):
    text = CONFIGURATION.format(both[0].address, both[1].address, STORE)
    for machine in both:
        Path(machine.path("/etc/mailtwin/mailtwin.conf")).write_text(text)
    for order in (["init"], ["node", "mx1"], ["node", "mx2"]):
        both[0].run("mailtwin", "pki", *order)
    for machine in both:
        for source, target in (("ca.pem", "ca.pem"), (f"{machine.name}.pem", "node.pem"), (f"{machine.name}.key", "node.key")):
            content = Path(both[0].path(f"/etc/mailtwin/pki/{source}")).read_bytes()
            Path(machine.path(f"/etc/mailtwin/pki/{target}")).write_bytes(content)


def wait_safe(primary):
    """Until the standby protects the mail."""
    def safe():
        return primary.run("mailtwin", "barrier", "--timeout", "1s", check=False).returncode == 0
    wait_until(safe, 60, lambda: f"mail is not safe:\n{primary.log()}", every=0.1)


def start(both):
    for machine in both:
        machine.run("systemctl", "start", UNIT)
    both[0].run("mailtwin", "promote")
    wait_safe(both[0])


def same(both):
    both[0].run("mailtwin", "verify", "--content", within=120)
    found = compare.differences(both[0].path(STORE), both[1].path(STORE), "maildir")
    assert not found, found


def test_two_machines_replicate_under_the_unit_as_installed(machines):
    primary, standby = machines
    for machine in machines:
        checked = machine.run("mailtwin", "check", check=False)
        assert "fail" not in checked.stdout, checked.stdout
    start(machines)
    primary.run("sh", "-ec", WORK.format(store=STORE))
    same(machines)
    for machine in machines:
        assert "not permitted" not in machine.log("all")
        assert machine.events("STARTED")[0]["MAILTWIN_NODE"] == machine.name
        machine.run("systemctl", "stop", UNIT)
        assert (machine.unit("Result"), machine.unit("ExecMainStatus")) == ("success", "0")


def test_a_dump_is_made_and_restored_under_the_unit_as_installed(machines):
    primary, standby = machines
    store = 'store "web" {{ kind = dump  command = "cat {0}"  restore = "tee {0}"  every = "1s"  user = "nobody" }}\n'
    for machine in machines:
        machine.run("sh", "-ec", "install -d -o nobody /srv/web; install -o nobody /dev/null /srv/web/data;"
                    "mkdir -p /var/lib/mailtwin; mount -t tmpfs -o mode=700 state /var/lib/mailtwin")  # the layer below cannot be watched
        with open(machine.path("/etc/mailtwin/mailtwin.conf"), "a", encoding="ascii") as conf:
            conf.write(store.format("/srv/web/data"))
    start(machines)
    Path(primary.path("/srv/web/data")).write_text("one")
    for machine in machines:
        machine.run("systemctl", "start", "mailtwin-dumpd")
    wait_until(lambda: '"stored"' in primary.run("mailtwin", "dump", "list", "--json").stdout, 30,
               lambda: primary.run("journalctl", "-u", "mailtwin-dumpd", check=False).stdout)
    wait_safe(primary)
    primary.run("mailtwin", "demote")
    primary.run("systemctl", "stop", "mailtwin-dumpd")
    assert "restored" in standby.run("mailtwin", "promote").stdout
    assert Path(standby.path("/srv/web/data")).read_text() == "one"


def test_the_service_manager_starts_a_daemon_that_hangs_or_dies(machines):
    primary = machines[0]
    drop_in = Path(primary.path(f"/etc/systemd/system/{UNIT}.d"))
    drop_in.mkdir()
    (drop_in / "soon.conf").write_text("[Service]\nWatchdogSec=5s\n")
    primary.run("systemctl", "daemon-reload")
    start(machines)
    for number, result in ((signal.SIGSTOP, "watchdog"), (signal.SIGKILL, "signal")):
        before = primary.main_pid()
        primary.run("kill", f"-{number.value}", before)
        wait_until(lambda: primary.main_pid() not in (0, before) and primary.status() is not None, 60,  # noqa: B023
                   f"not started again after {result}", every=0.1)
        assert f"Failed with result '{result}'" in primary.log()
        primary.run("sh", "-ec", f"echo {result} >{STORE}/{result}")
        wait_safe(primary)
    same(machines)


def test_a_restart_keeps_the_queue_and_looks_at_nothing_again(machines):
    primary = machines[0]
    start(machines)
    for turn in range(2):
        primary.run("sh", "-ec", f"(for i in $(seq 2000); do echo $i >{STORE}/{turn}.$i; done) & "
                                 f"systemctl restart {UNIT}; wait")
        wait_safe(primary)
        assert primary.events("CAPTURE_READY")[-1]["MAILTWIN_SWEEP"] == "0"
    assert "Cannot store more fds" not in primary.log("all")
    same(machines)


# An LMTP server in one breath: says yes to everything.
SERVER = """
import socketserver
class Yes(socketserver.StreamRequestHandler):
    def handle(self):
        say = lambda text: self.wfile.write(text + b"\\r\\n")
        say(b"220 yes")
        content = False
        for line in self.rfile:
            if content and line != b".\\r\\n":
                continue
            say(b"354 go" if line == b"DATA\\r\\n" else b"250 yes")
            content = line == b"DATA\\r\\n"
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", 2424), Yes).serve_forever()
"""
CLIENT = """
import socket
sock = socket.create_connection(("127.0.0.1", 24), timeout=20)
file = sock.makefile("rwb")
for text, code in ((b"", b"220"), (b"LHLO x", b"250"), (b"MAIL FROM:<a@b>", b"250"), (b"RCPT TO:<c@d>", b"250"),
                   (b"DATA", b"354"), (b"hello\\r\\n.", b"250")):
    if text:
        file.write(text + b"\\r\\n")
        file.flush()
    line = file.readline()
    assert line.startswith(code), line
"""
GATE = "mailtwin-gate.service"


def test_the_gate_passes_mail_under_the_unit_as_installed(machines):
    primary = machines[0]
    for machine in machines:
        with open(machine.path("/etc/mailtwin/mailtwin.conf"), "a", encoding="ascii") as file:
            file.write('gate "lmtp" { listen = "inet:127.0.0.1:24"  backend = "inet:127.0.0.1:2424" }\n')
    start(machines)
    Path(primary.path("/root/server.py")).write_text(SERVER)
    Path(primary.path("/root/client.py")).write_text(CLIENT)
    primary.run("systemd-run", "-q", "--unit=server", "/usr/bin/python3", "/root/server.py")
    wait_until(lambda: primary.run("ss", "-Hlt", "sport", "=", ":2424", check=False).stdout != "", 20, "no server")
    for _ in range(2):  # the second start finds what the first one left
        primary.run("systemctl", "restart", GATE)
        primary.run("/usr/bin/python3", "/root/client.py")
    pid = primary.run("systemctl", "show", "-P", "MainPID", GATE).stdout.strip()
    assert primary.run("ps", "-o", "user:20=", "-p", pid).stdout.strip() == "mailtwin-gate"
    primary.run("systemctl", "stop", GATE)
    assert primary.run("systemctl", "show", "-P", "Result", GATE).stdout.strip() == "success"

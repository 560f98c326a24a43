"""The lab as a whole: a scratch folder, the network, the hosts, one configuration for all of them."""

import atexit
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import compare, config, proc
from .host import STATE, STORE, Host
from .imap import ImapClient
from .lmtp import LmtpClient
from .network import Network
from .wait import wait_until

REPOSITORY = Path(__file__).resolve().parents[3]
SCRATCH = Path(os.environ.get("MAILTWIN_LAB_DIR", "/var/tmp"))
PREFIX = "mailtwin-lab."


def sweep_leftovers():
    """Removes what labs of dead harnesses left. Their processes, mounts and loop devices died with them."""
    for folder in SCRATCH.glob(PREFIX + "*"):
        pid = folder.name[len(PREFIX):].partition(".")[0]
        if not pid.isdigit() or not proc.alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


class Lab:
    """fs, size_mb: of the stores' disks. nodes: {name: {key: value}} more keys of a node's section;
    place: the folder of the stores, another one for no disks of their own; stores: {name: {key:
    value}} replaces the two default stores; settings: more top-level keys; cpus: {name: "0"} keeps a host to processors; templates: {name: image} a store's disk to begin with."""

    HOST = Host  # what a host is made of

    def __init__(self, names=("mx1", "mx2"), fs="ext4", size_mb=512, state_mb=64, mkfs=(), nodes=None,
                 stores=None, settings=None, build=None, cpus=None, templates=None, place=STORE):
        sweep_leftovers()
        self.repository = REPOSITORY
        build = build or os.environ.get("MAILTWIN_BUILD", "build/gcc")
        self.build = REPOSITORY / build
        self.build_inside = f"/run/repo/{build}"
        self.config_inside = "/run/lab/mailtwin.conf"
        SCRATCH.mkdir(parents=True, exist_ok=True)
        self.directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}.", dir=SCRATCH))
        self.network = None
        self.hosts = {}
        self.closed = False
        atexit.register(self.close)
        self.network = Network()
        self.place = place
        self.stores = stores or config.default_stores(place)
        disks = self._disks(fs=fs, size_mb=size_mb, mkfs=mkfs, state_mb=state_mb)
        for number, name in enumerate(names, start=1):
            self._from_template(name, (templates or {}).get(name))
            self.hosts[name] = self.HOST(self, name, number, disks, (cpus or {}).get(name, ""))
        self.text = config.text(self.hosts.values(), nodes or {}, self.stores, settings or {})
        for host in self.hosts.values():
            self.configure(host)

    def _disks(self, state_mb, **store):
        """{mount point: options of its Disk}, the same for each host."""
        disks = {STORE: store} if self.place == STORE else {}
        return {**disks, STATE: {"size_mb": state_mb}}

    def _from_template(self, name, image):
        folder = self.directory / "hosts" / name
        folder.mkdir(parents=True)
        if image is not None:
            subprocess.run(["cp", "--sparse=always", image, folder / "store.img"], check=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def __getitem__(self, name):
        return self.hosts[name]

    def close(self):
        """Nothing is left behind: no process, mount, loop device, file. Safe to call twice."""
        if self.closed:
            return
        self.closed = True
        atexit.unregister(self.close)
        try:
            for host in self.hosts.values():
                host.halt()
        finally:
            if self.network is not None:
                self.network.end()
            shutil.rmtree(self.directory, ignore_errors=True)

    # --- mailtwin ---

    def configure(self, host, text=None):
        """Writes the host's copy of the configuration."""
        (host.directory / "mailtwin.conf").write_text(text or self.text)

    def environment(self, host):
        """What mailtwin's commands read."""
        return {"MAILTWIN_CONFIG": self.config_inside, "MAILTWIN_NODE": host.name}

    def boot(self):
        for host in self.hosts.values():
            host.boot()

    def pki(self, env=None):
        """Certificates for all hosts."""
        config.certificates(list(self.hosts.values()), env)

    def start(self, primary=None, dovecot=True, pki_env=None):
        """From nothing to a primary that streams to every other host. Returns the primary."""
        self.boot()
        return self.serve(primary, dovecot, pki_env)

    def serve(self, primary=None, dovecot=True, pki_env=None):
        """As start(), of hosts that have booted."""
        self.pki(pki_env)
        for host in self.hosts.values():
            host.daemon.start()
        first = self.hosts[primary or next(iter(self.hosts))]
        first.mailtwin("promote")
        first.daemon.wait_role("primary")
        if dovecot:
            first.dovecot.start()
        self.wait_level(first)
        return first

    def standbys(self, primary):
        """The hosts the primary itself sends to."""
        return [host for host in self.hosts.values() if host is not primary and host.space is not None
                and not config.follows_other(self.text, host.name, primary.name)]

    def wait_level(self, primary, standbys=None, within=60):
        """Until each standby has durably what the primary has now. Nothing may be written meanwhile."""
        for host in self.standbys(primary) if standbys is None else standbys:
            primary.daemon.wait_status(lambda status, name=host.name: self.is_level(primary, status, name),
                                       within, f"level with {host.name}")

    @staticmethod
    def is_level(primary, status, name):
        peer = primary.daemon.peer(name, status)
        live = all(store["state"] == "live" for store in status.get("stores", []))
        newest = max(peer.get("seq", 0), status.get("seq", 0), status.get("journal", {}).get("tail", 0))
        return (live and status.get("held", 0) == 0 and peer.get("state") == "connected"
                and peer["durable_seq"] >= newest)

    def level(self, primary, standbys=None, within=60):
        """All that was written before this call is on the standbys."""
        done = primary.mailtwin("barrier", "--timeout", f"{within}s", within=within + 10, check=False)
        assert done.returncode in (0, 4), f"barrier: {done}"  # 4: a standby is only on its way back
        self.wait_level(primary, standbys, within)

    def same(self, primary, standbys=None, verify=True):
        """The primary's verify finds no difference, and the independent compare agrees."""
        standbys = self.standbys(primary) if standbys is None else standbys
        if verify:
            done = primary.mailtwin("verify", "--content", within=120, check=False)
            seen = [one for host in standbys for one in self.differences(primary, host)]
            assert done.returncode == 0, f"verify: {done}\ncompared here:\n" + "\n".join(seen[:40])
        for host in standbys:
            self.compare(primary, host)

    def differences(self, one, other):
        """What differs in the stores of two hosts, a line each."""
        found = []
        for name, store in self.stores.items():
            path = store.get("path", f"{STATE}/spool/{name}")
            found += compare.differences(one.path(path), other.path(path), store["kind"])
        return found

    def compare(self, one, other, within=3):
        """Fails with the first differences of the stores of two hosts, when they stay: a mail server writes on for a
        moment behind its last client, and what it writes is on its way."""
        def differences():
            found[:] = self.differences(one, other)
            return not found
        found = []
        wait_until(differences, within, lambda: f"{one.name} and {other.name}: {len(found)} differences:\n" +
                   "\n".join(found[:40]), every=0.2)

    # --- clients ---

    def lmtp(self, name):
        return LmtpClient(self.hosts[name])

    def imap(self, name, user):
        return ImapClient(self.hosts[name], user)

    def wait_until(self, condition, within, what):
        return wait_until(condition, within, what)

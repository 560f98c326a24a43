"""The replicators that are measured side by side, each with the same verbs, on the same kind of hosts.

start() brings b level with a and keeps it so; once() brings it level one time and returns when all is on
b's disk."""

import subprocess

from lab.host import STORE
from lab.wait import wait_until

SOURCE = f"{STORE}/vmail/"
MAIL_ONLY = {"mail": {"kind": "maildir", "path": f"{STORE}/vmail", "durability": "durable"}}
USERS = [f"u{number}@example.org" for number in range(10)]
# What both sides of a maildir store leave out, told to rsync.
EXCLUDES = ["*.lock", "dovecot-uidlist.tmp", "dovecot.index*", "dovecot.list.index*", "dovecot.mailbox.log*",
            "maildirsize", "/.mailtwin"]
RSYNC = ["-aHAX", "--numeric-ids", "--delete"] + [f"--exclude={one}" for one in EXCLUDES]
RSYNCD = f"""\
uid = root
gid = root
use chroot = no
pid file = /run/rsyncd.pid
[store]
path = {STORE}/vmail
read only = no
"""
SSHD = """\
Port 22
HostKey /run/lab/ssh/host
AuthorizedKeysFile /run/lab/ssh/client.pub
PidFile /run/sshd.pid
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
"""


class Peer:
    """a and b are hosts of one lab."""

    name = ""
    dovecot_on_a = ""  # configuration its Dovecots need more than others
    dovecot_on_b = None

    def __init__(self, lab):
        self.lab = lab
        self.a, self.b = lab["mx1"], lab["mx2"]

    def processes(self):
        """Those on a whose processor time is the price of replicating."""
        raise NotImplementedError


class RsyncDaemon(Peer):
    """rsync to a plain rsync daemon: no encryption."""

    name = "rsync daemon"

    def prepare(self):
        serve_rsync(self.b)

    def once(self):
        self.a.run("rsync", *RSYNC, SOURCE, f"rsync://{self.b.address}/store/", within=3600)
        self.b.run("sync", "-f", STORE)


class RsyncSsh(Peer):
    """rsync through ssh, as it is mostly used."""

    name = "rsync over ssh"

    def prepare(self):
        keys = self.lab.directory / "ssh"
        keys.mkdir()
        for key in ("host", "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / key], check=True)
        (keys / "sshd.conf").write_text(SSHD)
        for host in (self.a, self.b):
            subprocess.run(["cp", "-a", keys, host.directory / "ssh"], check=True)
        self.b.run("mkdir", "-p", "/run/sshd")
        self.b.spawn("/usr/sbin/sshd", "-D", "-f", "/run/lab/ssh/sshd.conf", log="sshd.log")
        wait_until(lambda: self.a.run(*self._ssh(), f"root@{self.b.address}", "true", check=False).returncode == 0,
                   20, lambda: "sshd: " + self.b.log_text("sshd.log"))

    @staticmethod
    def _ssh():
        return ["ssh", "-q", "-i", "/run/lab/ssh/client", "-o", "StrictHostKeyChecking=no", "-o",
                "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]

    def once(self):
        self.a.run("rsync", *RSYNC, "-e", " ".join(self._ssh()), SOURCE, f"root@{self.b.address}:{STORE}/vmail/",
                   within=3600)
        self.b.run("sync", "-f", STORE)


class Lsyncd(Peer):
    """inotify and rsync, told to wait for nothing (its default gathers events for 15 s)."""

    name = "lsyncd"

    def start(self, serve=True):
        if serve:
            serve_rsync(self.b)
        exclude = ", ".join(f'"{one}"' for one in EXCLUDES)
        (self.a.directory / "lsyncd.conf").write_text(f"""\
settings {{ nodaemon = true, logfile = "/run/lab/log/lsyncd.log", pidfile = "/run/lsyncd.pid" }}
sync {{ default.rsync, source = "{SOURCE}", target = "rsync://{self.b.address}/store/", delay = 0,
  exclude = {{ {exclude} }},
  rsync = {{ archive = true, hard_links = true, acls = true, xattrs = true, _extra = {{ "--numeric-ids" }} }} }}
""")
        self.process = self.a.spawn("lsyncd", "/run/lab/lsyncd.conf", log="lsyncd.out")
        wait_until(lambda: "Startup of" in self.a.log_text("lsyncd.log") + self.a.log_text("lsyncd.out")
                   and "finished" in self.a.log_text("lsyncd.log"), 3600,
                   lambda: "lsyncd: " + self.a.log_text("lsyncd.log") + self.a.log_text("lsyncd.out"))

    def processes(self):
        return [self.process.pid]


DSYNC = """\
mail_plugins = $mail_plugins notify replication
doveadm_port = 12345
doveadm_password = {password}
replication_max_conns = 10
service doveadm {{
  inet_listener {{
    port = 12345
  }}
}}
service replicator {{
  process_min_avail = 1
}}
service aggregator {{
  fifo_listener replication-notify-fifo {{
    mode = 0666
  }}
  unix_listener replication-notify {{
    mode = 0666
  }}
}}
plugin {{
  mail_replica = tcp:{other}
}}
userdb {{
  driver = passwd-file
  args = /run/lab/users
}}
"""


class Dsync(Peer):
    """Dovecot 2.3's own replicator: dsync over TCP, woken by each change. No encryption."""

    name = "Dovecot replicator"

    def __init__(self, lab):
        super().__init__(lab)
        self.dovecot_on_a = DSYNC.format(password="secret", other=self.b.address)
        self.dovecot_on_b = DSYNC.format(password="secret", other=self.a.address)
        for host in (self.a, self.b):
            lines = [f"{user}::5000:5000::{host.mail}/{user.partition('@')[2]}/{user.partition('@')[0]}::\n"
                     for user in USERS]
            (host.directory / "users").write_text("".join(lines))

    def start(self):
        """Its work is started with its Dovecots."""


def serve_rsync(host):
    (host.directory / "rsyncd.conf").write_text(RSYNCD)
    host.spawn("rsync", "--daemon", "--no-detach", "--config=/run/lab/rsyncd.conf", log="rsyncd.log")

    def answers():
        try:
            host.connect(873, timeout=2).close()
        except OSError:
            return False
        return True
    wait_until(answers, 20, lambda: "rsyncd: " + host.log_text("rsyncd.log"))


class Mailtwin(Peer):
    """This project: TLS 1.3, and durable on b's disk before it says so."""

    name = "mailtwin"

    def prepare(self):
        self.lab.pki()
        self.a.daemon.start()
        self.a.mailtwin("promote")
        self.a.daemon.wait_role("primary", within=3600)
        self.indexed()

    def indexed(self):
        """Until the first look at the store is done: the index exists, changes are captured."""
        def live(status):
            return "stores" in status and all(store["state"] == "live" for store in status["stores"])
        self.a.daemon.wait_status(live, 3600, "stores live")

    def once(self):
        self.b.daemon.start()
        self.lab.wait_level(self.a, within=3600)

    def start(self):
        self.prepare()
        self.once()

    def processes(self):
        return self.a.daemon.pids()

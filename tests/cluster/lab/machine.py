"""A machine that systemd runs: this one's own system in a layer that is thrown away, with what `make install` puts
there. For what no other host of the lab shows: the unit's limits, its watchdog, the queue it keeps, the journal."""

import json
import os
import shutil
import subprocess

from . import proc
from .disk import Disk
from .network import PREFIX
from .space import CommandFailed, Space
from .wait import wait_until

UNIT = "mailtwin-replicatord.service"
STORE = "/srv/vmail"
CGROUP = "mailtwin-lab."
FLAGS = ["-m", "-p", "-u", "-i", "-n", "--mount-proc"]
LAYER = "/run/machine"
# Nothing of what else is installed here runs: no mail server, no timers.
TARGET = """[Unit]
Requires=sysinit.target
After=sysinit.target
AllowIsolate=yes
"""


def _remove_cgroup(top):
    """Kills what is in it. True when it is gone: processes leave it a moment later."""
    try:
        (top / "cgroup.kill").write_text("1")
        for folder, _, _ in os.walk(top, topdown=False):
            os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


class Machine:
    """folder: its scratch folder; tree: what `make install DESTDIR=` made."""

    def __init__(self, folder, network, tree, name, number):
        self.name = name
        self.number = number
        self.address = f"{PREFIX}{number}"
        self.folder = folder
        if shutil.which("systemd-nspawn") is None:
            raise CommandFailed("there is no systemd-nspawn: run deploy/dependencies test")
        folder.mkdir()
        (folder / "lab.target").write_text(TARGET)
        self.cgroup = f"/sys/fs/cgroup/{CGROUP}{os.getpid()}.{name}"
        self.pid = 0
        self.disk = Disk(folder / "store.img", f"{LAYER}/store", size_mb=128)
        self.space = Space(name, FLAGS, self._setup_script(tree))
        try:
            self._sweep_leftovers()
            os.mkdir(self.space.path(self.cgroup))
            network.plug(self)
            self.container = self._boot()
            wait_until(self._is_up, 60, lambda: f"{name} does not boot:\n{self.console()}")
        except BaseException:
            self.end()
            raise

    def _sweep_leftovers(self):
        """Cgroups do not die with the harness that made them."""
        for left in self.space.path("/sys/fs/cgroup").glob(CGROUP + "*"):
            pid = left.name[len(CGROUP):].partition(".")[0]
            if not (pid.isdigit() and proc.alive(int(pid))):
                _remove_cgroup(left)

    def _setup_script(self, tree):
        root = f"{LAYER}/root"
        return "\n".join([
            "mount -t tmpfs -o mode=755 run /run",
            # One tree as on Debian, whatever the machine has, and in it a place of its own: without that one
            # machine's systemd would stop the other's services.
            "mount -t cgroup2 cgroup /sys/fs/cgroup",
            f"mkdir -p {LAYER}/upper {LAYER}/work {root}",
            f"mount -t overlay -o lowerdir=/,upperdir={LAYER}/upper,workdir={LAYER}/work none {root}",
            f"cp -a {tree}/. {root}/",
            f"cp {self.folder}/lab.target {root}/etc/systemd/system/lab.target",
            f"rm -rf {root}/etc/mailtwin {root}/var/lib/mailtwin; mkdir -p {root}/etc/mailtwin",
            f"rm -f {root}/etc/machine-id {root}/etc/fstab; : >{root}/etc/fstab",
            f"echo {self.name} >{root}/etc/hostname",
            f"hostname {self.name}",
            self.disk.mount_command(self.disk.image)])

    def _boot(self):
        # The container's own filter of system calls knows no fanotify; the unit's filter stays in force.
        enter = f'echo $$ >{self.cgroup}/cgroup.procs; exec "$@"'
        return self.space.spawn("sh", "-ec", enter, "sh", "systemd-nspawn", "-q", "-D", f"{LAYER}/root", "-M", self.name, "--register=no",
                                "--keep-unit", f"--bind={LAYER}/store:{STORE}", "-b", "--", "--unit=lab.target",
                                log=self.folder / "console.log", env={"SYSTEMD_SECCOMP": "0"})

    def _is_up(self):
        found = proc.children(self.container.pid)
        if len(found) != 1:  # on its way
            return False
        self.pid = found[0]  # process 1 inside
        try:
            done = self.run("systemctl", "is-system-running", check=False, within=5)
        except subprocess.TimeoutExpired:
            return False
        return done.stdout.strip() in ("running", "degraded")

    def console(self):
        return (self.folder / "console.log").read_text(errors="replace")[-3000:]

    # --- commands ---

    def run(self, *command, check=True, within=60):
        words = [str(word) for word in command]
        done = subprocess.run(["nsenter", "-t", str(self.pid), "-a", "-r", "-w", "--", *words], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=within, check=False)
        if check and done.returncode != 0:
            raise CommandFailed(f"{self.name}: {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
                                f"{self.log()}")
        return done

    def path(self, inside):
        return f"/proc/{self.pid}/root{inside}"

    def status(self):
        """What `mailtwin status` says, None while nobody answers."""
        done = self.run("mailtwin", "status", "--json", check=False)
        return json.loads(done.stdout) if done.stdout.startswith("{") else None

    # --- the unit ---

    def unit(self, name):
        """A property of it."""
        return self.run("systemctl", "show", "-P", name, UNIT).stdout.strip()

    def main_pid(self):
        return int(self.unit("MainPID"))

    def log(self, lines="60"):
        return self.run("journalctl", "--no-pager", "-u", UNIT, "-n", lines, check=False).stdout

    def events(self, name):
        """Of one event the entries of the daemon that runs now, fields as journald has them."""
        self.run("journalctl", "--sync")
        text = self.run("journalctl", "--no-pager", "-o", "json", f"_PID={self.main_pid()}",
                        f"MAILTWIN_EVENT={name}").stdout
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def end(self):
        """Safe to call twice."""
        try:
            wait_until(lambda: _remove_cgroup(self.space.path(self.cgroup)), 20, f"{self.cgroup} stays")
        finally:
            self.space.end()

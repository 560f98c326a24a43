"""A host: namespaces of its own, disks of its own, a cable to the lab's switch."""

import os
import re
import signal
import uuid

from . import disk, netns, proc
from .daemon import Daemon
from .disk import Disk
from .dovecot import VMAIL_UID, Dovecot
from .network import PREFIX
from .space import CommandFailed, Space
from .wait import wait_until

STORE = "/srv/store"   # the disk with the stores
STATE = "/srv/state"   # the disk with mailtwin's state
FLAGS = ["-m", "-p", "-u", "-i", "-n", "--mount-proc"]


class Host:
    """Paths inside: mail, files (the stores), other (on the same filesystem, in no store), /srv/state,
    /run/lab (its folder of the lab)."""

    def __init__(self, lab, name, number, disks, cpus=""):
        self.lab = lab
        self.name = name
        self.number = number
        self.cpus = cpus
        self.place = lab.place
        self.mail, self.files, self.other = (f"{lab.place}/{name}" for name in ("vmail", "files", "other"))
        self.address = f"{PREFIX}{number}"
        self.directory = lab.directory / "hosts" / name
        (self.directory / "log").mkdir()
        self.disks = [Disk(self.directory / f"{point.rpartition('/')[2]}.img", point, **options)
                      for point, options in disks.items()]
        self.space = None
        self.up = False
        self.dovecot = Dovecot(self)
        self.daemon = Daemon(self)

    # --- power ---

    def boot(self):
        """New namespaces, a new boot id; disks are mounted, nothing runs yet."""
        self.space = Space(self.name, FLAGS, self._setup_script(), self.cpus)
        self.lab.network.plug(self)
        self.up = True

    def _setup_script(self):
        lines = ["mount -t tmpfs -o mode=755 run /run",
                 "mkdir -p /run/lab /run/repo /run/lock",
                 f"mount --bind {self.directory} /run/lab",
                 f"mount --bind {self.lab.repository} /run/repo",
                 "mount -t tmpfs -o mode=1777 tmp /tmp",
                 "mount -t tmpfs -o mode=755 srv /srv",
                 f"echo {uuid.uuid4()} > /run/boot_id",
                 "mount --bind /run/boot_id /proc/sys/kernel/random/boot_id",
                 f"hostname {self.name}"]
        lines += [one.mount_command(f"/run/lab/{one.image.name}") for one in self.disks]
        lines.append(f"mkdir -p {STATE} {self.mail} {self.files} {self.other}")
        lines.append(f"chown {VMAIL_UID}:{VMAIL_UID} {self.mail}")
        lines.append(f"chmod 700 {STATE}")
        return "\n".join(lines)

    def reboot(self):
        """Everything dies at once, the disks are mounted again. Nothing is started."""
        self.halt()
        self.boot()

    def power_cut(self):
        """As reboot(), but what no sync had brought to the disks is gone."""
        self.up = False
        for pid in self.space.processes():  # both disks stop at one instant of all that runs
            proc.send(pid, signal.SIGSTOP)
        for one in self.disks:
            disk.power_off(self.path(one.mountpoint))
        self.reboot()

    def halt(self):
        """SIGKILL to everything, umount, no namespaces left."""
        self.up = False
        if self.space is None:
            return
        self.space.kill_all()
        for one in reversed(self.disks):
            self._umount(one)
        self.space.end()
        self.space = None

    def _umount(self, one):
        """The kernel lets go of a killed process's files a moment after the process is gone."""
        def try_it():
            return self.run("umount", one.mountpoint, check=False).returncode == 0
        wait_until(try_it, 20, f"{self.name}: {one.mountpoint} cannot be unmounted")

    # --- commands and files ---

    def run(self, *command, **options):
        space = self.space  # clients outlive a host
        if space is None:
            raise CommandFailed(f"{self.name} is down")
        return space.run(*command, **options)

    def spawn(self, *command, log, env=None):
        return self.space.spawn(*command, log=self.directory / "log" / log, env=env)

    def mailtwin(self, *command, **options):
        """The command line tool of this node."""
        env = {**self.lab.environment(self), **options.pop("env", {})}
        return self.run(f"{self.lab.build_inside}/mailtwin", *command, env=env, **options)

    def path(self, inside):
        """A path of the host as the harness reaches it, while the host is up."""
        return self.space.path(inside)

    def log_text(self, name):
        file = self.directory / "log" / name
        return file.read_text(errors="replace") if file.exists() else ""

    def connect(self, port, timeout=20):
        """A connection from the clients' place in the lab's network."""
        return netns.connect(self.lab.network.switch.pid, (self.address, port), timeout)

    # --- disks ---

    def fill_disk(self, mountpoint, leave=0):
        disk.fill(self.path(mountpoint), leave)

    def free_disk(self, mountpoint):
        disk.free(self.path(mountpoint))

    def remount(self, mountpoint, mode):
        """mode: ro or rw."""
        self.run("mount", "-o", f"remount,{mode}", mountpoint)

    def damage(self, path):
        """Of a file on the stores' disk (ext4), with more than four extents, no byte can be read any more. Nothing
        may have that disk open."""
        store = self.disks[0]
        image = f"/run/lab/{store.image.name}"
        name = os.path.relpath(path, STORE)
        self.sync()
        self.run("umount", STORE)
        extents = self.run("debugfs", "-R", f"ex /{name}", image).stdout
        block = next(words[-2] for words in map(str.split, extents.splitlines()) if words[0] == "0/")
        self.run("debugfs", "-w", "-R", f"zap_block -p 1 {block}", image)
        self.run("sh", "-ec", store.mount_command(image))

    def sync(self):
        self.run("sync", "-f", STORE)
        self.run("sync", "-f", STATE)

    def device(self, mountpoint):
        """Its block device's number, "7:3"."""
        text = self.run("findmnt", "-no", "MAJ:MIN", mountpoint).stdout.strip()
        if not re.fullmatch(r"\d+:\d+", text):
            raise CommandFailed(f"{self.name}: no device at {mountpoint}: {text}")
        return text

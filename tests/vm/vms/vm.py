"""A host that is a virtual machine, and giving it orders. All of it is emulated and ends with the harness."""

import json
import signal
import socket
import subprocess
import threading

from lab.host import Host
from lab.space import CommandFailed, succeeded
from lab.wait import wait_until

AGENT = "agent.sock"
CONSOLE = "console.log"
BOOT_SECONDS = 180  # 4 on a machine with nothing else to do
# Emulated: a machine that tests is often a guest itself, where KVM is not to be had.
MACHINE = "-accel tcg,thread=multi -cpu max -smp 1 -nodefaults -no-reboot -display none".split()
APPEND = "console=ttyS0 quiet panic=-1 mitigations=off"


def command(image, folder, repository, name, number, address, disks, memory_mb):
    """QEMU's words. The disks are virtio disks in their order, behind the root, whose changes are thrown away."""
    words = ["qemu-system-x86_64", "-name", name, *MACHINE, "-m", str(memory_mb),
             "-kernel", image.kernel, "-initrd", image.initrd, "-append", f"{APPEND} lab_name={name} lab_address={address}",
             "-drive", f"file={image.root},format=raw,if=virtio,snapshot=on"]
    for disk in disks:
        words += ["-drive", f"file={disk},format=raw,if=virtio,cache=writeback"]
    for tag, path, options in (("repo", repository, ",readonly=on"), ("lab", folder, "")):
        words += ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none,multidevs=remap{options}"]
    return words + ["-netdev", f"tap,id=net,ifname=p{number},script=no,downscript=no",
                    "-device", f"virtio-net-pci,netdev=net,mac=02:00:00:09:00:{number:02x},romfile=",
                    "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
                    "-chardev", f"socket,id=agent,path={folder / AGENT},server=on,wait=off",
                    "-device", "virtserialport,chardev=agent", "-serial", f"file:{folder / CONSOLE}"]


def console(folder):
    """What a machine and its QEMU said, the end of it."""
    files = [file for file in (folder / CONSOLE, folder / "log" / "qemu.log") if file.exists()]
    return "\n".join(file.read_text(errors="replace")[-3000:] for file in files)


class GuestProcess:
    """A process that a Guest has spawned; pid: as the machine counts."""

    def __init__(self, guest, pid, name):
        self.guest = guest
        self.pid = pid
        self.name = name
        self.status = None

    def running(self):
        if self.status is None:
            self.status = self.guest.ask({"do": "poll", "pid": self.pid})["status"]
        return self.status is None

    def wait(self, within):
        """Its exit status (128 + signal as in a shell)."""
        wait_until(lambda: not self.running(), within, f"{self.name} did not end", every=0.1)
        return 128 - self.status if self.status < 0 else self.status

    def kill(self, number=signal.SIGKILL):
        if self.running():
            self.guest.ask({"do": "kill", "pid": self.pid, "signal": int(number)})

    def wake(self):
        """For processes in namespaces; here nobody stands in between."""


class Guest:
    """A machine that runs: to a Vm what a Space is to a Host. folder: on this side what /run/lab is inside."""

    def __init__(self, name, qemu, folder):
        self.name = name
        self.qemu = qemu
        self.folder = folder
        self.lock = threading.Lock()
        self.socket = socket.socket(socket.AF_UNIX)
        wait_until(self._connects, 60, lambda: f"QEMU of {name} does not start:\n{console(self.folder)}")
        self.socket.settimeout(BOOT_SECONDS)
        self.lines = self.socket.makefile("rb")
        self._answer()

    def _connects(self):
        if not self.qemu.running():
            raise CommandFailed(f"QEMU of {self.name} ended:\n{console(self.folder)}")
        try:
            self.socket.connect(str(self.folder / AGENT))
        except OSError:
            return False
        return True

    def _answer(self):
        try:
            line = self.lines.readline()
        except OSError as error:
            raise CommandFailed(f"{self.name}: no answer ({error}):\n{console(self.folder)}") from error
        if not line:
            raise CommandFailed(f"{self.name}: the machine ended:\n{console(self.folder)}")
        return json.loads(line)

    def ask(self, order, within=60):
        """One order and its answer (guest/agent.py)."""
        with self.lock:
            self.socket.settimeout(within + 60)
            self.socket.sendall(json.dumps(order).encode() + b"\n")
            return self._answer()

    def run(self, *command, check=True, within=60, env=None, stdin=None):
        """As Space.run()."""
        words = [str(word) for word in command]
        answer = self.ask({"do": "run", "command": words, "env": env or {}, "stdin": stdin, "within": within}, within)
        if "late" in answer:
            raise subprocess.TimeoutExpired(words, within)
        done = subprocess.CompletedProcess(words, answer["status"], answer["stdout"], answer["stderr"])
        return succeeded(self.name, done) if check else done

    def spawn(self, *command, log, env=None):
        """As Space.spawn(). log: a path on this side, below the machine's folder."""
        words = [str(word) for word in command]
        inside = f"/run/lab/{log.relative_to(self.folder)}"
        answer = self.ask({"do": "spawn", "command": words, "env": env or {}, "log": inside})
        if "pid" not in answer:
            raise CommandFailed(f"{self.name}: {' '.join(words)}: {answer['stderr']}")
        return GuestProcess(self, answer["pid"], words[0])

    def close(self):
        """No more orders: the machine switches itself off, sooner or later."""
        self.lines.close()
        self.socket.close()


class Vm(Host):
    """Disks of its own, as they are in lab.raw: {name: MB}; disk(name) is the device. What it has of Host that needs a
    way into its filesystems (path(), fill_disk(), power_cut()) does not work here; /run/lab is shared, and boot() after
    halt() is what a power cut is to a machine."""

    def __init__(self, lab, name, number, disks, cpus=""):
        super().__init__(lab, name, number, disks, cpus)
        self.qemu = None
        self.images = {}
        for disk, size_mb in lab.raw.items():
            self.images[disk] = self.directory / f"{disk}.img"
            with open(self.images[disk], "wb") as file:
                file.truncate(size_mb << 20)

    def console(self):
        return console(self.directory)

    def disk(self, name):
        return f"/dev/vd{'bcdefgh'[list(self.images).index(name)]}"

    def switch_on(self):
        """Does not wait: machines that boot at the same time take hardly longer than one."""
        switch = self.lab.network.switch
        switch.run("sh", "-ec", f"ip link del p{self.number} 2>/dev/null || :; ip tuntap add p{self.number} mode tap;"
                   f"ip link set p{self.number} master br0 up")
        (self.directory / AGENT).unlink(missing_ok=True)
        words = command(self.lab.image, self.directory, self.lab.repository, self.name, self.number, self.address,
                        self.images.values(), self.lab.memory_mb)
        pinned = ["taskset", "-c", self.cpus] if self.cpus else []
        self.qemu = switch.spawn(*pinned, *words, log=self.directory / "log" / "qemu.log")

    def boot(self):
        """Returns when it takes orders."""
        if self.qemu is None:
            self.switch_on()
        self.space = Guest(self.name, self.qemu, self.directory)
        self.up = True

    def halt(self):
        """As when the power fails: what the machine had not synced is gone."""
        self.up = False
        if self.space is not None:
            self.space.close()
            self.space = None
        if self.qemu is not None:
            self.qemu.kill()
            self.qemu.wait(20)
            self.qemu = None

    def power_cut(self):
        self.reboot()

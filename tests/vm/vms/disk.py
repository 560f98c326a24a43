"""Disks of machines: filesystems on them, and how slow they are."""


def make_filesystem(host, device):
    host.run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,nodiscard", device, within=120)


def mount(host, device, place):
    """noinit_itable: no load of its own on a fresh disk."""
    host.run("sh", "-ec", f"mkdir -p {place}; mount -t ext4 -o noinit_itable {device} {place}")


class SlowDisk:
    """A machine's disk behind a device of its own (dm-delay), whose flushes can be made to take longer while it is used."""

    def __init__(self, host, name):
        self.host = host
        self.name = name
        self.device = f"/dev/mapper/{name}"
        self.below = host.disk(name)
        size = host.run("blockdev", "--getsz", self.below).stdout.strip()
        self.table = f"0 {size} delay {' '.join([f'{self.below} 0 {{}}'] * 3)}"  # of reads, of writes, of flushes
        host.run("modprobe", "dm-delay")
        self._dmsetup("create", self.name, "--table", self.table.format(0, 0, 0))

    def _dmsetup(self, *words):
        self.host.run("dmsetup", *words, env={"DM_DISABLE_UDEV": "1"})

    def flushes_take(self, milliseconds):
        """... longer than they do by themselves. Of what is under way nothing is lost."""
        self._dmsetup("suspend", "--nolockfs", self.name)
        self._dmsetup("reload", self.name, "--table", self.table.format(0, 0, milliseconds))
        self._dmsetup("resume", self.name)

"""A disk of two machines that DRBD keeps the same, by protocol C: a write has ended when both have it."""

from lab.wait import wait_until

from .disk import make_filesystem, mount

DEVICE = "/dev/drbd0"
# Without a way out but a person's: a split brain is told, not decided.
CONF = """\
global {{ usage-count no; }}
resource r0 {{
  device {device}; disk {disk}; meta-disk internal;
  net {{ protocol C; connect-int 1; ping-int 1; after-sb-0pri disconnect; after-sb-1pri disconnect; }}
{nodes}}}
"""


class Drbd:
    """below: the device of each machine's that it writes to. Its own is DEVICE, on one of them at a time."""

    def __init__(self, one, other, below):
        self.hosts = (one, other)
        nodes = "".join(f"  on {host.name} {{ address {host.address}:7788; }}\n" for host in self.hosts)
        self.conf = CONF.format(device=DEVICE, disk=below, nodes=nodes)

    def create(self):
        """On empty disks: both are level without a byte sent."""
        for host in self.hosts:
            self.up(host, "drbdadm create-md --force r0;")
        self.wait_state("Connected", "Secondary/Secondary")
        self.hosts[0].run("drbdadm", "new-current-uuid", "--clear-bitmap", "r0/0")
        self.wait_state("Connected", "Secondary/Secondary", "UpToDate/UpToDate")

    def up(self, host, before=""):
        """After the machine has booted."""
        host.run("sh", "-ec", f"cat >/etc/drbd.conf; modprobe drbd; {before} drbdadm up r0", stdin=self.conf)

    def state(self, host):
        """(connection, roles, disks), of roles and disks the host's own first."""
        return tuple(host.run("drbdadm", word, "r0", check=False).stdout.strip() for word in ("cstate", "role", "dstate"))

    def wait_state(self, *wanted, host=None, within=60):
        """Until the state begins with what is wanted, on this host or on both."""
        for one in [host] if host else self.hosts:
            wait_until(lambda one=one: self.state(one)[:len(wanted)] == wanted, within,
                       lambda one=one: f"{one.name}: DRBD is {self.state(one)}, not {wanted}", every=0.2)

    def mount(self, host, place, fresh=False):
        """The host becomes primary. fresh: with a new filesystem."""
        host.run("drbdadm", "primary", "r0")
        if fresh:
            make_filesystem(host, DEVICE)
        mount(host, DEVICE, place)

    @staticmethod
    def release(host, place):
        host.run("umount", place)
        host.run("drbdadm", "secondary", "r0")

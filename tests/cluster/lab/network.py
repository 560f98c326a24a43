"""The lab's own network: one switch (a bridge in a namespace of its own), a cable per host. The
clients live on the switch, as 10.9.0.254. Nothing of it touches the machine's network."""

import subprocess

from .space import Space

PREFIX = "10.9.0."
CLIENT = PREFIX + "254"


class Network:
    """Hosts are plugged in when they boot; cuts are packet filters on the hosts themselves."""

    def __init__(self):
        # A bridge without an address of its own takes the lowest of its ports': it would change when a host dies,
        # and the clients be unreachable from the others until their neighbour tables are asked anew.
        setup = ("ip link set lo up;"
                 "ip link add br0 address 02:00:00:09:00:fe type bridge forward_delay 0 mcast_snooping 0;"
                 f"ip addr add {CLIENT}/24 dev br0; ip link set br0 up")
        self.switch = Space("switch", ["-n"], setup)

    def plug(self, host):
        """Gives a freshly booted host its cable and its address."""
        port = f"p{host.number}"
        self.switch.run("sh", "-ec", f"ip link del {port} 2>/dev/null || :;"
                        f"ip link add {port} type veth peer name eth0 netns {host.space.pid};"
                        f"ip link set {port} master br0 up")
        # The address of the card outlives a reboot, or neighbours would send to the old one for a while.
        host.space.run("sh", "-ec", f"ip link set lo up; ip link set eth0 address 02:00:00:09:00:{host.number:02x};"
                       f"ip addr add {host.address}/24 dev eth0; ip link set eth0 up")

    @staticmethod
    def cut_one_way(sender, receiver):
        """What sender sends no longer reaches receiver. Silent, as a broken cable is."""
        receiver.space.run("iptables", "-w", "-A", "INPUT", "-s", sender.address, "-j", "DROP")

    @staticmethod
    def heal_one_way(sender, receiver):
        """All cuts of that direction end."""
        rule = ["-s", sender.address, "-j", "DROP"]
        while receiver.space.run("iptables", "-w", "-D", "INPUT", *rule, check=False).returncode == 0:
            pass

    def cut(self, one, other):
        """No packet passes between the two any more."""
        self.cut_one_way(one, other)
        self.cut_one_way(other, one)

    def heal(self, one, other):
        self.heal_one_way(one, other)
        self.heal_one_way(other, one)

    def end(self):
        try:
            self.switch.end()
        except subprocess.TimeoutExpired:
            pass

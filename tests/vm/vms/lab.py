"""A lab whose hosts are machines."""

from lab import Lab

from .image import image
from .vm import Vm


class VmLab(Lab):
    """disks: {name: MB}, of each machine, empty; Vm.disk(name) is the device. The rest: see Lab. Raises Unavailable."""

    HOST = Vm

    def __init__(self, names=("mx1", "mx2"), disks=None, memory_mb=768, **options):
        self.image = image()
        self.raw = disks or {}
        self.memory_mb = memory_mb
        super().__init__(names, **options)

    def _disks(self, **_):
        return {}  # filesystems are made in the machines

    def boot(self):
        for host in self.hosts.values():
            host.switch_on()
        for host in self.hosts.values():
            host.boot()

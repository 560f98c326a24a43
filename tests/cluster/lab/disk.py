"""Filesystems in image files: loop-mounted inside a host, so that they go with the host's last process."""

import fcntl
import os
import struct
import subprocess

# What each needs at least, and how it is made for speed.
MAKERS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,nodiscard"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-K"],
}
# Initialising inode tables in the background would be a load of its own on fresh disks.
MOUNT_OPTIONS = {"ext4": "noinit_itable"}
FS_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32): ext4 and xfs
SHUTDOWN_NO_LOG_FLUSH = 2


class Disk:
    """An image file with a filesystem, and where a host mounts it."""

    def __init__(self, image, mountpoint, fs="ext4", size_mb=512, options="", mkfs=()):
        self.image = image
        self.mountpoint = mountpoint
        self.fs = fs
        self.options = options
        if not image.exists():
            with open(image, "wb") as file:
                file.truncate(size_mb << 20)
            subprocess.run([*MAKERS[fs], *mkfs, str(image)], check=True, capture_output=True)

    def mount_command(self, image_inside):
        """For the host's set-up script. The loop device frees itself at the last umount."""
        options = ",".join(word for word in ("loop", MOUNT_OPTIONS.get(self.fs), self.options) if word)
        return f"mkdir -p {self.mountpoint}; mount -t {self.fs} -o {options} {image_inside} {self.mountpoint}"


def power_off(path):
    """From now on nothing reaches the disk below path: what was not synced is lost at the umount."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", SHUTDOWN_NO_LOG_FLUSH))
    finally:
        os.close(fd)


def fill(path, leave=0):
    """Writes a file of zeros until the disk below path is full but for `leave` bytes. Ask fill_name() for it."""
    name = fill_name(path)
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        for block in (1 << 20, 4096, 512):
            _fill_blocks(fd, path, block, leave)
        os.fsync(fd)
    finally:
        os.close(fd)


def _fill_blocks(fd, path, block, leave):
    zeros = bytes(block)
    try:
        while _free(path) > leave:
            os.write(fd, zeros)
    except OSError as error:
        if error.errno != 28:  # ENOSPC is what was asked for
            raise


def _free(path):
    facts = os.statvfs(path)
    return facts.f_bfree * facts.f_bsize


def free(path):
    """Undoes fill(), for a power loss too."""
    os.unlink(fill_name(path))
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fill_name(path):
    """Beside the stores, not in one of them."""
    return os.path.join(path, "ballast")

"""What the machines boot: Debian's kernel, a root filesystem with the packages below, an initrd that joins them. Made
once and kept below build/vm; made anew when a list here or the kernel that the archive offers changes."""

import contextlib
import fcntl
import hashlib
import lzma
import os
import re
import shutil
import subprocess
from pathlib import Path

from lab.lab import REPOSITORY

CACHE = REPOSITORY / "build" / "vm"
PACKAGES = """busybox-static kmod iproute2 iputils-ping procps e2fsprogs dmsetup util-linux mount python3
drbd-utils dovecot-core dovecot-imapd dovecot-lmtpd dovecot-pop3d
libuv1 liblmdb0 libssl3 libzstd1 librsync2 libconfuse2 libjansson4 libseccomp2 libcap-ng0 libisal2 libsystemd0
libldap-2.5-0""".split()
# What the initrd loads, and all else that a machine may load: the rest of the kernel's modules would be 300 MB.
EARLY = "virtio_pci virtio_blk virtio_net virtio_console virtio_rng crc32c_generic ext4 9p 9pnet_virtio".split()
UNUSED = "drivers/gpu drivers/media drivers/infiniband drivers/staging drivers/usb drivers/iio drivers/hid drivers/input " \
         "drivers/net/ethernet drivers/net/wireless sound".split()
SIZE_MB = 1400  # sparse
XZ_MAGIC = b"\xfd7zXZ\0"
INITRD = """\
#!/bin/busybox sh
# The root filesystem is of this image, what process 1 is of the checkout.
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </order
mount -t ext4 /dev/vda /root
mount --move /dev /root/dev
mount -t tmpfs -o mode=755 run /root/run
mkdir /root/run/repo
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose repo /root/run/repo
exec switch_root /root /run/repo/tests/vm/vms/guest/init
"""


class Unavailable(Exception):
    """There are no machines here, and why."""


def _run(*command, **options):
    words = [str(word) for word in command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout


def _kernel():
    """(package, version) of Debian's newest kernel as the archive offers it."""
    text = _run("apt-cache", "show", "--no-all-versions", "linux-image-amd64")
    found = re.search(r"^Depends: .*?(linux-image-[\w.+-]+) \(= ([^)]+)\)", text, re.M)
    if found is None:
        raise Unavailable(f"apt knows no kernel:\n{text[:500]}")
    return found.groups()


class Image:
    """kernel, initrd, root: files for QEMU."""

    def __init__(self, folder):
        self.folder = folder
        self.kernel, self.initrd, self.root = (folder / name for name in ("vmlinux", "initrd", "root.img"))


def image():
    """The image, made if it is not there. Raises Unavailable."""
    for program in ("qemu-system-x86_64", "mmdebstrap", "cpio"):
        if shutil.which(program) is None:
            raise Unavailable(f"there is no {program}: run deploy/dependencies vm")
    kernel = _kernel()
    recipe = repr((kernel, PACKAGES, EARLY, UNUSED, SIZE_MB, INITRD))
    wanted = CACHE / hashlib.sha256(recipe.encode()).hexdigest()[:16]
    with _lock():
        if not wanted.exists():
            _replace_all(wanted, kernel)
    return Image(wanted)


@contextlib.contextmanager
def _lock():
    """One harness at a time makes an image."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _replace_all(wanted, kernel):
    """Machines that run on an older image have its files open."""
    for old in CACHE.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
    print(f"making the machines' image in {CACHE}: about a minute", flush=True)
    work = wanted.with_suffix(".new")
    work.mkdir()
    try:
        _make(work, *kernel)
        os.replace(work, wanted)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _make(work, package, version):
    made = Image(work)
    tree, root = work / "kernel", work / "root"
    _run("apt-get", "download", f"{package}={version}", cwd=work)
    _run("dpkg-deb", "-x", next(work.glob("*.deb")), tree)
    _debian(work, root)
    release = package.removeprefix("linux-image-")
    _modules(tree / "lib" / "modules" / release, root, release)
    made.kernel.write_bytes(_uncompressed((tree / "boot" / f"vmlinuz-{release}").read_bytes()))
    _make_initrd(work / "initrd.tree", root, release, made.initrd)
    _run("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", root, made.root, f"{SIZE_MB}M")
    for path in (tree, root, work / "initrd.tree"):
        shutil.rmtree(path)
    for path in (*work.glob("*.deb"), work / "apt.conf"):
        path.unlink()


def _debian(work, root):
    """Debian as this machine gets it: from its sources, on the way its apt goes (proxies, mirrors and the like)."""
    conf = _run("apt-config", "dump")
    (work / "apt.conf").write_text("".join(line + "\n" for line in conf.splitlines() if line.startswith("Acquire::"))
                                   + 'APT::Install-Recommends "false";\n')
    etc = Path("/etc/apt")
    sources = [file for file in (etc / "sources.list", *sorted(etc.glob("sources.list.d/*")))
               if file.suffix in (".list", ".sources") and file.exists() and file.stat().st_size > 0]
    suite = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.M).group(1)
    _run("mmdebstrap", "--variant=minbase", "--mode=root", f"--aptopt={work / 'apt.conf'}", f"--include={','.join(PACKAGES)}",
         "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*", suite, root, *sources)


def _modules(source, root, release):
    for folder in UNUSED:
        shutil.rmtree(source / "kernel" / folder, ignore_errors=True)  # not every kernel has them all
    shutil.copytree(source, root / "lib" / "modules" / release, symlinks=True)
    _run("chroot", root, "depmod", release)


def _uncompressed(vmlinuz):
    """The kernel inside its own decompressor, which takes seconds where every instruction is emulated."""
    return lzma.LZMADecompressor().decompress(vmlinuz[vmlinuz.find(XZ_MAGIC):])


def _make_initrd(tree, root, release, result):
    for folder in ("bin", "dev", "modules", "root"):
        (tree / folder).mkdir(parents=True)
    shutil.copy2(root / "bin" / "busybox", tree / "bin")
    order = []
    for module in EARLY:
        shown = _run("chroot", root, "modprobe", "-S", release, "--show-depends", module)
        order += [line.split()[1] for line in shown.splitlines() if line.startswith("insmod ")]
    order = list(dict.fromkeys(order))  # each once, what it needs before it
    for path in order:
        shutil.copy2(root / path.lstrip("/"), tree / "modules")
    (tree / "order").write_text("".join(Path(path).name + "\n" for path in order))
    (tree / "init").write_text(INITRD)
    (tree / "init").chmod(0o755)
    names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
    with open(result, "wb") as out:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=tree, input=names.encode(), stdout=out,
                       check=True)

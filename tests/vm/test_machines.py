"""The machines themselves: they are what they say, and nothing is left of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import proc, wait_until

pytestmark = pytest.mark.long
HARNESS = """
import sys
sys.path[:0] = {path!r}
from vms import VmLab
with VmLab(["mx1"]) as lab:
    lab.boot()
    print(lab["mx1"].qemu.pid, flush=True)
    sys.stdin.read()
"""


def gone(pids):
    wait_until(lambda: not any(map(proc.alive, pids)), 20, f"machines are left: {pids}")


def test_machines_end_with_their_lab_whether_they_came_up_or_not(make_vms):
    lab = make_vms(["mx1", "mx2"])
    lab["mx1"].boot()
    lab["mx2"].switch_on()
    pids = [host.qemu.pid for host in lab.hosts.values()]
    assert all(map(proc.alive, pids))
    lab.close()
    gone(pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_machines_end_with_their_harness_however_it_ends(make_vms, number):
    make_vms(["mx1"]).close()  # the image is there, or this test is not for this machine
    script = HARNESS.format(path=[str(Path(__file__).parent), str(Path(__file__).parents[1] / "cluster")])
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as harness:
        pid = int(harness.stdout.readline().split()[0])
        assert proc.alive(pid)
        os.kill(harness.pid, number)
        harness.wait(60)
        gone([pid])

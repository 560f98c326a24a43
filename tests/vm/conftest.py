"""Fixtures of the scenarios on virtual machines. See docs/testing.md."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cluster")]

from vms import Unavailable, VmLab  # noqa: E402


@pytest.fixture
def make_vms():
    """make_vms(...) is VmLab(...), which ends with the test; logs are shown when the test fails."""
    labs = []

    def make(*arguments, **options):
        try:
            labs.append(VmLab(*arguments, **options))
        except Unavailable as reason:
            pytest.skip(str(reason))
        return labs[-1]
    yield make
    for lab in labs:
        for host in lab.hosts.values():
            print(f"--- {host.name} (end)\n{host.console()}")
        lab.close()

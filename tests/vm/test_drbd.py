"""DRBD between two machines: what the machines are needed for first, and what mailtwin is measured beside."""

import pytest

from vms.drbd import Drbd

pytestmark = pytest.mark.long
PLACE = "/srv/shared"


@pytest.fixture
def shared(make_vms):
    """Two machines, DRBD between them, mounted on the first: (lab, drbd)."""
    lab = make_vms(disks={"shared": 256})
    lab.boot()
    one, other = lab["mx1"], lab["mx2"]
    drbd = Drbd(one, other, one.disk("shared"))
    drbd.create()
    drbd.mount(one, PLACE, fresh=True)
    return lab, drbd


def write(host, name, text):
    """Synced, with its name."""
    host.run("sh", "-ec", f"cat >{PLACE}/{name}; sync {PLACE}/{name} {PLACE}", stdin=text)


def test_a_file_is_on_the_other_node_when_that_is_promoted(shared):
    lab, drbd = shared
    one, other = lab["mx1"], lab["mx2"]
    write(one, "planned", "given over\n")
    drbd.release(one, PLACE)
    drbd.mount(other, PLACE)
    assert other.run("cat", f"{PLACE}/planned").stdout == "given over\n"


def test_what_was_synced_is_on_the_other_node_when_the_first_one_dies(shared):
    lab, drbd = shared
    one, other = lab["mx1"], lab["mx2"]
    write(one, "synced", "survives\n")
    one.halt()
    drbd.wait_state("WFConnection", host=other)
    drbd.mount(other, PLACE)
    assert other.run("cat", f"{PLACE}/synced").stdout == "survives\n"
    one.boot()
    drbd.up(one)
    drbd.wait_state("Connected", "Secondary/Primary", "UpToDate/UpToDate", host=one)

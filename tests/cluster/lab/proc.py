"""Processes as /proc shows them, with the machine's own pids."""

import os
import signal
from pathlib import Path


def children(pid):
    """The pids of the children of a process (of its main thread)."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def descendants(pid):
    """All pids below a process, parents first."""
    found = []
    for child in children(pid):
        found.append(child)
        found += descendants(child)
    return found


def alive(pid):
    """True for a running process, false for a zombie too."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def stopped(pid):
    """Is it stopped by SIGSTOP?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def owner(pid):
    """The effective uid, None when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("Uid:"):
                return int(line.split()[2])
    except OSError:
        pass
    return None


def cpu_seconds(pid):
    """User and system time used so far by all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid, field="VmHWM"):
    """VmHWM: the most resident memory ever; RssAnon: what is its own now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def send(pid, number):
    """Sends a signal; a process that is gone is fine."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def kill(pids):
    """SIGKILL to all of them."""
    for pid in pids:
        send(pid, signal.SIGKILL)

"""Process 1 of a host: carries out the set-up, says so, then reaps what is left behind.

usage: init.py SETUP-SCRIPT   (writes "ready" or the error to stdout)"""

import os
import signal
import subprocess
import sys


def setup(script):
    """None, or what went wrong."""
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip() or f"exit {done.returncode}"


def say(text):
    """One line to the harness, which then closes its end."""
    os.write(1, text.encode() + b"\n")
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def reap():
    """Collects every child that has ended."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    error = setup(sys.argv[1])
    say(error if error else "ready")
    if error:
        sys.exit(1)
    while True:
        signal.sigwait({signal.SIGCHLD})
        reap()


main()

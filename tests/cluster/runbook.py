"""Plays the shell blocks of a page: each ```sh NODE [CASE] block is run on that host, in order.

What a lab's host does not have, a service manager and a way to log in on the other host, is played by the harness:
the commands systemctl and ssh of a host ask it over a unix socket in the host's folder."""

import json
import os
import re
from pathlib import Path

from lab.gate import Gate
from lab.listener import Listener
from lab.postgres import Dumpd
from lab.slapd import Directoryd
from lab.space import CommandFailed

REPOSITORY = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```sh\b([^\n]*)\n(.*?)^```", re.M | re.S)
BIN = "/run/lab/bin"

# Sends its arguments and its input, prints the answer, ends with the status it was told.
ASK = """#!/usr/bin/python3
import json, os, socket, sys
name = os.path.basename(sys.argv[0])
stdin = sys.stdin.buffer.read().decode(errors="surrogateescape") if name == "ssh" else ""
ask = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
ask.connect("/run/lab/harness.sock")
ask.sendall(json.dumps([name, sys.argv[1:], stdin]).encode() + b"\\n")
status, text = json.loads(ask.makefile().readline())
print(text, end="", file=sys.stderr if status else sys.stdout)
sys.exit(status)
"""
DO_NOTHING = "#!/bin/sh\nexit 0\n"  # what would change the machine: its packages
SHIMS = {"systemctl": ASK, "ssh": ASK, "apt-get": DO_NOTHING, "journalctl": ASK}


def search_path(lab):
    return f"{BIN}:{lab.build_inside}:{os.environ['PATH']}"


class Page:
    """A page of the repository, its hosts being those of a lab."""

    def __init__(self, lab, path):
        self.lab = lab
        self.path = path
        self.text = (REPOSITORY / path).read_text()
        self.services = [Services(lab, host) for host in lab.hosts.values()]

    def blocks(self, cases):
        """(line, node, script) of the blocks to play."""
        for match in BLOCK.finditer(self.text):
            words = match.group(1).split()
            if words and words[0] in self.lab.hosts and (len(words) == 1 or words[1] in cases):
                yield self.text.count("\n", 0, match.start()) + 2, words[0], match.group(2)

    def play(self, cases=(), before=None, env=None):
        """Runs them all; returns how many. before(line, node, script) is called before each. env: instead of
        the lab's own environment of mailtwin."""
        count = 0
        for line, node, script in self.blocks(cases):
            if before is not None:
                before(line, node, script)
            self.run(self.lab[node], line, script, env)
            count += 1
        return count

    def run(self, host, line, script, env):
        env = {"PATH": search_path(self.lab), **(self.lab.environment(host) if env is None else env)}
        done = host.run("bash", "-e", "-o", "pipefail", "-c", script, env=env, within=180, check=False)
        if done.returncode != 0:
            raise CommandFailed(f"{self.path}:{line} on {host.name}: exit {done.returncode}\n{script}\n"
                                f"{done.stdout}{done.stderr}")

    def close(self):
        for service in self.services:
            service.close()


class Services:
    """Answers the commands of one host."""

    def __init__(self, lab, host):
        self.lab = lab
        self.host = host
        self.folder = host.directory
        self.units = {"mailtwin-replicatord": host.daemon, "dovecot": host.dovecot, "mailtwin-gate": Gate(host),
                      "mailtwin-directoryd": Directoryd(host), "mailtwin-dumpd": Dumpd(host)}
        (self.folder / "bin").mkdir(exist_ok=True)
        for name, text in SHIMS.items():
            (self.folder / "bin" / name).write_text(text)
            (self.folder / "bin" / name).chmod(0o755)
        self.listener = Listener(self.folder / "harness.sock", self._serve)

    def _serve(self, connection):
        with connection, connection.makefile("rw") as stream:
            stream.write(json.dumps(self._answer(*json.loads(stream.readline()))) + "\n")

    def _answer(self, name, arguments, stdin):
        try:
            return 0, getattr(self, name)(arguments, stdin)
        except Exception as error:  # noqa: BLE001 whatever it is, the block that asked fails with it
            return 1, f"{name}: {error}\n"

    def systemctl(self, arguments, _stdin):
        verb, *units = [word for word in arguments if not word.startswith("-")]
        if verb in ("enable", "disable"):
            verb = {"enable": "start", "disable": "stop"}[verb] if "--now" in arguments else None
        for unit in units if verb else ():
            self._unit(verb, unit)
        return ""

    def _unit(self, verb, unit):
        if unit == "postfix":
            if hasattr(self.host, "postfix"):  # else the lab delivers by LMTP
                {"start": self.host.postfix.start, "stop": self.host.postfix.stop,
                 "reload": self.host.postfix.reload}[verb]()
            return
        service = self.units[unit]
        running = service.process is not None and service.process.running()
        if verb == "is-active" and not running:
            raise CommandFailed(f"{unit} does not run")
        if verb == "reload":
            service.reload()
        if running and verb in ("stop", "restart"):
            service.stop()
        if verb == "restart" or (verb == "start" and not running):
            service.start()

    def journalctl(self, arguments, _stdin):
        """The host's journal has what its Postfix logs, and is not that of the machine below."""
        return self.host.log_text("postfix.log") if "postfix/qmgr" in arguments else ""

    def ssh(self, arguments, stdin):
        target, command = arguments[0].rpartition("@")[2], arguments[1:]
        other = self.lab[target]
        done = other.run("sh", "-ec", " ".join(command), stdin=stdin, env={"PATH": search_path(self.lab)})
        return done.stdout

    def close(self):
        self.listener.close()

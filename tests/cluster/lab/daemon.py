"""mailtwin-replicatord of one host: starting, stopping and hurting it, and what it says of itself."""

import json
import signal

from . import proc
from .space import CommandFailed
from .wait import wait_until


class Daemon:
    """Roles: "store" is the parent that touches the stores, "network" its unprivileged child."""

    def __init__(self, host):
        self.host = host
        self.process = None

    # --- life ---

    def spawn(self, env=None, arguments=()):
        """Starts it and does not wait."""
        host = self.host
        self.process = host.spawn(f"{host.lab.build_inside}/mailtwin-replicatord", "--foreground",
                                  "--config", host.lab.config_inside, "--node", host.name, *arguments,
                                  log="replicatord.log", env={**host.lab.environment(host), **(env or {})})

    def start(self, env=None):
        """Starts it and returns when it answers."""
        self.spawn(env)
        wait_until(self._answers, 60, lambda: f"{self.host.name}: no answer from the daemon:\n{self.log()}",
                   every=0.02)

    def _answers(self):
        if not self.process.running():
            raise CommandFailed(f"{self.host.name}: the daemon ended with {self.process.wait(1)}:\n{self.log()}")
        return self._ask() is not None

    def running(self):
        return self.process is not None and self.process.running()

    def stop(self, within=60):
        """A clean stop; it must end with status 0."""
        self.process.kill(signal.SIGTERM)
        status = self.process.wait(within)
        if status != 0:
            raise CommandFailed(f"{self.host.name}: the daemon ended with {status} on SIGTERM:\n{self.log()}")

    def restart(self):
        self.stop()
        self.start()

    def pids(self, role="both"):
        """Store first, then network."""
        store = [self.process.pid] if self.running() else []
        below = proc.descendants(store[0]) if store else []
        network = [pid for pid in below if proc.owner(pid) != 0] or below[:1]
        return {"store": store, "network": network, "both": store + below}[role]

    def kill9(self, role="both"):
        """SIGKILL; returns when what was hit is gone."""
        victims = self.pids(role)
        proc.kill(victims)
        self.process.wake()
        wait_until(lambda: not any(proc.alive(pid) for pid in victims), 10, f"{victims} outlive SIGKILL")

    def ensure(self):
        """What a service manager does: starts it when it has ended."""
        if self.process is not None and self.process.running() and not self._ending():
            return
        if self.process is not None:
            self.process.wait(60)
        self.start()

    def _ending(self):
        """After the death of a role it either goes on and answers, or ends. True: it ended."""
        return wait_until(lambda: "ended" if not self.process.running() else self._ask() and "answers", 60,
                          f"{self.host.name}: the daemon neither ends nor answers") == "ended"

    def freeze(self, role="both"):
        """SIGSTOP; returns when it stands still."""
        victims = self.pids(role)
        for pid in victims:
            proc.send(pid, signal.SIGSTOP)
        wait_until(lambda: all(proc.stopped(pid) for pid in victims), 10, f"{victims} do not stop")

    def thaw(self, role="both"):
        for pid in reversed(self.pids(role)):
            proc.send(pid, signal.SIGCONT)
        self.process.wake()

    # --- what it says ---

    def _ask(self):
        """The status, None while it does not answer."""
        done = self.host.mailtwin("status", "--json", check=False)
        try:
            status = json.loads(done.stdout)
        except ValueError:
            return None
        return status if status.get("node") else None

    def status(self):
        """`mailtwin status --json` as a dict."""
        return json.loads(self.host.mailtwin("status", "--json", check=False).stdout)

    def peer(self, name, status=None):
        """What this node knows of peer `name`: a dict, empty when it is not listed."""
        for peer in (status or self.status()).get("peers", []):
            if peer["node"] == name:
                return peer
        return {}

    def wait_status(self, condition, within, what):
        """Waits for condition(status) and returns that status."""
        seen = {}

        def look():
            seen["status"] = self._ask() or {}
            return seen["status"] if condition(seen["status"]) else None
        return wait_until(look, within, lambda: f"{self.host.name}: {what}; status: "
                          f"{json.dumps(seen['status'])}\n{self.log()}", every=0.05)

    def wait_recovered(self, within=60):
        """Until nothing that a power cut took is held any more."""
        return self.wait_status(lambda status: status.get("held") == 0, within, "names are held")

    def wait_role(self, role, within=30):
        return self.wait_status(lambda status: status.get("role") == role, within, f"role {role}")

    def wait_peer(self, name, state, within=60):
        return self.wait_status(lambda status: self.peer(name, status).get("state") == state, within,
                                f"peer {name} {state}")

    def log(self, tail=4000):
        return self.host.log_text("replicatord.log")[-tail:]

    def events(self, name):
        """The log's lines of one event, such as SWEEP_BEGIN."""
        return [line for line in self.host.log_text("replicatord.log").splitlines() if f"event={name}" in line]

"""A barrier socket of the harness's own: it counts who asks, and answers what a scenario wants."""

import json

from .listener import Listener

SAFE = {"ok": True, "state": "safe"}
DEGRADED = {"ok": True, "state": "degraded"}
LATE = {"ok": True, "state": "late"}
REFUSED = {"ok": False, "code": "refused", "error": "no standby"}


class FakeBarrier:
    """Listens in the host's folder of the lab, at `inside` as the host sees it. answer: None says nothing at all."""

    def __init__(self, host, answer=None):
        self.inside = "/run/lab/barrier.sock"
        self.answer = answer or SAFE
        self.requests = []
        self._listener = Listener(host.directory / "barrier.sock", self._serve, many=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self._listener.close()

    def _serve(self, sock):
        with sock, sock.makefile("rb") as lines:
            for line in lines:
                self.requests.append(json.loads(line))
                if self.answer is not None:
                    sock.sendall(json.dumps(self.answer).encode() + b"\n")

    def count(self, act):
        """How many asked while act() ran."""
        before = len(self.requests)
        act()
        return len(self.requests) - before

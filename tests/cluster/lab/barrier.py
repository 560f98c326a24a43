"""A barrier socket of the harness's own: it counts who asks, and answers what a scenario wants."""

import json

from .listener import Listener

SAFE = {"ok": True, "state": "safe"}
DEGRADED = {"ok": True, "state": "degraded"}
LATE = {"ok": True, "state": "late"}
REFUSED = {"ok": False, "code": "refused", "error": "no standby"}


def late(request):
    """Mail may come in, and does not become safe."""
    return SAFE if request.get("probe") else LATE


class FakeBarrier:
    """Listens in the host's folder of the lab, at `inside` as the host sees it. answer: to each request, or a
    function of the request; None says nothing at all."""

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
                answer = self.answer(self.requests[-1]) if callable(self.answer) else self.answer
                if answer is not None:
                    sock.sendall(json.dumps(answer).encode() + b"\n")

    def count(self, act):
        """How many asked while act() ran."""
        before = len(self.requests)
        act()
        return len(self.requests) - before

"""Carries out the harness's orders in a machine, one after the other: a line of JSON each, answered by a line. Runs over a
virtio port, so that it works whatever happens to the network.

{"do": "run", "command": [...], "env": {}, "stdin": null, "within": 60}  -> {"status": 0, "stdout": "", "stderr": ""}
                                                                            {"late": true} when it had to be killed
{"do": "spawn", "command": [...], "env": {}, "log": "/path"}              -> {"pid": 7}
{"do": "poll", "pid": 7}                                                  -> {"status": null}, or its exit status
{"do": "kill", "pid": 7, "signal": 15}                                    -> {}"""

import json
import os
import subprocess
import sys

SPAWNED = {}


def run(order):
    try:
        done = subprocess.run(order["command"], input=order["stdin"], stdin=None if order["stdin"] else subprocess.DEVNULL,
                              capture_output=True, text=True, errors="surrogateescape", timeout=order["within"], check=False,
                              env={**os.environ, **order["env"]})
    except subprocess.TimeoutExpired:
        return {"late": True}
    return {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def spawn(order):
    with open(order["log"], "ab") as log:
        process = subprocess.Popen(order["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   env={**os.environ, **order["env"]})
    SPAWNED[process.pid] = process
    return {"pid": process.pid}


def poll(order):
    return {"status": SPAWNED[order["pid"]].poll()}


def kill(order):
    SPAWNED[order["pid"]].send_signal(order["signal"])
    return {}


ORDERS = {"run": run, "spawn": spawn, "poll": poll, "kill": kill}


def answer(order):
    try:
        return ORDERS[order["do"]](order)
    except OSError as error:  # such as a program that is not there
        return {"status": 127, "stdout": "", "stderr": str(error)}


def main():
    with open(sys.argv[1], "r+b", buffering=0) as port:  # can be opened once only
        port.write(b'{"ready": true}\n')
        lines = iter(port.readline, b"")
        for line in lines:
            left = json.dumps(answer(json.loads(line))).encode() + b"\n"
            while left:
                left = left[port.write(left):]


main()

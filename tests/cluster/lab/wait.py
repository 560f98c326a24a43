"""Waiting for conditions. Nothing in the lab waits for time alone."""

import time


class LabTimeout(AssertionError):
    """The condition did not come true in time."""


def wait_until(condition, within, what, every=0.01):
    """Calls condition() until its result is true and returns that result.

    what: the sentence for the failure; a callable is asked when it comes to that."""
    end = time.monotonic() + within
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= end:
            text = what() if callable(what) else what
            raise LabTimeout(f"not within {within:g} s: {text}")
        time.sleep(every)

"""Fixtures of the cluster scenarios. See docs/testing.md."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lab import Lab, config  # noqa: E402
from lab.host import STORE  # noqa: E402


def _show_logs(lab):
    for name in lab.hosts:
        for file in sorted((lab.directory / "hosts" / name / "log").glob("*")):
            text = file.read_text(errors="replace")
            print(f"--- {name} {file.name} (end)\n{text[-3000:]}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Keeps the outcome where fixtures find it."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.failed_call = report.failed


@pytest.fixture
def make_lab(request):
    """make_lab(...) is Lab(...), closed after the test; after a failure the logs are shown."""
    labs = []

    def make(*arguments, **options):
        labs.append(Lab(*arguments, **options))
        return labs[-1]
    yield make
    for lab in labs:
        if getattr(request.node, "failed_call", False):
            _show_logs(lab)
        lab.close()


@pytest.fixture
def guarded(make_lab):
    """A pair() whose standby pauses when much is deleted at once."""
    lab = make_lab(["mx1", "mx2"], stores=config.default_stores(STORE, "20%"))
    lab.start()
    return lab


@pytest.fixture
def pair(make_lab):
    """Two hosts: mx1 the primary with Dovecot, mx2 its standby, level."""
    lab = make_lab(["mx1", "mx2"])
    lab.start()
    return lab

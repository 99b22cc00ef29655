"""A pytest plugin: how long each test file took, at the end; under pytest-xdist too."""

import time
from collections import Counter

import pytest

SHARED: list[tuple[str, float]] = []  # fixtures of the session set up since the last report, and their seconds
SECONDS: Counter[str] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef):
    begun = time.perf_counter()
    try:
        return (yield)
    finally:
        if fixturedef.scope == "session":
            SHARED.append((fixturedef.argname, time.perf_counter() - begun))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    report = yield
    report.shared = SHARED.copy()
    SHARED.clear()
    return report


def pytest_runtest_logreport(report):
    """What a session's fixture took counts as its own, not as the file's whose test came first."""
    shared = getattr(report, "shared", [])  # none of a test whose worker died
    SECONDS[report.nodeid.split("::")[0]] += report.duration - sum(seconds for _, seconds in shared)
    for name, seconds in shared:
        SECONDS[f"fixture {name}"] = max(SECONDS[f"fixture {name}"], seconds)  # another worker has waited for it


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("seconds by file, set-up included")
    for name, seconds in SECONDS.most_common():
        if seconds > 0.05:
            terminalreporter.write_line(f"{seconds:7.1f} {name}")

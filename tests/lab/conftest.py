"""Fixtures of the lab: hosts as network namespaces, so that mDNS and pulled cables are real."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import lab_segment
import pytest
from lab import Lab

_LAB = pytest.StashKey[Lab]()


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A lab, which is taken down at the end whatever happens; skips where none can be made."""
    reason = lab_segment.reason_against()
    if reason is not None:
        pytest.skip(f"NO LAB: {reason}")
    made = request.node.stash[_LAB] = Lab(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def make_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Lab]]:
    """Make labs that are there at the same time, until the module's end; skips where none can be made."""
    reason = lab_segment.reason_against()
    if reason is not None:
        pytest.skip(f"NO LAB: {reason}")
    with ExitStack() as ends:

        def make() -> Lab:
            lab = Lab(tmp_path_factory.mktemp("lab"))
            ends.callback(lab.close)
            return lab

        yield make


@pytest.fixture
def show_logs(request: pytest.FixtureRequest) -> Callable[[Lab], None]:
    """Have the logs of a lab in the report, where the test fails."""

    def show(lab: Lab) -> None:
        request.node.stash[_LAB] = lab

    return show


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what each process of the lab has printed to the report of a failing test."""
    report = yield
    made = item.stash.get(_LAB, None)
    if made is not None and report.when == "call" and report.failed:
        report.sections += [(f"log of {label}", text[-8000:]) for label, text in made.logs().items()]
    return report

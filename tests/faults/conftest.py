"""Attempts to break a run, how many of them, and the table of what came of them."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from upfield.errors import UpfieldError

from tests.e2e.conftest import write_balls

from .small import Small

# Seconds that one try may take on a busy machine.
LIMIT = 120
# A line of the log that a person reads to its end.
LONGEST = 400
# The property of a test that holds a row of the table.
COUNTED = "fault"


class Hung(BaseException):
    """A try took too long; no kind of exception that anything catches."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tries", type=float, default=1.0, help="how many times the usual number of tries of each fault")


@pytest.fixture(scope="session")
def tries(request: pytest.FixtureRequest) -> Callable[[int], range]:
    """The numbers of the tries of a fault, of the usual number of them; a try's number is its seed."""
    return lambda usual: range(max(round(usual * request.config.getoption("--tries")), 1))


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_balls(tmp_path_factory.mktemp("data") / "bids", 3)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, data):
    """What every other run must end with, and how many seconds it took."""
    study = Small(tmp_path_factory.mktemp("undisturbed") / "study", data)
    start = time.monotonic()
    study.run()
    return study.results(), time.monotonic() - start


class Tally:
    """What became of the tries of one fault; `lost` names those that were not survived, with the reason."""

    def __init__(self, counts: Counter[str]) -> None:
        self.counts = counts
        self.lost: list[str] = []

    def check(self, name: str, problem: str) -> None:
        """Count a try: survived if there is no problem."""
        self.counts["lost" if problem else "survived"] += 1
        if problem:
            self.lost.append(f"{name}: {problem}"[:1500])

    @contextmanager
    def survived(self, name: str) -> Iterator[None]:
        """Count a try: survived if the block ends."""
        try:
            yield
        except BaseException as error:
            self.check(name, f"{type(error).__name__} {error}")
            raise
        self.check(name, "")

    def done(self) -> None:
        """Fail the test if a try was lost."""
        assert not self.lost, f"{len(self.lost)} lost; {self.lost[:5]}"


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Tally]]:
    """Start the row of a fault in the table."""
    rows: dict[str, Counter[str]] = {}
    yield lambda fault: Tally(rows.setdefault(fault, Counter()))
    # What a test says so reaches the process that writes the table.
    request.node.user_properties.extend((COUNTED, [fault, dict(counts)]) for fault, counts in rows.items())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows: dict[str, Counter[str]] = {}
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if getattr(report, "when", None) == "teardown":
            for fault, counts in (said for name, said in report.user_properties if name == COUNTED):
                rows.setdefault(fault, Counter()).update(counts)
    if rows:
        terminalreporter.section("faults")
        width = max(map(len, rows))
        terminalreporter.write_line(f"{'fault':{width}}  tries  survived  lost")
        for fault, counts in rows.items():
            survived, lost = counts["survived"], counts["lost"]
            terminalreporter.write_line(f"{fault:{width}}  {survived + lost:5}  {survived:8}  {lost:4}")


def _alarm(*_: object) -> None:
    raise Hung(f"more than {LIMIT} s")


def outcome(attempt: Callable[[], str]) -> str:
    """What is wrong with an attempt: what it returns, a traceback, a long line or several, or that it never ended.

    One line of an UpfieldError is how it may end.
    """
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(LIMIT)
    try:
        return attempt()
    except UpfieldError as error:
        said = str(error)
        lines = said.splitlines() if said else []
        printable = all(letter.isprintable() for letter in said)
        return "" if len(lines) == 1 and len(said) <= LONGEST and printable else f"not one short line: {said!r:.900}"
    except (Exception, Hung) as error:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = "" if place is None else f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
        return f"{type(error).__name__} at {where}: {error!s:.300}"
    finally:
        signal.alarm(0)

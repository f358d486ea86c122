"""A pytest plug-in: the fixture ``speed_gate`` fails a test whose model is slower than its recorded baseline.

    def test_speed(speed_gate):
        speed_gate("speed-gate/baseline", "build/model.onnx", catch="5%")

It stands alone: it imports nothing of leangen's, and runs the command ``leangen bench gate`` in a process that does not
see the project's folders, so that a project may have its own ``benchmarks`` or ``reports``.
"""

import json
import subprocess
import sys
import tempfile
import warnings
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

PROPERTY = "speed_gate"  # of a test: the gate's line, also in pytest's JUnit XML
_PROGRAM = "from nas.cli import main; main()"

Result = dict[str, Any]


class SpeedGateInconclusive(pytest.PytestWarning):
    """A speed gate that could tell neither a pass nor a regression."""


class SpeedGate(Protocol):
    """What the fixture is."""

    def __call__(
        self,
        bundle: str | PathLike[str],
        candidate: str | PathLike[str],
        *,
        catch: str | None = None,
        budget: str | None = None,
        tolerance: float | None = None,
        inconclusive: Literal["warn", "fail", "pass"] = "warn",
        seed: int = 0,
    ) -> Result:
        """Measure a baseline and a candidate side by side; return what ``leangen bench gate --json`` writes.

        Args:
            bundle: Folder that ``leangen bench record`` made.
            candidate: ONNX file.
            catch: Slowdowns of this size are to be found; None is ``--speed-gate-catch``, else 5%.
            budget: Longest time to measure; None is ``--speed-gate-budget``, else 10s.
            tolerance: Largest difference of outputs, as a share of their range; None is the command's own.
            inconclusive: Whether such an answer warns (``SpeedGateInconclusive``), fails the test or says nothing.
            seed: Of the order of turns.

        Raises:
            pytest.fail.Exception: a regression, other outputs, models that cannot be compared, or bad input.
        """
        ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what a command line may say to every gate that does not say it itself."""
    group = parser.getgroup("speed gate", "speed gate (leangen)")
    group.addoption("--speed-gate-catch", default="5%", metavar="PERCENT", help="slowdown to be found (default: 5%%)")
    group.addoption("--speed-gate-budget", default="10s", metavar="SECONDS", help="time of each gate (default: 10s)")
    group.addoption("--no-speed-gate", action="store_true", help="skip tests that use the fixture speed_gate")


def pytest_terminal_summary(terminalreporter: "TerminalReporter") -> None:
    """Show every gate's line: a pass also says what it would have caught."""
    reports = [report for several in terminalreporter.stats.values() for report in several]
    lines = [
        f"{report.nodeid}: {text}"
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, text in report.user_properties
        if name == PROPERTY
    ]
    if lines:
        terminalreporter.section("speed gates")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def speed_gate(request: pytest.FixtureRequest) -> SpeedGate:
    """Fail the test if a model is slower than its recorded baseline; see ``SpeedGate``."""
    config = request.config
    if config.getoption("no_speed_gate"):
        pytest.skip("--no-speed-gate")

    def gate(
        bundle: str | PathLike[str],
        candidate: str | PathLike[str],
        *,
        catch: str | None = None,
        budget: str | None = None,
        tolerance: float | None = None,
        inconclusive: Literal["warn", "fail", "pass"] = "warn",
        seed: int = 0,
    ) -> Result:
        __tracebackhide__ = True
        options = {
            "catch": catch or config.getoption("speed_gate_catch"),
            "budget": budget or config.getoption("speed_gate_budget"),
            "tolerance": tolerance,
            "inconclusive": inconclusive,
            "seed": seed,
        }
        result = _run(Path(bundle), Path(candidate), options)
        request.node.user_properties.append((PROPERTY, f"{Path(candidate).name}: {result['line']}"))
        text = "\n  ".join([f"speed gate: {result['model']}: {result['line']}", result["reason"], *result["notes"]])
        if result["exit_code"]:
            pytest.fail(text, pytrace=False)
        if result["verdict"] == "inconclusive" and inconclusive == "warn":
            warnings.warn(SpeedGateInconclusive(text), stacklevel=2)
        return result

    return gate


def _run(bundle: Path, candidate: Path, options: dict[str, Any]) -> Result:
    """Run the command and return its record. There is none after bad input, and none without leangen: exit code or not.

    ``-I`` keeps the working folder, PYTHONPATH and the user's own site-packages out.
    """
    __tracebackhide__ = True
    with tempfile.TemporaryDirectory(prefix="speed-gate-") as folder:
        out = Path(folder) / "gate.json"
        words = [f"--{name}={value}" for name, value in options.items() if value is not None]
        command = [sys.executable, "-I", "-c", _PROGRAM, "bench", "gate", str(bundle.absolute())]
        done = subprocess.run(
            [*command, str(candidate.absolute()), *words, f"--json={out}", "--quiet"],
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        if not out.is_file():
            said = done.stderr.strip() or done.stdout.strip() or "it said nothing"
            pytest.fail(f"speed gate: nothing was measured (exit code {done.returncode}):\n{said}", pytrace=False)
        return dict(json.loads(out.read_text(encoding="utf-8")))

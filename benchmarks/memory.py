"""Peak memory of one inference, measured in a process that does nothing else.

``python -m benchmarks.memory MODEL BATCH THREADS`` prints the peak resident size in MiB of a Python process that loads
the model in onnxruntime and calls it a few times; that of the same process without a model is what Python itself takes.
"""

import re
import subprocess
import sys
from pathlib import Path

from benchmarks.records import BenchmarkError

CALLS = 5
_TIMEOUT_S = 120


def peak_mib(model: Path, batch: int, threads: int = 1) -> float | None:
    """Return the peak resident size in MiB of a fresh process running ``model``, or ``None`` where no system tells.

    Raises:
        BenchmarkError: the process failed, and the message holds its last lines; or it took longer than two minutes.
    """
    # The process runs where it can import this room, so a relative path would lead elsewhere.
    command = [sys.executable, "-m", "benchmarks.memory", str(model.absolute()), str(batch), str(threads)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, cwd=Path(__file__).parents[1]
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(
            f"{model} took longer than {_TIMEOUT_S} s to be run {CALLS} times, so its memory is not known: "
            "take a smaller batch"
        ) from error
    if done.returncode != 0:
        raise BenchmarkError(f"{model} could not be run to measure its memory: {done.stderr.strip()[-300:]}")
    text = done.stdout.strip()
    return float(text) if text else None


def own_peak_mib() -> float | None:
    """Return the peak resident size of this process in MiB, or ``None`` where no system tells.

    On Linux that is VmHWM: ``ru_maxrss`` begins at the peak of the process that started this one (it survives exec).
    """
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:  # macOS, Windows
        found = None
    if found:
        return int(found[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS tells bytes, others KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def main(arguments: list[str]) -> None:
    """Load the model, call it, print the peak in MiB (nothing on systems that do not tell)."""
    from benchmarks.inputs import draw_inputs
    from benchmarks.runtimes.onnx import OnnxRunner, input_specs

    model, batch, threads = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    runner = OnnxRunner(model, draw_inputs(input_specs(model), batch, 0), threads=threads)
    for _ in range(CALLS):
        runner.run()
    peak = own_peak_mib()
    if peak is not None:
        print(peak)


if __name__ == "__main__":
    main(sys.argv[1:])

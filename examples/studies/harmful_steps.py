"""Steps that do harm, of random size: how many of them the rule of compression keeps.

python -m examples.studies.harmful_steps run --steps 200      gives docs/compression/harmful-steps.json
python -m examples.studies.harmful_steps table docs/compression.md

Half of the steps are slower twins that draw the same to the last bit, by up to about 10 %. The other half are faster
and draw worse, by noise on every weight that puts them within 5 % of the budget: those that are truly outside must be
refused. The truth is the mean over many more latents than a decision sees, and other ones. Real files, really timed.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
from onnx import numpy_helper

from benchmarks.files import read_json, write_bytes, write_json, write_text
from benchmarks.fingerprint import fingerprint
from benchmarks.records import Target
from benchmarks.runtimes.onnx import input_specs
from benchmarks.selftest import share
from benchmarks.twins import SIZES, build
from compress.measure import Bench
from compress.prior_task import DISTANCE, PriorTask, distance_to
from compress.quality import parse_budgets
from compress.steps import BEFORE, REFERENCE, decide
from nas.marked import fill

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
SIZE = SIZES[0]
SLOWEST = 230  # channels of the dead branch
BEFORE_FASTER = 350  # of the file that a faster step is compared with
BUDGET = 0.05
NEAR = 0.05  # of the budget
FIRST_NOISE = 0.005
RESULT = Path("docs/compression/harmful-steps.json")
SLOWER, WORSE = "slower", "worse"


@app.command(name="run")
def run_(
    steps: Annotated[int, typer.Option(min=2)] = 200,
    seconds: Annotated[float, typer.Option(help="Of timing a step; compression itself takes 2.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Gets every step.")] = RESULT,
) -> None:
    """Try the steps and write what became of each."""
    with tempfile.TemporaryDirectory(prefix="leangen-harm-") as folder:
        trial = Trial(Path(folder), seconds, seed)
        rows = []
        for number in range(steps):
            rows.append(trial.step(number))
            if number % 20 == 19:
                print(f"{number + 1} of {steps}: {sum(row['wrong'] for row in rows)} kept wrongly", flush=True)
    write_json(out, {"seed": seed, "seconds": seconds, "machine": fingerprint().to_json(), "rows": rows})


class Trial:
    """A base file, its twin that is slower, and what judges and times steps between them."""

    def __init__(self, folder: Path, seconds: float, seed: int) -> None:
        self._folder, self._seconds, self._seed = folder, seconds, seed
        self._base, self._slow = folder / "base.onnx", folder / "slow.onnx"
        write_bytes(self._base, build(SIZE))
        write_bytes(self._slow, build(SIZE, BEFORE_FASTER))
        inputs = input_specs(self._base)
        self._task = PriorTask(inputs, {DISTANCE: distance_to(self._base)}, seed=(seed, 1))
        self._truth = PriorTask(inputs, {DISTANCE: distance_to(self._base)}, seed=(seed, 2), rows=512, draws=16)
        self._bench = Bench(Target(), inputs, seed=(seed, 3), calibration_seed=(seed, 4))
        self._budgets = parse_budgets(f"distance<={BUDGET}")

    def step(self, number: int) -> dict[str, Any]:
        """Return what became of the step of this number."""
        rng = np.random.default_rng((self._seed, number))
        after = self._folder / f"{number}.onnx"
        if number % 2:
            kind, before, size = SLOWER, self._base, int(rng.integers(1, SLOWEST + 1))
            write_bytes(after, build(SIZE, size))
            harm, harmful = float(size), True
        else:
            kind, before, size = WORSE, self._slow, 0
            self._make_worse(after, number, BUDGET * rng.uniform(1 - NEAR, 1 + NEAR))
            harm = self._truth.evaluate({"a": after})["a"].primary.value
            harmful = harm > BUDGET
        ratio = self._bench.ratios(before, {"after": after}, self._seconds)["after"]
        found = self._task.evaluate({REFERENCE: self._base, BEFORE: before, "after": after})
        result = decide(
            kind,
            ratio_to_previous=ratio,
            found=found["after"],
            reference=found[REFERENCE],
            budgets=self._budgets,
        )
        after.unlink()
        return {
            "kind": kind, "harm": harm, "harmful": harmful, "kept": result.kept, "wrong": harmful and result.kept,
            "ratio": ratio.value, "reason": result.reason,
        }  # fmt: skip

    def _make_worse(self, file: Path, number: int, distance: float) -> None:
        """Write the base with noise that puts it at about ``distance``, which grows nearly in proportion to it."""
        noise = FIRST_NOISE
        for _ in range(3):
            write_bytes(file, noisy(self._base, noise, np.random.default_rng((self._seed, number, 1))))
            noise *= distance / self._truth.evaluate({"a": file})["a"].primary.value
        write_bytes(file, noisy(self._base, noise, np.random.default_rng((self._seed, number, 1))))


def noisy(file: Path, noise: float, rng: np.random.Generator) -> bytes:
    """Return the model with normal noise on every weight, ``noise`` times that weight's size."""
    model = onnx.load(file)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 1:
            moved = values * (1 + noise * rng.standard_normal(values.shape)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    data: bytes = model.SerializeToString()
    return data


@app.command()
def table(
    page: Annotated[Path, typer.Argument(help="docs/compression.md")],
    result: Annotated[Path, typer.Option(help="What run wrote.")] = RESULT,
) -> None:
    """Put the rates and their bounds into the page."""
    write_text(page, fill(page.read_text(encoding="utf-8"), "harm", told(read_json(result))))


def told(record: Mapping[str, Any]) -> str:
    """Return the table: kept among the harmful ones, and among those inside the budget, with exact bounds."""
    rows = record["rows"]
    lines = ["| steps | how many | kept | share, exact 95 % interval |", "| --- | --- | --- | --- |"]
    for name, kind, harmful in (
        ("slower, drawing the same", SLOWER, True),
        ("faster, and worse than the budget allows", WORSE, True),
        ("faster, and worse inside the budget", WORSE, False),
    ):
        chosen = [row for row in rows if (row["kind"], row["harmful"]) == (kind, harmful)]
        kept = sum(row["kept"] for row in chosen)
        if chosen:
            value, low, high = share(kept, len(chosen))
            lines.append(f"| {name} | {len(chosen)} | {kept} | {value:.1%} [{low:.1%}, {high:.1%}] |")
    machine = record["machine"]
    told = f"{len(rows)} steps, seed {record['seed']}, {machine['cpu']} with onnxruntime {machine['onnxruntime']}."
    return "\n".join([*lines, "", told])


if __name__ == "__main__":
    app()

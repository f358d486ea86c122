"""A generator that leangen did not find: compressed, exported, measured and reported, without an experiment."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch

from benchmarks.files import read_json, sha256_bytes, write_json
from benchmarks.fingerprint import fingerprint
from benchmarks.records import Target
from benchmarks.runtimes.sessions import check_device
from compress.compressing import (
    DEFAULT_BUDGET,
    RECOVERING,
    Result,
    auto_recipe,
    check_batch,
    check_generator,
    compress,
    own_task,
)
from compress.export import AnyGenerator
from compress.generator import Generator
from compress.planner import Recipe
from compress.prior_task import DISTANCE, PriorTask, as_measure
from compress.quality import parse_budgets
from compress.steps import StepResult
from nas.deploying import write_deploy
from nas.errors import NasError
from nas.folder import MACHINE_FILE, FolderError, Record
from nas.locks import Busy, hold
from nas.progress import Progress, Silent
from nas.reporting import write_report
from nas.shrunk import export, summarize
from nas.sources import Source
from reports.summary import parse

REQUEST = "request.json"
EXPORTED = "export/record.json"
_PARTS = ("reference", "compressed", "export", "report")
_LOCK = ".lock"


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Args:
        source: The generator.
        budgets: As written.
        functions: That judge pictures, by metric; none: the distance to the generator that was given.
        judged_by: How these are named on the command line.
        target: Where it will run.
        prune: Whether pruning is tried, where it can be.
        minutes: About how long it may take.
        seed: Of everything drawn.
        command: The command line, for the report.
    """

    source: Source
    budgets: tuple[str, ...] = (DEFAULT_BUDGET,)
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    judged_by: tuple[str, ...] = ()
    target: Target = field(default_factory=Target)
    prune: bool = True
    minutes: float = 10.0
    seed: int = 0
    command: str = "leangen compress"

    def to_json(self, generator: AnyGenerator) -> Record:
        """Return what the run folder is of; the same request finds its answer there."""
        return {
            "source": self.source.text,
            "id": generator.id,
            "weights": _digest(generator),
            "inputs": [spec.to_json() for spec in generator.inputs],
            "budgets": list(self.budgets),
            "metrics": list(self.functions),
            "judged_by": list(self.judged_by),
            "target": self.target.to_json(),
            "prune": self.prune,
            "minutes": self.minutes,
            "seed": self.seed,
        }


def shrink(request: Request, out: Path, progress: Progress | None = None) -> Record:
    """Compress what ``request`` names into the run folder ``out`` and return its summary.

    In a folder with a summary of the same request only report and program are made again, if they are not there. One
    that was cut short is judged and timed anew, but what was trained is not trained again.

    Raises:
        NasError: budgets and functions do not fit; ``out`` holds something else or is in use.
        CompressError: the generator cannot be used.
    """
    _check_budgets(request)
    generator = request.source.load()
    asked, out = request.to_json(generator), out.absolute()
    _check_free(out, asked)
    check_device(request.target.device)
    check_batch(generator, request.target.batch)
    check_generator(generator, request.seed)  # before a folder is made for what cannot be done
    out.mkdir(parents=True, exist_ok=True)
    try:
        with hold(out / _LOCK):
            if (out / "summary.json").is_file():
                return _finish(request, out)
            for part in _PARTS:
                shutil.rmtree(out / part, ignore_errors=True)  # of one that was cut short
            write_json(out / REQUEST, asked)
            write_json(out / MACHINE_FILE, fingerprint().to_json())
            return _make(request, generator, out, progress or Silent())
    except Busy as error:
        raise FolderError(f"{out} is in use by process {error}: wait for it, or name another folder") from error


def _check_budgets(request: Request) -> None:
    measured = set(request.functions) or {DISTANCE}
    for budget in parse_budgets(request.budgets):
        if budget.metric.name not in measured:
            raise NasError(
                f"the budget {budget.text} needs a function that measures {budget.metric.name}: give one with "
                f"--quality package.module:function; measured is {', '.join(sorted(measured))}"
            )


def _check_free(out: Path, asked: Record) -> None:
    """Raise FolderError unless ``out`` is new, empty, or of the same request."""
    kept = out / REQUEST
    if kept.is_file():
        if read_json(kept) != asked:
            raise FolderError(f"{out} is of another request ({kept} tells): name another folder with --out")
    elif out.exists() and (not out.is_dir() or any(path.name != _LOCK for path in out.iterdir())):
        raise FolderError(f"{out} holds something else: name a new folder with --out")


def _make(request: Request, generator: AnyGenerator, out: Path, progress: Progress) -> Record:
    begun = time.monotonic()
    result = _compress(request, generator, out, progress)
    compressed = time.monotonic()
    exported = export(generator, result, request.seed, progress)
    ended = time.monotonic()
    seconds = {"compress": compressed - begun, "export": ended - compressed, "total": ended - begun}
    told = {
        "command": request.command,
        "source": request.source.text,
        "seconds": seconds,
        "only_distance": not request.functions,
        "pruned": request.prune,
    }
    summary = parse(summarize(generator, result, exported, told)).to_json()
    write_json(out / EXPORTED, exported)
    write_json(out / "summary.json", summary)
    shutil.rmtree(out / RECOVERING, ignore_errors=True)
    return _finish(request, out)


def _finish(request: Request, out: Path) -> Record:
    """Write the report and the program that draws, and return the summary; what is there already stays."""
    summary: Record = read_json(out / "summary.json")
    if not (out / "report" / "index.html").is_file():
        write_report(out)
    if not (out / "export" / "deploy").is_dir():
        data = f"not known to leangen, which was given {request.source.text} and compressed it"
        write_deploy(out, read_json(out / EXPORTED), parse(summary), data)
    return summary


def _digest(generator: AnyGenerator) -> str:
    """Return the SHA-256 of the module's tensors, names and all; empty for a file, whose id is of its bytes."""
    if not isinstance(generator, Generator):
        return ""
    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in generator.module.state_dict().items()}
    return sha256_bytes(safetensors.torch.save(state))


def _compress(request: Request, generator: AnyGenerator, out: Path, progress: Progress) -> Result:
    heard, begun = list[StepResult](), time.monotonic()

    def on_step(step: StepResult) -> None:
        heard.append(step)
        minutes = min((time.monotonic() - begun) / 60, request.minutes)  # how many steps there will be nobody knows
        progress.update("compress", minutes, f"{step.name} {step.reason}")

    recipe = auto_recipe(generator, request.minutes) if request.prune else Recipe(prune_ratios=())
    progress.start("compress", request.minutes, "minutes")
    result = compress(
        generator,
        task=_task(request, generator, out),
        budget=request.budgets,
        target=request.target,
        recipe=recipe,
        minutes=request.minutes,
        folder=out,
        seed=request.seed,
        on_step=on_step,
    )
    progress.finish("compress", f"{sum(step.kept for step in heard)} of {len(heard)} steps kept")
    return result


def _task(request: Request, generator: AnyGenerator, out: Path) -> PriorTask:
    """Return the task: the functions that were given, or the distance to what the given generator draws."""
    reference, keep = out / "reference" / "model.onnx", out / RECOVERING
    task = own_task(generator, reference, minutes=request.minutes, seed=request.seed, keep=keep)
    if not request.functions:
        return task
    limited = [budget.metric.name for budget in parse_budgets(request.budgets)]
    names = dict.fromkeys([*limited, *request.functions])  # the first budget's is the primary metric
    return task.measuring({name: as_measure(request.functions[name]) for name in names})

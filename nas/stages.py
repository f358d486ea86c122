"""The stages of a run, in order, each resumed where it stopped; and the plan of what they will cost."""

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.files import write_json
from compress.quality import Score
from nas.baseline import FOLDER as BASELINE
from nas.candidate import OUTCOMES
from nas.checks import check, check_trust
from nas.choosing import Field
from nas.compressing import compress_winner
from nas.context import Context
from nas.deploying import describe, write_deploy
from nas.executors import Executor, LocalExecutor
from nas.experiment import Experiment
from nas.exporting import export_winner
from nas.final import Scene, contestants, measure_latency, operators_of, write_grids
from nas.finalists import schedule_of, train_finalists
from nas.folder import FolderError, Record, RunFolder
from nas.held_out import judge_held_out, write_neighbours
from nas.limits import Limits
from nas.progress import Progress, Silent
from nas.reference import check_teacher, train_reference
from nas.reporting import write_report
from nas.reuse import reuse_reference
from nas.roofline import roofline_of
from nas.scratch import scratch
from nas.seeds import Stream
from nas.study import Search
from nas.summarize import summarize_run
from reports.summary import parse

STAGES = ("data", "reference", "search", "finalists", "compress", "export", "report")


def run(
    experiment: Experiment,
    out: Path | None = None,
    *,
    stages: Sequence[str] | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    trust_code: bool = False,
    reference_from: Path | None = None,
) -> dict[str, Any]:
    """Do ``stages`` of ``experiment`` in the run folder ``out`` and return the summary, which is also written there.

    Stages that are finished are not done again; one that was cut goes on where it stopped. The report is always made.
    Workers are processes that import the program anew: a script calls this under ``if __name__ == "__main__":``.

    Args:
        experiment: What to do.
        out: The run folder; ``runs/NAME`` by default.
        stages: Some of ``STAGES``; all by default. A stage whose predecessor is missing says which command makes it.
        fresh: Rename an older folder out of the way first.
        progress: Hears of everything that takes longer than a moment.
        trust_code: Code that the experiment names (``reference.module``) may be imported and run.
        reference_from: Another run folder, whose finished reference is taken over if it is the one asked for here.

    Raises:
        NasError, CompressError, SearchSpaceError, BenchmarkError: what was asked for cannot be done; says what to do.
    """
    unknown = set(stages or ()) - set(STAGES)
    if unknown:
        raise FolderError(f"stages are {', '.join(STAGES)}; found {', '.join(sorted(unknown))}")
    check_trust(experiment, trust_code=trust_code)
    check(experiment)  # before a folder is made, or an older one renamed, for what cannot run
    folder = RunFolder.create((out or Path("runs") / experiment.name).absolute(), experiment, fresh=fresh)
    with folder.locked(), scratch(), LocalExecutor(experiment.search.workers) as executor:
        folder.sweep()
        if reference_from is not None:
            reuse_reference(RunFolder(reference_from.absolute()), folder, experiment)
        context = _surroundings(experiment, folder, progress or Silent(), trust_code=trust_code)
        return _Run(context, executor, progress or Silent()).do(stages or STAGES)


def _surroundings(experiment: Experiment, folder: RunFolder, progress: Progress, *, trust_code: bool) -> Context:
    """Return the run's context; trusted code is also found in the working directory, as ``python -m`` would."""
    if trust_code and (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    with folder.timed("data"):
        context = Context.build(experiment, folder, progress, trust_code=trust_code)
    splits = context.splits
    folder.check_data({"seen": splits.seen.digest, "held_out": splits.held_out.digest})
    context.check_scored_alike()
    return context


class _Run:
    """One process's pass over the stages."""

    def __init__(self, context: Context, executor: Executor, progress: Progress) -> None:
        self._context, self._executor, self._progress = context, executor, progress
        self._experiment, self._folder = context.experiment, context.folder

    def do(self, stages: Sequence[str]) -> dict[str, Any]:
        torch.set_num_threads(1)
        if self._folder.record("candidates") is not None:
            Search.read(self._context)  # checked here, before anything is made of it
        steps = {
            "reference": self._reference,
            "search": self._search,
            "finalists": self._finalists,
            "compress": self._compress,
            "export": self._export,
        }
        for stage, step in steps.items():
            if stage not in stages or self._is_no():
                continue
            self._folder.log.write("started", kind="stage", subject=stage)
            with self._folder.timed(stage):
                step()
            self._folder.log.write("finished", kind="stage", subject=stage)
        return self._report()

    def _is_no(self) -> bool:
        """Write the summary as it stands and return whether it already says that the answer is no."""
        verdict = self._summarize()["verdict"]
        return verdict is not None and not verdict["met"]

    def _reference(self) -> None:
        train_reference(self._context, self._progress)
        check_teacher(self._context)

    @property
    def _reference_record(self) -> Record:
        return self._folder.need("reference", "leangen search")

    @property
    def _reference_file(self) -> Path:
        """The float file: what quality is compared with, by every decision and by the verdict.

        The int8 file may be the fastest and draw badly, and would then excuse a bad result.
        """
        return self._folder.path / str(self._reference_record["files"]["fp32"])

    @property
    def _fastest_reference(self) -> Path:
        record = self._reference_record
        return self._folder.path / str(record["files"][record["fastest"]])

    def _search(self) -> None:
        if self._folder.record("candidates") is not None:
            return
        search = Search(self._context, self._limits(), self._executor, self._progress)
        search.run()
        rows = [vars(one) for one in search.candidates.values()]
        counts = {outcome: search.count(outcome) for outcome in OUTCOMES}
        self._folder.finish("candidates", {"rows": rows, "counts": counts})

    def _limits(self) -> Limits:
        target = self._experiment.target
        ratios = [1 / target.min_speedup] if target.min_speedup else []
        if target.max_latency_ms:
            ratios.append(target.max_latency_ms / self._reference_record["median_ms"])
        teacher = Score.from_json(self._reference_record["quality_seen"])
        return Limits(
            reference=self._fastest_reference,
            max_ratio=min(ratios, default=math.inf),
            blank=self._context.judge_of(Stream.RUNG).blank().value,
            teacher=teacher.value,
            allowed=self._experiment.quality.budgets[0].allowed(teacher.value),
        )

    def _finalists(self) -> None:
        if self._folder.record("finalists") is not None:
            return
        self._folder.need("candidates", "leangen search")
        search = self._experiment.search
        teacher = Score.from_json(self._reference_record["quality_seen"])
        field = Field(
            Search.read(self._context), teacher, self._experiment.quality.budgets[0], schedule_of(search)
        )  # fmt: skip
        train_finalists(
            self._context, field, self._reference_file, self._executor, self._progress, count=search.finalists
        )

    def _compress(self) -> None:
        winner = self._folder.need("finalists", "leangen search")["winner"]
        path = self._folder.path / "finalists" / winner
        compress_winner(self._context, path, self._reference_file, self._executor, self._progress)

    def _export(self) -> None:
        if self._folder.record("export") is not None:
            return
        compressed = self._folder.need("compressed", "leangen compress")
        baseline = self._folder.need(BASELINE, "leangen compress")
        exported = export_winner(self._context, compressed, self._seen_scores(compressed), self._progress)
        self._progress.start("measure", 3, "parts")
        scene = Scene.of(self._context)
        who = {"reference": self._reference_record, "baseline": baseline, "final": exported}
        latency = measure_latency(scene, contestants(scene, who), exported["precision"])
        self._progress.update("measure", 1)
        root = self._folder.path
        files = {
            "reference": self._reference_file,
            "baseline": root / baseline["files"][baseline["fastest"]],
            "final": root / exported["shipped"],
        }
        quality = judge_held_out(self._context, files, self._progress)
        self._progress.update("measure", 2)
        write_grids(self._context, files, root / "report")
        write_neighbours(self._context, files["final"], root / "report")
        timed = {**files, "reference": self._fastest_reference}
        write_json(root / "export" / "latency.json", latency)
        record = {
            **exported,
            "latency": latency,
            "quality": quality,
            "operators": operators_of(scene, timed),
            "roofline": roofline_of(scene, latency, str(exported["shipped"])),
        }
        self._folder.finish("export", record)
        self._progress.finish("measure")

    def _seen_scores(self, compressed: Record) -> Record:
        """Return the scores that files carry in their metadata: those on ``seen``; ``held_out`` comes after export."""
        file = self._folder.path / compressed["file"]
        score: Score = self._context.judge_of(Stream.STEPS).evaluate({"final": file})["final"].primary
        return {"seen": score.to_json()}

    def _summarize(self) -> dict[str, Any]:
        found = summarize_run(self._experiment, self._folder, self._command, self._context.space.count())
        summary = parse(found).to_json()  # checked, and with every field of the schema
        write_json(self._folder.path / "summary.json", summary)
        return summary

    @property
    def _command(self) -> str:
        picked = (self._folder.record("candidates") or {}).get("picked")
        if picked:
            return shlex.join(["leangen", "pick", picked["run"], picked["id"]])
        return shlex.join(["leangen", "run", str(self._folder.shown / "experiment.yaml")])

    def _report(self) -> dict[str, Any]:
        summary = self._summarize()
        write_report(self._folder.path)
        exported = self._folder.record("export")
        if exported is not None:
            write_deploy(self._folder.path, exported, parse(summary), describe(self._context))
        return summary


def plan(experiment: Experiment) -> list[dict[str, Any]]:
    """Return what ``run`` will do: rows of stage, what, minutes (on this machine), disk_mb and memory_mb.

    Minutes are an estimate from one measured training step of this machine; search minutes are the limit given.
    """
    from nas.planning import estimate

    return estimate(experiment)

"""Which channels should go, and from where? Ways of pruning a run's reference, each recovered for as many steps.

python -m examples.studies.ways_to_prune run runs/proof/gan-0 --seed 0     gives docs/compression/pruning/gan-0-0.json
python -m examples.studies.ways_to_prune table docs/compression.md

Rankings, with and without compensation, and widths drawn at random that take as long as equal shares (timed in turns).
Scores are those of pictures and latents on which candidates are chosen, not of those that results are stated on.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.files import read_json, write_json, write_text
from benchmarks.fingerprint import fingerprint
from benchmarks.inputs import draw_inputs
from compress.generator import Generator
from compress.importance import Importance
from compress.prune import equal_shares, prune
from compress.running import run_module
from nas.context import Context
from nas.families.base import Phase
from nas.marked import fill
from nas.seeds import Stream

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
RESULTS = Path("docs/compression/pruning")
SHARES = (0.75, 0.875)
WAYS: Sequence[tuple[Importance, bool]] = (
    ("weight", False),
    ("weight", True),
    ("output", True),
    ("taylor", True),
    ("latent", True),
)
SCHEDULE = (Phase("distill", 1200), Phase("features", 600))
LOOKS = (0, 150, 400, 1200, 1800)
ROWS = 512
REACH, STEP = 1.6, 4  # widths are drawn within 2 ** +-REACH of equal shares, in multiples of STEP
AS_LONG, TIMED_S = (0.97, 1.03), 0.3


@dataclass(frozen=True)
class Study:
    """The reference to be pruned, what it is scored and recovered with, and a seed of training and widths."""

    context: Context
    reference: Generator
    seed: int

    def recovered(self, start: Generator) -> list[float]:
        """Return FID at ``LOOKS``."""
        context, judge = self.context, self.context.judge_of(Stream.CHOICE)
        trainer = context.family.trainer(
            start.module, SCHEDULE, data=context.data, teacher=context.teacher, seed=self.seed
        )
        found = []
        for look in LOOKS:
            trainer.run(look)
            found.append(judge.score(lambda inputs: run_module(trainer.average, inputs, batch=250))[0].value)
        return found

    def equal(self, share: float, by: Importance, compensate: bool) -> Generator:
        """Return the reference with equal shares of its groups removed."""
        rows = draw_inputs(self.reference.inputs, ROWS, (self.seed, 1))
        return prune(self.reference, share, importance=by, inputs=rows, compensate=compensate)

    def drawn(self, share: float, count: int) -> Iterator[tuple[dict[str, int], float, Generator]]:
        """Yield random widths that take about as long as equal shares: channels, time ÷ theirs, the generator."""
        rng, bench = np.random.default_rng((self.seed, 2)), self.context.bench
        groups = self.reference.module.channel_groups()  # type: ignore[operator]
        shares = equal_shares(groups, share, 8)
        with tempfile.TemporaryDirectory() as folder:
            files = bench.variants(self.equal(share, "weight", compensate=True), Path(folder))
            against = bench.fastest_file(files, TIMED_S)
            while count:
                factors = 2 ** rng.uniform(-REACH, REACH, len(groups))
                counts = {
                    group.name: int(np.clip(STEP * round(shares[group.name] * factor / STEP), STEP, group.size))
                    for group, factor in zip(groups, factors, strict=True)
                }
                rows = draw_inputs(self.reference.inputs, ROWS, (self.seed, 1))
                generator = prune(self.reference, counts, inputs=rows, compensate=True)
                ratio = bench.time_untrained(generator, against, TIMED_S).ratio.value
                if AS_LONG[0] <= ratio <= AS_LONG[1]:
                    count -= 1
                    yield counts, ratio, generator


@app.command(name="run")
def run_(
    source: Annotated[Path, typer.Argument(help="A run folder with a trained reference that declares its groups.")],
    seed: Annotated[int, typer.Option(help="Of latents, widths and training.")] = 0,
    widths: Annotated[int, typer.Option(help="How many random ones, for each share.")] = 5,
    results: Annotated[Path, typer.Option(help="Gets NAME-SEED.json.")] = RESULTS,
) -> None:
    """Prune in every way, recover, score; a line each."""
    torch.set_num_threads(1)
    study = Study(Context.of_folder(source), Generator.load(source / "reference"), seed)
    rows = []
    for share in SHARES:
        for by, compensate in WAYS:
            begun = time.process_time()
            start = study.equal(share, by, compensate)
            rows.append({"share": share, "by": by, "compensate": compensate, "seconds": time.process_time() - begun})
            _tell(rows[-1], study.recovered(start))
        for counts, ratio, start in study.drawn(share, widths):
            rows.append({"share": share, "widths": counts, "ratio": ratio})
            _tell(rows[-1], study.recovered(start))
    record = {"looks": list(LOOKS), "machine": fingerprint().to_json(), "rows": rows}
    write_json(results / f"{source.name}-{seed}.json", record)


def _tell(row: dict[str, Any], found: list[float]) -> None:
    row["fid"] = found
    print(
        {name: value for name, value in row.items() if name != "fid"}, *(f"{value:.2f}" for value in found), flush=True
    )


@app.command()
def table(
    page: Annotated[Path, typer.Argument(help="docs/compression.md")],
    results: Annotated[Path, typer.Option(help="Folder of the JSON files.")] = RESULTS,
) -> None:
    """Put the results into the page."""
    records = [read_json(path) for path in sorted(results.glob("*.json"))]
    write_text(page, fill(page.read_text(encoding="utf-8"), "pruning", _table(records)))


def _table(records: Sequence[Mapping[str, Any]]) -> str:
    looks = records[0]["looks"]
    lines = [
        f"| removed | way | {' | '.join(f'after {look:,} steps' for look in looks)} | ranked in |",
        f"| --- | --- |{' --- |' * (len(looks) + 1)}",
    ]
    rows = [row for record in records for row in record["rows"]]
    for share in SHARES:
        for by, compensate in WAYS:
            of_way = [row for row in rows if row["share"] == share and row.get("by") == by]
            of_way = [row for row in of_way if row["compensate"] == compensate]
            name = f"by {by}{', compensated' if compensate else ''}"
            seconds = np.mean([row["seconds"] for row in of_way])
            lines.append(f"| {share:.1%} | {name} | {_scores(of_way)} | {seconds:.1f} s |")
        drawn = [row for row in rows if row["share"] == share and "widths" in row]
        for name, choose in ((f"the best of {len(drawn)} random widths", min), ("the worst of them", max)):
            one = choose(drawn, key=lambda row: row["fid"][-1])
            widths = " / ".join(map(str, one["widths"].values()))
            lines.append(f"| as long ({one['ratio']:.2f}) | {name} ({widths}) | {_scores([one])} | |")
    cpu = records[0]["machine"]["cpu"]
    told = f"FID, mean of {len(records)} seeds [lowest, highest]; of widths their time ÷ that of equal shares. {cpu}."
    return "\n".join([*lines, "", told])


def _scores(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = np.array([row["fid"] for row in rows])
    if len(rows) == 1:
        return " | ".join(f"{value:.2f}" for value in columns[0])
    ends = zip(columns.mean(axis=0), columns.min(axis=0), columns.max(axis=0), strict=True)
    return " | ".join(f"{mean:.2f} [{low:.2f}, {high:.2f}]" for mean, low, high in ends)


if __name__ == "__main__":
    app()

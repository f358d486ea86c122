"""Train one genotype from a run's reference and print its score as it learns: how a schedule or an option pays.

    python examples/studies/train_student.py runs/mnist genotype.json --phase distill=6000 --phase finetune=900
    python examples/studies/train_student.py runs/mnist genotype.json --phase distill=4000 --phase features=1500
    python examples/studies/train_student.py runs/mnist genotype.json --phase distill=4000 --phase match=400 \
        --also efficientnet-lite0

Scores are taken on `seen` with the latents that choose the winner; CPU-seconds leave the scoring out.
`--also` prints at the end what an extractor that took part in nothing says: KID of the reference, of the student before
its last phase and after it, on the same 1,000 latents.
"""

import copy
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from compress.generator import Generator
from compress.running import run_module
from nas.context import Context
from nas.data import cache_folder
from nas.families.base import Phase
from nas.quality.extractors import get_extractor
from nas.quality.judge import KID, Judge
from nas.seeds import Stream

POINTS = 4  # scores of each phase
LOOKED_AT = 1000  # pictures, by another extractor: one for photographs takes 25 ms each


def main(
    run: Annotated[Path, typer.Argument(help="A run folder with a trained reference.")],
    genotype: Annotated[Path, typer.Argument(help="JSON file, as `leangen spaces sample decoder` prints it.")],
    phase: Annotated[list[str], typer.Option(help="distill=, features=, finetune= or match=STEPS; in order.")],
    option: Annotated[list[str] | None, typer.Option(help="An option of the family, NAME=NUMBER.")] = None,
    also: Annotated[str, typer.Option(help="Another extractor, whose KID is printed at the end.")] = "",
) -> None:
    """Train and print one line a score."""
    torch.set_num_threads(1)
    context = Context.of_folder(run)
    options = {name: float(value) for name, value in (text.split("=") for text in option or [])}
    family = replace(context.family, options=context.family.options.model_copy(update=options))
    schedule = tuple(Phase(kind, int(steps)) for kind, steps in (text.split("=") for text in phase))
    space, seed = context.space, context.experiment.seed
    torch.manual_seed(seed)
    settings = space.validate(json.loads(genotype.read_text()))
    generator = Generator.from_genotype(space.name, settings, family.inputs, context.image)
    trainer = family.trainer(generator.module, schedule, data=context.data, teacher=context.teacher, seed=seed)
    judge, spent, before = context.judge_of(Stream.CHOICE), 0.0, trainer.average
    for part in schedule:
        begin, before = trainer.step, copy.deepcopy(trainer.average)
        for point in range(1, POINTS + 1):
            began = time.process_time()
            trainer.run(begin + part.steps * point // POINTS)
            spent += time.process_time() - began
            score, _ = judge.score(lambda inputs: run_module(trainer.average, inputs, batch=250))
            print(f"{part.kind} {trainer.step:>7,} steps {spent:>6.0f} CPU-s  {score.metric} {score.value:.2f}"
                  f" ± {score.standard_error:.2f}", flush=True)  # fmt: skip
    if also:
        reference = Generator.load(run / "reference").module
        _look(context, also, {"reference": reference, "before": before, "after": trainer.average})


def _look(context: Context, extractor: str, modules: dict[str, torch.nn.Module]) -> None:
    """Print the KID of every module by another extractor, on the same latents and real pictures."""
    judge = Judge(
        extractor=get_extractor(extractor, context.splits.seen, cache_folder()),
        real=context.data.images[:LOOKED_AT].contiguous().numpy(),
        inputs=context.family.inputs,
        samples=LOOKED_AT,
        seed=context.experiment.seed,
        stream=Stream.CHOICE,
        metrics=(KID,),
    )
    for name, module in modules.items():
        score, _ = judge.score(lambda inputs, module=module: run_module(module, inputs, batch=250))
        print(f"{name:<10} {score.extractor} {KID} {score.value:.4f} ± {score.standard_error:.4f}", flush=True)


if __name__ == "__main__":
    typer.run(main)

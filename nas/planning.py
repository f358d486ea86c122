"""What a run will cost, before it begins: minutes from steps that were timed here, disk and memory from sizes."""

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.inputs import draw_inputs
from compress.errors import CompressError
from compress.generator import Generator
from nas.bank import Bank, bank_size
from nas.checks import check
from nas.compressing import recovery_schedule
from nas.data import SEEN_SHARE, cache_folder
from nas.data_sources import survey
from nas.experiment import Experiment
from nas.families import get_family
from nas.families.base import DataShape, Family, Phase, PhaseKind, Pictures, Teacher, Trainer
from nas.finalists import schedule_of
from nas.folder import Record
from nas.quality.extractors import CLASSIFIER, foreign_extractor
from search_spaces import get_space
from search_spaces.space import ImageShape, SearchSpace

_STEPS, _WARM_UP, _STUDENTS = 4, 2, 4
_MIB = 2**20
_PROCESS_MIB = 450.0  # what torch, onnxruntime and this program take before there are any pictures
_CANDIDATE_MIB = 12.0  # checkpoint with its optimizers, weights, discriminator
_EXTRACTOR_S = 15.0
_MEASURE_S = 45.0  # export, parity, the final table at two batches
_SHARED_CORE = 1.3  # a step takes so much longer while the other cores train too
_LOOKED_AT = (2, 26)  # pictures, twice, so that what every call costs cancels out


def estimate(experiment: Experiment) -> list[dict[str, Any]]:
    """Return rows of stage, what, minutes, disk_mb and memory_mb: what ``run`` will do, for this machine.

    Times a few steps of the reference and of some genotypes; the search takes at most the minutes it was given.

    Raises:
        NasError: what the experiment asks for cannot be done, see ``nas.checks.check``.
    """
    check(experiment)
    data, search = experiment.data, experiment.search
    image = ImageShape(data.channels, data.size, data.size)
    counts = survey(data).counts
    family = get_family(experiment, DataShape(image, counts))
    pictures = bank_size((image.channels, image.height, image.width))
    picture_mib = image.channels * image.height * image.width * 4 / _MIB
    memory = _PROCESS_MIB + 6000 * picture_mib + experiment.quality.samples * picture_mib
    step_s = _step_seconds(experiment, family, image, len(counts))
    reference_s = experiment.reference.steps * step_s["adversarial"] + experiment.reference.observer * step_s["observe"]
    distill_s = step_s["distill"]
    final_s = sum(phase.steps * step_s[phase.kind] for phase in schedule_of(search))
    rounds, finalists_mib = -(-search.finalists // search.workers), search.finalists * 2 * _CANDIDATE_MIB
    bank_mib = pictures * picture_mib / 2
    recover_s = sum(phase.steps * step_s[phase.kind] for phase in recovery_schedule(experiment))
    recover_s *= len(experiment.compress.prune_ratios)
    look_s = _look_seconds(experiment, image, min(data.limit or sum(counts), sum(counts)))
    return [
        _row("data", "read pictures, train the extractor once", _EXTRACTOR_S, 10, memory),
        _row(
            "reference",
            f"{experiment.reference.steps:,} steps, bank of {pictures:,} pictures",
            reference_s / min(search.workers, 2) + look_s["reference"],
            40 + bank_mib,
            memory + bank_mib,
        ),
        _row(
            "search",
            f"at most {search.trials} candidates, {search.rungs[-1]:,} steps each",
            min(60 * search.minutes, search.trials * search.rungs[-1] * distill_s / search.workers + look_s["search"]),
            search.trials * _CANDIDATE_MIB,
            memory + bank_mib,
        ),
        _row(
            "finalists",
            f"at most {search.finalists}",
            rounds * final_s + look_s["finalists"],
            finalists_mib,
            memory + bank_mib,
        ),
        _row(
            "compress",
            "steps, and the baseline beside them",
            max(recover_s + look_s["compress"], final_s) + 30,
            5,
            memory,
        ),
        _row("export", "ONNX, TensorRT if installed, final table", _MEASURE_S + look_s["export"], 10, memory),
        _row("report", "one page", 1, 2, memory),
    ]


def _row(stage: str, what: str, seconds: float, disk_mib: float, memory_mib: float) -> Record:
    return {
        "stage": stage,
        "what": what,
        "minutes": seconds / 60,
        "disk_mb": disk_mib * _MIB / 1e6,
        "memory_mb": memory_mib * _MIB / 1e6,
    }


def _look_seconds(experiment: Experiment, image: ImageShape, pictures: int) -> dict[str, float]:
    """Return the seconds that extractors look at pictures, by stage: those of each score, and each judge's real ones.

    The data set's own classifier takes next to nothing; one for photographs takes more than a student's training.
    """
    search, quality, compress = experiment.search, experiment.quality, experiment.compress
    own, samples, seen = _picture_seconds(quality.extractor, image), quality.samples, SEEN_SHARE * pictures
    final = 3 * samples + pictures - seen
    points = 1 if experiment.reference.module else experiment.reference.evaluations
    return {
        "reference": own * ((points + 1) * samples + 2 * seen),
        "search": own * (search.trials * len(search.rungs) * samples / search.workers + seen),
        "finalists": own * ((search.finalists + 1) * samples + seen),
        "compress": own * ((2 + len(compress.prune_ratios) + compress.quantize) * samples + seen),
        "export": final * (own + sum(_picture_seconds(name, image) for name in quality.also) / search.workers),
    }


def _picture_seconds(name: str, image: ImageShape) -> float:
    """Return the seconds that one thread of the extractor ``name`` takes for a picture."""
    if name == CLASSIFIER:
        return 0.0
    extractor, seconds = foreign_extractor(name, image, cache_folder()), []
    noise = np.random.default_rng(0).uniform(-1, 1, (max(_LOOKED_AT), image.channels, image.height, image.width))
    for count in _LOOKED_AT:
        began = time.perf_counter()
        extractor.features(noise[:count].astype(np.float32))
        seconds.append(time.perf_counter() - began)
    return max(0.0, (seconds[1] - seconds[0]) / (_LOOKED_AT[1] - _LOOKED_AT[0]))


def _step_seconds(experiment: Experiment, family: Family, image: ImageShape, classes: int) -> dict[PhaseKind, float]:
    """Return seconds of one step on one thread, by kind of phase: the reference's, and those of a student.

    Students are a few genotypes of the space; pictures are noise, which costs as much as any.
    """
    images = torch.rand(256, image.channels, image.height, image.width) * 2 - 1
    data = Pictures(images, torch.arange(len(images)) % classes)
    space, rng = get_space(experiment.space.name), np.random.default_rng(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="leangen-plan-") as folder:
            reference = _trainer(family, family.reference(0), "adversarial", data, None)
            reference.keep(Path(folder))
            bank = Bank(draw_inputs(family.inputs, len(images), 0), images.numpy().astype(np.float16))
            teacher = Teacher(bank, Path(folder))
            students = _students(space, family, image, rng)
            observing = _trainer(family, family.reference(0), "observe", data, None)
            found: dict[PhaseKind, float] = {"adversarial": _timed(reference), "observe": _timed(observing)}
            kinds: tuple[PhaseKind, ...] = ("distill", "features", "finetune", "match")
            for kind in kinds:
                # The fastest of them: a latency limit lets only such through to long training.
                timed = min(_timed(_trainer(family, one, kind, data, teacher)) for one in students)
                found[kind] = _SHARED_CORE * timed
            return found
    finally:
        torch.set_num_threads(threads)


def _students(space: SearchSpace, family: Family, image: ImageShape, rng: np.random.Generator) -> list[Generator]:
    """Return a few generators of the space; at some sizes it refuses some genotypes (``check`` knows that not all)."""
    found: list[Generator] = []
    while len(found) < _STUDENTS:
        with contextlib.suppress(CompressError):
            found.append(Generator.from_genotype(space.name, space.sample(rng), family.inputs, image))
    return found


def _trainer(family: Family, generator: Generator, kind: PhaseKind, data: Pictures, teacher: Teacher | None) -> Trainer:
    return family.trainer(generator.module, (Phase(kind, 10_000),), data=data, teacher=teacher, seed=0)


def _timed(trainer: Trainer) -> float:
    trainer.run(_WARM_UP)
    began = time.perf_counter()
    trainer.run(_WARM_UP + _STEPS)
    return (time.perf_counter() - began) / _STEPS

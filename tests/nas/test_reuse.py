"""A reference of another run: taken over as it is, but for times that another machine took."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.files import read_json, write_json
from nas.context import Context
from nas.experiment import Experiment
from nas.folder import Record, RunFolder
from nas.progress import Silent
from nas.reference import train_reference
from nas.reuse import TIMED_ELSEWHERE, reuse_reference

PLANTED_MS = 1234.5  # no file here takes so long


@pytest.fixture
def experiment(tmp_path, cache, shortened) -> Experiment:
    rng = np.random.default_rng(0)
    for name, shade in (("dark", 40), ("light", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(120):
            pixels = np.clip(rng.normal(shade, 30, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{index}.png")
    return Experiment.model_validate(
        {
            "data": {"folder": str(tmp_path / "pictures"), "size": 16, "channels": 1},
            "family": {"name": "gan", "batch_size": 8, "discriminator_width": 8},
            "reference": {"steps": 2, "width": 8, "evaluations": 2},
            "quality": {"samples": 60, "budget": "fid<=+10"},
        }
    )


@pytest.fixture
def source(experiment, tmp_path) -> RunFolder:
    """A run with a reference, in whose record stands a time that was not measured here."""
    folder = RunFolder.create(tmp_path / "source", experiment)
    record = train_reference(Context.build(experiment, folder), Silent())
    folder.finish("reference", {**record, "median_ms": PLANTED_MS})
    return folder


def taken_over(source: RunFolder, experiment: Experiment, path: Path) -> tuple[RunFolder, Record | None]:
    """Return a new run folder, and the record of the reference as it is before any stage has begun."""
    folder = RunFolder.create(path, experiment)
    reuse_reference(source, folder, experiment)
    return folder, folder.record("reference")


def test_times_of_this_machine_are_kept(source, experiment, tmp_path):
    folder, before = taken_over(source, experiment, tmp_path / "new")
    assert before is not None
    assert train_reference(Context.build(experiment, folder), Silent())["median_ms"] == PLANTED_MS


def test_times_of_another_machine_are_taken_anew(source, experiment, tmp_path):
    machine = source.path / "machine.json"
    write_json(machine, {**read_json(machine), "cpu": "A CPU that is not here"})
    folder, before = taken_over(source, experiment, tmp_path / "new")
    assert before is None, "killed now, it is not taken for finished"
    found = train_reference(Context.build(experiment, folder), Silent())
    assert 0 < found["median_ms"] < PLANTED_MS
    assert folder.record("reference") == found
    kept = source.need("reference", "")
    assert {**found, "fastest": kept["fastest"], "median_ms": PLANTED_MS} == kept
    assert (folder.path / "reference" / "bank.npy").samefile(source.path / "reference" / "bank.npy")
    assert not (folder.path / "reference" / TIMED_ELSEWHERE).exists()


def test_a_finished_one_is_left_as_it_is(source, experiment, tmp_path):
    (source.path / "machine.json").unlink()  # who knows where its times are from
    folder, _ = taken_over(source, experiment, tmp_path / "new")
    found = train_reference(Context.build(experiment, folder), Silent())
    reuse_reference(source, folder, experiment)
    assert folder.record("reference") == found
    assert not (folder.path / "reference" / TIMED_ELSEWHERE).exists()


def test_further_extractors_make_no_other_reference(source, experiment, tmp_path):
    """They score the final table only."""
    quality = experiment.quality.model_copy(update={"also": ("efficientnet-lite0",)})
    _, before = taken_over(source, experiment.model_copy(update={"quality": quality}), tmp_path / "new")
    assert before is not None

"""What several rooms' tests need: a cache of their own, and one small run of every stage, made once a session."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TINY = """\
name: tiny
data: {name: mnist-5k, limit: 600}
family: {name: gan, discriminator_width: 16}
reference: {steps: 60, observer: 20, evaluations: 3, width: 32}
quality: {budget: "fid<=+100000", samples: 400}
search: {trials: 3, minutes: 1, workers: 1, rungs: [40, 120], finalists: 2, final_distill: 120,
         final_features: 10, final_adversarial: 20, final_match: 10}
target: {min_speedup: 1.5}
compress: {recover: 20}
export: {tensorrt: false}
"""

# Measured seconds, sizes and expectations of real runs, cut down to what a test needs.
SHORT = """\
import nas.bank, nas.baseline, nas.final, nas.proposals, nas.reference, nas.roofline, nas.study
import benchmarks.peaks, compress.ledger
nas.bank.bank_size.__defaults__ = (1024,)
nas.baseline._MEASURE_S = nas.study.MEASURE_S = 0.1
nas.final.MEASURE_S = nas.reference._MEASURE_S = compress.ledger.STEP_S = 0.3
nas.baseline._HALVINGS = 4
nas.final.RESTARTS = 0
nas.proposals.STARTUP, nas.study.STARTED_BELOW = 6, 10.0
nas.roofline.MEASURE_S = 0.1
benchmarks.peaks.MATMULS, benchmarks.peaks.CONVS = ((64, 64, 64),), ()
benchmarks.peaks.CACHED_BYTES, benchmarks.peaks.MEMORY_LIMITS = (3 * 2**15,), (3 * 2**20, 3 * 2**20)
"""


@dataclass(frozen=True)
class TinyRun:
    """A run of every stage on 600 digits: its experiment file, its folder, and the summary that ``run`` returned."""

    file: Path
    folder: Path
    summary: dict[str, Any]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Data and extractors of all tests, made once, and nobody's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("LEANGEN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def short() -> str:
    """Python that shortens what is measured by the clock; for programs that tests start."""
    return SHORT


@pytest.fixture
def shortened() -> Iterator[None]:
    """The same in this process, for one test."""
    with _shortened():
        yield


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> TinyRun:
    """One real run of every stage; nothing may write into its folder but the run itself."""
    import torch

    from nas import Experiment, run

    home = tmp_path_factory.mktemp("tiny")
    file = home / "tiny.yaml"
    file.write_text(TINY)
    threads = torch.get_num_threads()
    try:
        with _shortened():
            summary = run(Experiment.load(file), home / "run")
    finally:
        torch.set_num_threads(threads)
    return TinyRun(file, home / "run", summary)


@contextmanager
def _shortened() -> Iterator[None]:
    """``SHORT``, and back."""
    import benchmarks.peaks
    import compress.ledger
    import nas.bank
    import nas.baseline
    import nas.final
    import nas.proposals
    import nas.reference
    import nas.roofline
    import nas.study

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nas.bank.bank_size, "__defaults__", (1024,))
        patch.setattr(nas.baseline, "_MEASURE_S", 0.1)
        patch.setattr(nas.baseline, "_HALVINGS", 4)
        patch.setattr(nas.study, "MEASURE_S", 0.1)
        patch.setattr(nas.proposals, "STARTUP", 6)
        patch.setattr(nas.study, "STARTED_BELOW", 10.0)  # even the reference is hardly better than blank
        patch.setattr(nas.final, "MEASURE_S", 0.3)
        patch.setattr(nas.final, "RESTARTS", 0)
        patch.setattr(nas.reference, "_MEASURE_S", 0.3)
        patch.setattr(compress.ledger, "STEP_S", 0.3)
        patch.setattr(nas.roofline, "MEASURE_S", 0.1)
        patch.setattr(benchmarks.peaks, "MATMULS", ((64, 64, 64),))
        patch.setattr(benchmarks.peaks, "CONVS", ())
        patch.setattr(benchmarks.peaks, "CACHED_BYTES", (3 * 2**15,))
        patch.setattr(benchmarks.peaks, "MEMORY_LIMITS", (3 * 2**20, 3 * 2**20))
        yield

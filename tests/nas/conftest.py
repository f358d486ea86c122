"""A run's surroundings without data or extractor, and an executor whose jobs a test answers itself."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nas.context import Context
from nas.experiment import Experiment
from nas.families import get_family
from nas.families.base import DataShape
from nas.folder import RunFolder
from search_spaces import get_space
from search_spaces.space import ImageShape

Answer = Callable[[dict[str, Any]], dict[str, Any] | BaseException]


@dataclass
class ScriptedExecutor:
    """Answers every job at once, in this process; an exception as answer is a worker that died."""

    answer: Answer
    workers: int = 1
    jobs: list[dict[str, Any]] = field(default_factory=list)

    def submit(self, job: dict[str, Any]) -> "Future[dict[str, Any]]":
        self.jobs.append(job)
        future: Future[dict[str, Any]] = Future()
        result = self.answer(job)
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result({"seconds": 1.0, **result})
        return future


@pytest.fixture
def scripted() -> type[ScriptedExecutor]:
    return ScriptedExecutor


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[..., Context]:
    """A context in ``tmp_path / folder_name``; keywords are sections of the experiment. It has no pictures."""

    def make(folder_name: str = "run", **sections: Any) -> Context:
        experiment = Experiment.model_validate({"name": "fake", "data": "mnist-5k", **sections})
        folder = RunFolder(tmp_path / folder_name)
        folder.path.mkdir(exist_ok=True)
        image = ImageShape(1, 32, 32)
        family, space = get_family(experiment, DataShape(image, (400,) * 10)), get_space(experiment.space.name)
        return Context(experiment, folder, None, image, family, space, None)

    return make


@pytest.fixture
def quality() -> Callable[..., dict[str, Any]]:
    """A score as records hold it."""

    def make(value: float, error: float = 1.0) -> dict[str, Any]:
        return {"metric": "fid", "extractor": "x", "n": 400, "seeds": [0, 3], "value": value, "standard_error": error}

    return make

"""Who proposes genotypes: Optuna's storage and samplers, made for a search that may be killed and resumed."""

import contextlib
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy.exc
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas.artifacts import attach
from nas.errors import NasError
from nas.seeds import Stream
from search_spaces.space import Genotype, SearchSpace

STUDY = "search"  # not the experiment's name: a renamed experiment goes on in the same folder
STARTUP = 80  # proposals drawn uniformly first: few meet the latency limit, and the sampler learns from those

# Of Optuna's 24, TPE takes the most promising: in a space of choices always the same few. Of 40 proposals after a
# first phase of the demo 38 were duplicates with 24 candidates, 13 with 4, and 8 with 2.
EI_CANDIDATES = 2

DRAFTS = 64  # genotypes that are looked at for one proposal; of one in twenty, 64 miss once in 27 times
SAMPLER_DRAFTS = 8
REDRAWN = "redrawn"  # of a trial: how many genotypes were drawn before its own, and not proposed
_APART = 1_000_000  # between the seeds of one proposal's drafts: more than there are proposals


class StudyError(NasError):
    """Optuna's storage cannot be read or written."""


Suggest = Callable[[str, tuple[Any, ...]], Any]
Excess = Callable[[Genotype], float]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A genotype that was proposed, its id, and the number of its trial."""

    number: int
    id: str
    genotype: dict[str, Any]


class Proposals:
    """The trials of one search, as ``study.db`` holds them: ``ask`` for a genotype, ``tell`` what became of it.

    Args:
        path: The SQLite file; trials that it holds already are kept.
        space: What may vary.
        sampler: ``tpe``, ``nsga2`` or ``random``.
        seed: What is proposed follows from it, the number of the proposal, and what was told.
    """

    def __init__(self, path: Path, space: SearchSpace, sampler: str, seed: int) -> None:
        self._space, self._sampler, self._seed, self._path = space, sampler, seed, path
        with _readable_errors(path):
            self.study = open_study(path)

    def __len__(self) -> int:
        return len(self.trials)

    @property
    def trials(self) -> list[FrozenTrial]:
        """Every proposal so far, in order; not to be changed."""
        with _readable_errors(self._path):
            return self.study.get_trials(deepcopy=False)

    @property
    def first(self) -> int:
        """How many proposals are uniform over genotypes, not over the choices of each knob, before a sampler learns."""
        return STARTUP

    def count(self, outcome: str) -> int:
        """Return how many trials ended with ``outcome``."""
        return sum(trial.user_attrs.get("outcome") == outcome for trial in self.trials)

    @property
    def redrawn(self) -> int:
        """How many genotypes were not worth a trial."""
        return sum(trial.user_attrs.get(REDRAWN, 0) for trial in self.trials)

    def ask(self, *, uniform: bool = False, excess: Excess | None = None) -> Proposal:
        """Return a new proposal; its trial runs until it is told.

        Args:
            uniform: Draw it from the space, whatever the sampler thinks.
            excess: Above 0 for a genotype that is not worth a trial. Then another is drawn, first by the sampler, after
                ``SAMPLER_DRAFTS`` from the space; of ``DRAFTS`` such ones the least bad is proposed.
        """
        number = len(self)
        uniform = uniform or number < self.first or self._sampler == "random"
        self.study.sampler = make_sampler(self._sampler, self._seed, number)
        if excess is None and not uniform:
            return self._ask(None)
        drafts = itertools.chain(() if uniform else self._sampled(number), self._uniform(number))
        if excess is None:
            return self._ask(next(drafts))
        best, least, redrawn = None, math.inf, -1
        for draft in itertools.islice(drafts, DRAFTS):
            redrawn += 1
            if (over := excess(draft)) < least:
                best, least = draft, over
            if over <= 0:
                break
        return self._ask(best, redrawn)

    def _uniform(self, number: int) -> Iterator[Genotype]:
        """The space's own samples for proposal ``number``."""
        rng = np.random.default_rng((self._seed, Stream.PROPOSAL, number))
        while True:
            yield self._space.sample(rng)

    def _sampled(self, number: int) -> Iterator[Genotype]:
        """A few of the sampler's for proposal ``number``, asked of a copy of the study, where they leave no trial."""
        copy = optuna.create_study(directions=self.study.directions)
        with _readable_errors(self._path):
            copy.add_trials(self.trials)
        for attempt in range(SAMPLER_DRAFTS):
            copy.sampler = make_sampler(self._sampler, self._seed, number + attempt * _APART)
            yield self._space.canonical(suggest_genotype(self._space.knobs, copy.ask().suggest_categorical))

    def repeat(self, genotype: Mapping[str, Any]) -> Proposal:
        """Return a proposal of ``genotype``, which an earlier study proposed."""
        return self._ask(genotype)

    def _ask(self, given: Mapping[str, Any] | None, redrawn: int = 0) -> Proposal:
        with _readable_errors(self._path):
            if given is not None:
                self.study.enqueue_trial(dict(given))
            trial = self.study.ask()
            genotype = dict(self._space.canonical(suggest_genotype(self._space.knobs, trial.suggest_categorical)))
            name = self._space.id(genotype)
            trial.set_user_attr("genotype", genotype)
            trial.set_user_attr("candidate", name)
            if redrawn:
                trial.set_user_attr(REDRAWN, redrawn)
        return Proposal(trial.number, name, genotype)

    def tell(
        self,
        number: int,
        outcome: str,
        note: str | None = None,
        values: tuple[float, float] | None = None,
        violations: Mapping[str, float] | None = None,
    ) -> None:
        """Close trial ``number``.

        Args:
            number: Of the proposal.
            outcome: What became of it.
            note: Why, in a few words.
            values: Score and latency ratio, both better when lower; without them the trial fails, and the sampler
                learns nothing from it.
            violations: By constraint, above 0 where the constraint is violated.
        """
        with _readable_errors(self._path):
            trial = optuna.Trial(self.study, self.trials[number]._trial_id)
            trial.set_user_attr("outcome", outcome)
            if note:
                trial.set_user_attr("note", note)
            if values is None:
                self.study.tell(trial, state=TrialState.FAIL)
                return
            for key, violation in (violations or {}).items():
                trial.set_constraint(key, violation)
            self.study.tell(trial, list(values))

    def show(self, number: int, picture: Path, store: Path) -> None:
        """Attach ``picture`` to trial ``number``, which is not told yet, for the dashboard; asked again, not again."""
        with _readable_errors(self._path):
            attach(self.study, self.trials[number], picture, store)


@contextlib.contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    """What SQLite complains about becomes an error that says what can be done.

    Raises:
        StudyError: the file is damaged, the disk is full, or another process holds it.
    """
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(getattr(error.__cause__ or error, "orig", error.__cause__ or error)).splitlines()[0]
        if "full" in reason:
            raise StudyError(
                f"the disk is full ({path}: {reason}): free some space, then run the same command; what is finished "
                "is kept"
            ) from error
        raise StudyError(
            f"{path} cannot be used ({reason}): restore it, or move it away and run the same command: a new one is "
            "made from the records in candidates/, which costs no training"
        ) from error


def suggest_genotype(knobs: Mapping[str, Any], suggest: Suggest) -> dict[str, Any]:
    """Return a genotype: ``suggest(name, values)`` decides each knob that is active under those before it."""
    settings: dict[str, Any] = {}
    for name, choice in knobs.items():
        if choice.holds(settings):
            settings[name] = suggest(name, choice.values)
    return settings


def make_sampler(name: str, seed: int, trial: int) -> BaseSampler:
    """Return a sampler whose random numbers follow from ``seed`` and the number of the trial.

    A sampler's random state is not in the storage: one that is seeded once repeats its proposals after a resume.
    """
    mixed = (seed * 1_000_003 + int(Stream.PROPOSAL) * 7919 + trial) % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "random":
            return RandomSampler(seed=mixed)
        if name == "nsga2":
            return NSGAIISampler(seed=mixed, population_size=20)
        return TPESampler(seed=mixed, group=True, multivariate=True, n_ei_candidates=EI_CANDIDATES)


def open_study(path: Path) -> optuna.Study:
    """Return the study in the SQLite file ``path``, new or as it was left; ``optuna-dashboard`` opens it too."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{path}", study_name=STUDY, directions=["minimize", "minimize"], load_if_exists=True
    )
    with warnings.catch_warnings():  # names in the dashboard are worth an interface that may change
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["score", "latency ratio"])
    return study

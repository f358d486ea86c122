"""The search: Optuna proposes genotypes, workers measure and train them, this driver alone decides who goes on.

A candidate's life: proposed; measured untrained (too slow: infeasible; outcomputed by another in no more time:
dominated; in both cases nothing is trained); trained from rung to rung (dominated: stopped); complete. Each step of it
is in ``candidates/<id>/record.json``, so that a search that was killed goes on with the rung it was at; the trial in
``study.db`` holds genotype and outcome.
"""

import math
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from benchmarks.files import read_json, write_json
from compress.generator import Generator
from nas.candidate import COMPLETE, DOMINATED, DUPLICATE, FAILED, INFEASIBLE, SCORED, Candidate, describe
from nas.context import Context
from nas.executors import Executor, Result, result_of
from nas.families.base import Phase
from nas.progress import Progress
from nas.proposals import make_sampler, open_study, suggest_genotype
from nas.rungs import dominator, outcomputed, predict
from nas.seeds import Stream
from nas.worker import error_of, measure_job, train_job

PROPOSALS_PER_TRIAL = 20
STARTUP = 48  # proposals drawn uniformly first: few meet the latency limit, and the sampler learns from those
STARTED_BELOW = 0.9  # of the blank picture's score
MEASURE_S = 0.6  # of paired timing; the interval of the ratio is then about 1 %


@dataclass(frozen=True, slots=True)
class Limits:
    """The latency that a candidate must reach, and what it is measured against.

    Args:
        reference: The reference's fastest own file.
        max_ratio: Highest ratio to it that is allowed; infinity without a limit.
        blank: Score of the blank picture: the value of a candidate that was never trained.
        teacher: Score of the reference, on the latents of the rungs.
        allowed: Worst score that the budget allows.
    """

    reference: Path
    max_ratio: float
    blank: float
    teacher: float
    allowed: float


class Search:
    """One search, new or resumed; ``run`` it, then read ``candidates``.

    Args:
        context: The run.
        limits: What makes a candidate infeasible.
        executor: Runs the jobs.
        progress: Hears of finished trials.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        context: Context,
        limits: Limits,
        executor: Executor,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context, self._limits, self._executor = context, limits, executor
        self._progress, self._clock = progress, clock
        self._config = context.experiment.search
        self._schedule = (Phase("distill", self._config.rungs[-1]),)
        self.candidates: dict[str, Candidate] = {}
        self._running: dict[Future[Result], Candidate] = {}
        self._study = open_study(context.folder.path / "study.db")
        self._spent = context.folder.seconds.get("search", 0.0)

    def run(self) -> None:
        """Search until trials, proposals or minutes are used up, then finish what is running."""
        self._began = self._clock()
        self._progress.start("search", self._config.trials, "trials")
        self._waiting = self._adopt()
        while True:
            while len(self._running) < self._executor.workers:
                candidate = self._next()
                if candidate is None:
                    break
                self._advance(candidate)
            if not self._running:
                break
            self._collect()
        for candidate in self._held():
            candidate.error = "not trained: search.minutes or search.trials were used up before its turn"
            self._end(candidate, FAILED)
        self._progress.finish("search", f"{self.count(COMPLETE)} complete of {len(self._study.trials)} proposed")

    def count(self, outcome: str) -> int:
        """Return how many trials ended with ``outcome``."""
        return sum(trial.user_attrs.get("outcome") == outcome for trial in self._study.get_trials(deepcopy=False))

    @property
    def trained(self) -> int:
        """Candidates that are, or were, in training."""
        in_training = sum(one.ratio is not None and not one.rungs for one in self._running.values())
        return in_training + sum(bool(one.rungs) for one in self.candidates.values())

    @staticmethod
    def read(context: Context) -> list[Candidate]:
        """Return the candidates of a finished search."""
        record = context.folder.need("candidates", "leangen search")
        return [Candidate(**row) for row in record["rows"]]

    def _adopt(self) -> list[Candidate]:
        """Take over what an earlier process left: finished candidates, and those that were on their way."""
        waiting = []
        for trial in self._study.get_trials(deepcopy=False):
            candidate, running = self._stored(trial), trial.state == TrialState.RUNNING
            if candidate is None:
                if running:  # killed between its proposal and its first record
                    self._tell(trial.number, None, FAILED, "the process ended before it began")
            elif candidate.trial != trial.number:  # an earlier, or later, proposal of the same genotype
                if running:
                    self._tell(trial.number, candidate, DUPLICATE)
            else:
                self.candidates[candidate.id] = candidate
                if running and candidate.outcome is not None:  # killed between its record and the end of its trial
                    self._tell(trial.number, candidate, candidate.outcome, candidate.note)
                elif running and (candidate.rungs or candidate.ratio is None):
                    waiting.append(candidate)
        return waiting[::-1]

    def _stored(self, trial: FrozenTrial) -> Candidate | None:
        """Return the candidate that ``trial`` proposed as its record has it, or ``None`` if there is no record."""
        path = self._path(str(trial.user_attrs.get("candidate"))) / "record.json"
        return Candidate(**read_json(path)) if path.is_file() else None

    def _next(self) -> Candidate | None:
        """Return who gets the free worker: those half-way, the first proposals, then what was measured and may train.

        The first proposals are measured before any is trained: timing one takes a second, training one half a minute.
        """
        if self._waiting:
            return self._waiting.pop()
        if len(self._study.get_trials(deepcopy=False)) < STARTUP and not self._used_up():
            return self._propose()
        held = self._held()
        if held and not self._used_up(proposing=False):
            return max(held, key=lambda one: (one.macs or 0) / one.ratio["value"] if one.ratio else 0.0)
        return None if held else self._propose()

    def _held(self) -> list[Candidate]:
        """Return what was measured and waits for training; what another outcomputes by now ends here."""
        running = {one.id for one in self._running.values()}
        held = []
        for one in self.candidates.values():
            if one.outcome is None and one.ratio is not None and not one.rungs and one.id not in running:
                if self._is_outcomputed(one):
                    self._end(one, DOMINATED)
                else:
                    held.append(one)
        return held

    def _is_outcomputed(self, candidate: Candidate) -> bool:
        mine = candidate.measured
        others = [one.measured for one in self.candidates.values() if one.outcome not in (FAILED, INFEASIBLE)]
        better = outcomputed(mine, [other for other in others if other is not None]) if mine else None
        if better is not None:
            candidate.dominated_by = better.id
        return better is not None

    def _propose(self) -> Candidate | None:
        """Return a new candidate, or ``None`` when the effort is used up; duplicates are told at once."""
        while not self._used_up():
            number = len(self._study.get_trials(deepcopy=False))
            genotype, trial = self._ask(number)
            name = self._context.space.id(genotype)
            trial.set_user_attr("genotype", genotype)
            trial.set_user_attr("candidate", name)
            if name in self.candidates:
                self._tell(trial.number, self.candidates[name], DUPLICATE)
                continue
            candidate = Candidate(name, genotype, trial.number)
            self.candidates[name] = candidate
            self._write(candidate)
            return candidate
        return None

    def _ask(self, number: int) -> tuple[dict[str, Any], optuna.Trial]:
        """Return proposal ``number``: the first ones are uniform over genotypes, not over the choices of each knob."""
        space, seed = self._context.space, self._context.experiment.seed
        if number < STARTUP or self._config.sampler == "random":
            self._study.enqueue_trial(space.sample(np.random.default_rng((seed, Stream.PROPOSAL, number))))
        self._study.sampler = make_sampler(self._config.sampler, seed, number)
        trial = self._study.ask()
        return dict(space.canonical(suggest_genotype(space.knobs, trial.suggest_categorical))), trial

    def _used_up(self, *, proposing: bool = True) -> bool:
        """Return whether the effort ends here: trials or minutes, and for a new proposal their number too."""
        minutes = (self._spent + self._clock() - self._began) / 60
        proposals = len(self._study.get_trials(deepcopy=False))
        return (
            self.trained >= self._config.trials
            or minutes >= self._config.minutes
            or (proposing and proposals >= PROPOSALS_PER_TRIAL * self._config.trials)
        )

    def _advance(self, candidate: Candidate) -> None:
        """Submit the next job of ``candidate``."""
        try:
            job = self._next_job(candidate)
        except ValueError as error:  # a genotype that this image or these inputs do not allow
            candidate.error = str(error)
            self._end(candidate, FAILED)
            return
        self._running[self._executor.submit(job)] = candidate

    def _next_job(self, candidate: Candidate) -> dict[str, Any]:
        context, out = self._context, self._path(candidate.id)
        generator = Generator.from_genotype(
            context.space.name, candidate.genotype, context.family.inputs, context.image
        )
        if candidate.ratio is None:
            limit = self._limits.max_ratio if math.isfinite(self._limits.max_ratio) else None
            return measure_job(context, generator, self._limits.reference, MEASURE_S, limit)
        until = self._config.rungs[len(candidate.rungs)]
        return train_job(
            context, out, self._schedule, until=until, origin=generator.origin, stream=Stream.RUNG
        )

    def _collect(self) -> None:
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        for future in done:
            candidate, result = self._running.pop(future), result_of(future)
            candidate.seconds += result.get("seconds", 0.0)
            outcome = self._judge(candidate, result)
            if outcome is not None:
                self._end(candidate, outcome)
                continue
            self._write(candidate)
            if candidate.rungs:
                self._advance(candidate)

    def _judge(self, candidate: Candidate, result: Result) -> str | None:
        """Take in a result and return the outcome that it means, or ``None`` if the candidate goes on."""
        candidate.error = error_of(result)
        if candidate.error is not None:
            return FAILED
        if "ratio" in result:
            candidate.ratio, candidate.macs = result["ratio"], result["macs"]
            return INFEASIBLE if candidate.ratio["value"] > self._limits.max_ratio else None
        candidate.rungs.append({"steps": result["steps"], "quality": result["quality"]})
        rung = len(candidate.rungs) - 1
        mine = candidate.standing(rung)
        assert mine is not None
        # One that failed later cannot be chosen any more, so it must not stop others.
        rivals = [one for one in self.candidates.values() if one.outcome != FAILED]
        better = dominator(mine, [other for one in rivals if (other := one.standing(rung)) is not None])
        started = mine.value < STARTED_BELOW * self._limits.blank
        if len(candidate.rungs) == len(self._config.rungs):
            candidate.error = None if started else "not started: it scores like the blank picture"
            return COMPLETE if started else FAILED
        if better is not None and started:  # not to have started is no rank: it may be a slow starter
            candidate.dominated_by = better.id
            return DOMINATED
        return None

    def _end(self, candidate: Candidate, outcome: str) -> None:
        candidate.outcome = outcome
        self._write(candidate)
        self._tell(candidate.trial, candidate, outcome, candidate.note)
        self._progress.update("search", min(self.trained, self._config.trials), describe(candidate))

    def _tell(self, number: int, candidate: Candidate | None, outcome: str, note: str | None = None) -> None:
        """Close trial ``number`` in Optuna: what was never trained scores like the blank picture.

        A trial without values fails there: one that failed, and a duplicate of one that failed or is still on its way.
        """
        trial = optuna.Trial(self._study, self._study.trials[number]._trial_id)
        trial.set_user_attr("outcome", outcome)
        if note:
            trial.set_user_attr("note", note)
        if candidate is None or candidate.ratio is None or candidate.outcome not in SCORED:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        ratio = candidate.ratio["value"]
        value = candidate.score().value if candidate.rungs else self._limits.blank
        for key, violation in self._violations(candidate).items():
            trial.set_constraint(key, violation)
        self._study.tell(trial, [value, ratio])

    def _violations(self, candidate: Candidate) -> dict[str, float]:
        """Return by how much a candidate misses its limits, as log of a factor; 0 or below is inside.

        The front also holds what is very fast and hopeless. A sampler that learned only from dominance would spend
        most of its trials there, so the budget is a constraint like the latency: what the rungs predict for the end of
        training, over what is allowed.
        """
        assert candidate.ratio is not None
        violations = {}
        if math.isfinite(self._limits.max_ratio):
            violations["latency"] = math.log(candidate.ratio["value"] / self._limits.max_ratio)
        if candidate.outcome != INFEASIBLE and self._limits.allowed > 0:
            predicted = self._limits.blank  # of what was outcomputed, and so never trained
            if candidate.rungs:
                predicted = predict(
                    candidate.curve,
                    self._limits.teacher,
                    self._config.final_distill,
                    finetuned=self._config.final_adversarial > 0,
                )
            violations["quality"] = math.log(max(predicted, 1e-9) / self._limits.allowed)
        return violations

    def _path(self, name: str) -> Path:
        return self._context.folder.path / "candidates" / name

    def _write(self, candidate: Candidate) -> None:
        write_json(self._path(candidate.id) / "record.json", vars(candidate))

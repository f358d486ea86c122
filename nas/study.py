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
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from benchmarks.files import read_json, write_json
from compress.generator import Generator
from nas.artifacts import FOLDER as ARTIFACTS
from nas.artifacts import dashboard_command
from nas.candidate import (
    COMPLETE,
    DOMINATED,
    DUPLICATE,
    FAILED,
    INFEASIBLE,
    NOT_TRAINED,
    SCORED,
    Candidate,
    describe,
)
from nas.context import Context
from nas.executors import Executor, Job, Result, result_of
from nas.families.base import Phase
from nas.finalists import schedule_of
from nas.limits import Limits
from nas.progress import Progress
from nas.proposals import Proposals
from nas.rungs import dominator, outcomputed
from nas.screening import screen_of
from nas.seeds import Stream
from nas.worker import SAMPLES_FILE, error_of, measure_job, train_job

PROPOSALS_PER_TRIAL = 20
FIRST_PER_TRIAL = 4  # first proposals: measuring more of them than can be trained takes time from training
FIRST_SHARE = 1 / 3  # of the minutes, which the first proposals may take at most
STARTED_BELOW = 0.9  # of the blank picture's score
MEASURE_S = 0.6  # of paired timing; the interval of the ratio is then about 1 %


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
        self._jobs: dict[str, Job] = {}
        self._proposals = Proposals(
            context.folder.path / "study.db", context.space, self._config.sampler, context.experiment.seed
        )
        self._screen = screen_of(context, limits.max_ratio)
        self._spent = context.folder.seconds.get("search", 0.0)

    def run(self) -> None:
        """Search until trials, proposals or minutes are used up, then finish what is running."""
        self._began = self._clock()
        self._waiting = self._adopt()
        self._progress.start("search", self._config.trials, "trials", done=min(self.trained, self._config.trials))
        if self._screen.warning:
            self._progress.say(self._screen.warning)
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
            candidate.error = NOT_TRAINED
            self._end(candidate, FAILED)
        self._progress.finish("search", f"{self.count(COMPLETE)} complete of {len(self._proposals)} proposed")
        if redrawn := self._proposals.redrawn:
            self._progress.say(f"{redrawn} genotypes that were predicted to be too slow were not measured")
        self._progress.say(f"every candidate and what it draws: {dashboard_command(self._context.folder.shown)}")

    def count(self, outcome: str) -> int:
        """Return how many trials ended with ``outcome``."""
        return self._proposals.count(outcome)

    @property
    def trained(self) -> int:
        """Candidates in training, and those that finished a rung; one whose training failed before costs no trial."""
        in_training = sum(one.ratio is not None and not one.rungs for one in self._running.values())
        return in_training + sum(bool(one.rungs) for one in self.candidates.values())

    @staticmethod
    def read(context: Context) -> list[Candidate]:
        """Return the candidates of a finished search; where one was picked by hand, that one alone."""
        record = context.folder.need("candidates", "leangen search")
        path = context.folder.path / "candidates" / "record.json"
        candidates, picked = [Candidate.read(row, path) for row in record["rows"]], record.get("picked")
        return [one for one in candidates if picked is None or one.id == picked["id"]]

    def _adopt(self) -> list[Candidate]:
        """Take over what an earlier process left: finished candidates, and those that were on their way."""
        self._restore()
        waiting = []
        for trial in self._proposals.trials:
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
                    self._close(candidate, candidate.outcome)
                elif running and (candidate.rungs or candidate.ratio is None or self._has_checkpoint(candidate)):
                    waiting.append(candidate)
        return waiting[::-1]

    def _stored(self, trial: FrozenTrial) -> Candidate | None:
        """Return the candidate that ``trial`` proposed as its record has it, or ``None`` if there is no record."""
        path = self._path(str(trial.user_attrs.get("candidate"))) / "record.json"
        return Candidate.read(read_json(path), path) if path.is_file() else None

    def _restore(self) -> None:
        """Propose again what has a record and no trial, in the old order: ``study.db`` was lost, and nothing else."""
        known = {(trial.user_attrs.get("candidate"), trial.number) for trial in self._proposals.trials}
        records = [Candidate.read(read_json(path), path) for path in self._path("").glob("*/record.json")]
        for candidate in sorted(records, key=lambda one: one.trial):
            if (candidate.id, candidate.trial) not in known:
                candidate.trial = self._proposals.repeat(candidate.genotype).number
                self._write(candidate)

    def _next(self) -> Candidate | None:
        """Return who gets the free worker: those half-way, the first proposals, then what was measured and may train.

        The first proposals are measured before any is trained: timing one takes a second, training one half a minute.
        They end with ``FIRST_PER_TRIAL`` for every trial, and with ``FIRST_SHARE`` of the minutes.
        """
        if self._waiting:
            return self._waiting.pop()
        if len(self._proposals) < self._first and not self._used_up(FIRST_SHARE):
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
        repeated = False
        while not self._used_up():
            self._screen.learn(self.candidates.values(), len(self._proposals))
            excess = self._screen.excess if self._screen.ready else None
            # A sampler that repeats itself is sent elsewhere once.
            proposal = self._proposals.ask(uniform=repeated, excess=excess)
            repeated = proposal.id in self.candidates
            if repeated:
                self._tell(proposal.number, self.candidates[proposal.id], DUPLICATE)
                continue
            candidate = Candidate(proposal.id, proposal.genotype, proposal.number)
            self.candidates[candidate.id] = candidate
            self._write(candidate)
            return candidate
        return None

    def _used_up(self, share: float = 1.0, *, proposing: bool = True) -> bool:
        """Return whether the effort ends: trials or ``share`` of the minutes, for a new proposal also their number."""
        minutes = (self._spent + self._clock() - self._began) / 60
        return (
            self.trained >= self._config.trials
            or minutes >= share * self._config.minutes
            or (proposing and len(self._proposals) >= self._most_proposals)
        )

    @property
    def _most_proposals(self) -> int:
        return PROPOSALS_PER_TRIAL * self._config.trials

    @property
    def _first(self) -> int:
        return min(self._proposals.first, FIRST_PER_TRIAL * self._config.trials)

    def _advance(self, candidate: Candidate) -> None:
        """Submit the next job of ``candidate``."""
        try:
            job = self._next_job(candidate)
        except ValueError as error:  # a genotype that this image or these inputs do not allow
            candidate.error = str(error)
            self._end(candidate, FAILED)
            return
        self._jobs[candidate.id] = job
        self._context.folder.log.started(job, f"candidates/{candidate.id}")
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
        return train_job(context, out, self._schedule, until=until, origin=generator.origin, stream=Stream.RUNG)

    def _collect(self) -> None:
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        for future in done:
            candidate, result = self._running.pop(future), result_of(future)
            candidate.seconds += result.get("seconds", 0.0)
            outcome = self._judge(candidate, result)
            if outcome is not None:
                self._end(candidate, outcome)
            else:
                self._write(candidate)
                self._show(candidate)
            self._log_finished(candidate, result)
            if outcome is None and candidate.rungs:
                self._advance(candidate)

    def _log_finished(self, candidate: Candidate, result: Result) -> None:
        self._context.folder.log.finished(
            self._jobs.pop(candidate.id),
            f"candidates/{candidate.id}",
            result,
            candidate.outcome or "goes on",
            rung=len(candidate.rungs) or None,
            note=candidate.note,
        )

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
        if not math.isfinite(mine.value):
            candidate.error = f"diverged: its score after {result['steps']} steps is not a number"
            return FAILED
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
        self._close(candidate, outcome)
        self._show(candidate)

    def _close(self, candidate: Candidate, outcome: str) -> None:
        """End the trial of ``candidate`` in Optuna, where what it draws is shown beside it."""
        picture = self._path(candidate.id) / SAMPLES_FILE
        if candidate.rungs and picture.is_file():
            self._proposals.show(candidate.trial, picture, self._context.folder.path / ARTIFACTS)
        self._tell(candidate.trial, candidate, outcome, candidate.note)

    def _show(self, candidate: Candidate) -> None:
        """Tell progress of ``candidate``, and before any was trained, how far the first measurements are."""
        note = describe(candidate)
        if not self.trained:
            done, first = len(self._proposals) - len(self._running), self._first
            fast = sum(one.ratio is not None and one.outcome != INFEASIBLE for one in self.candidates.values())
            note = f"measured {f'{done} of {first}' if done <= first else done} proposals, {fast} fast enough"
        self._progress.update("search", min(self.trained, self._config.trials), note)

    def _tell(self, number: int, candidate: Candidate | None, outcome: str, note: str | None = None) -> None:
        """Close trial ``number`` in Optuna: what was never trained scores like the blank picture.

        A trial without values fails there: one that failed, and every duplicate, since a sampler that is told the same
        result again and again proposes it again and again.
        """
        if candidate is None or candidate.ratio is None or outcome not in SCORED:
            self._proposals.tell(number, outcome, note)
            return
        values = candidate.score().value if candidate.rungs else self._limits.blank, candidate.ratio["value"]
        violations = self._limits.violations(candidate, schedule_of(self._config))
        self._proposals.tell(number, outcome, note, values, violations)

    def _has_checkpoint(self, candidate: Candidate) -> bool:
        """Return whether it was in training when an earlier process ended, and left something to go on with."""
        return any(self._path(candidate.id).glob("checkpoint-*"))

    def _path(self, name: str) -> Path:
        return self._context.folder.path / "candidates" / name

    def _write(self, candidate: Candidate) -> None:
        write_json(self._path(candidate.id) / "record.json", vars(candidate))

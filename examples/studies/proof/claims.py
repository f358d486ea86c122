"""What the project promised, what was measured of it, and whether that is a yes, a no, or open."""

from dataclasses import dataclass, replace

from examples.studies.proof.compared import Family
from examples.studies.proof.over_seeds import Mean
from examples.studies.proof.records import OURS, RANDOM, PieceRecord
from reports.wording import number

YES, NO, OPEN, TOLD = "yes", "no", "open", "–"
SPEEDUPS = {"1": (10.0, 25.0), "32": (20.0, 60.0)}  # at least, and the aim, by batch
ACCURACY_POINTS = 0.01
PROMISED = "fid<=+10%|+1"
RIVALS = {
    "narrowed": "the narrowed baseline",
    "pruned-matched": "the reference pruned to our time",
    "pruned-half": "the reference pruned by half",
    "quantized": "the reference through quantize_static",
}
FID, ACCURACY = "fid", "accuracy"


@dataclass(frozen=True)
class Claim:
    """One row of the table of targets. ``open``: the mean meets it, and its interval does not."""

    family: str
    what: str
    asked: str
    measured: str
    verdict: str
    note: str = ""


def claims_of(family: Family) -> list[Claim]:
    """Return every target of one family: all are missed where our run found nothing to ship in one of the seeds."""
    lost = [f"{piece.name}: {_note(piece, OURS)}" for piece in family.without(OURS)]
    if not lost:
        return _claims(family)
    seeds = f"in {len(family.having(OURS))} of {len(family.pieces)} seeds"
    nothing = Claim(family.name, "a file that our run ships", "in every seed", seeds, NO, "; ".join(lost))
    rest = _claims(family) if family.having(OURS) else _random(family)
    return [nothing, *(one if one.verdict == TOLD else replace(one, verdict=NO, note=_lost(one)) for one in rest)]


def _lost(claim: Claim) -> str:
    return "; ".join(filter(None, (claim.note, "not every seed has a file")))


def _claims(family: Family) -> list[Claim]:
    found = [_speed(family, batch, *limits) for batch, limits in SPEEDUPS.items() if batch in family.pieces[0].batches]
    found.append(_quality(family))
    if family.name == "cgan":
        found += _classes(family)
    for who, name in RIVALS.items():
        found += [_rival(family, who, name, batch) for batch in family.pieces[0].batches]
    return [*found, *_random(family)]


def _speed(family: Family, batch: str, least: float, aim: float) -> Claim:
    found = family.speedup(OURS, batch)
    threads = family.pieces[0].threads
    return Claim(
        family.name,
        f"speed-up over the reference's fastest own file, batch {batch}, {threads} thread{'s' * (threads > 1)}",
        f"at least {least:g}×, aim {aim:g}×",
        found.text("×"),
        _judge(found, least),
        f"aim: {_judge(found, aim)}",
    )


def _quality(family: Family) -> Claim:
    own = next(text for text in family.pieces[0].budgets if text.startswith(FID))
    inside, inside_own = family.inside(PROMISED), family.inside(own)
    found, seeds = family.to_reference(OURS, FID, "1"), len(family.pieces)
    stricter = f"inside the run's own `{own}` in {sum(inside_own)}; " if own != PROMISED else ""
    return Claim(
        family.name,
        "FID minus the plateau reference's, on the same latents",
        f"inside `{PROMISED}`, aim below 0",
        found.text(signed=True),
        YES if all(inside) else NO if not any(inside) else OPEN,
        f"inside in {sum(inside)} of {seeds} seeds; {stricter}aim: {_judge_below(found, 0.0)}",
    )


def _classes(family: Family) -> list[Claim]:
    ours = [piece.ours for piece in family.having(OURS)]
    missing = sorted({name for file in ours for name in file.missing_classes})
    counts = sorted({len(file.class_accuracy) for file in ours})
    present = Claim(
        family.name,
        "classes that come out when they are asked for",
        "ten",
        f"{' or '.join(map(str, counts))} but {', '.join(missing)}" if missing else " or ".join(map(str, counts)),
        YES if counts == [10] and not missing else NO,
    )
    if ACCURACY not in family.metrics:
        return [Claim(family.name, "class accuracy", "within 1 point", "not scored", NO), present]
    found = family.to_reference(OURS, ACCURACY, "1")
    accuracy = Claim(
        family.name,
        "class accuracy minus the reference's",
        "not below −1 point",
        found.text(signed=True),
        _judge(found, -ACCURACY_POINTS),
    )
    return [accuracy, present]


@dataclass(frozen=True)
class _Against:
    """Our file beside one file of a rival."""

    file: str
    seeds: int
    time: Mean
    quality: Mean

    @property
    def faster(self) -> str:
        return _judge_below(self.time, 1.0)

    @property
    def no_worse(self) -> str:
        return _judge_below(self.quality, 0.0)

    @property
    def verdict(self) -> str:
        both = (self.faster, self.no_worse)
        return NO if NO in both else OPEN if OPEN in both else YES

    def note(self, of: int) -> str:
        where = f" in {self.seeds} of {of} seeds" if self.seeds < of else ""
        return f"its {self.file}{where}: faster: {self.faster}, no worse: {self.no_worse}"


def _rival(family: Family, who: str, name: str, batch: str) -> Claim:
    """Return what holds against every file of a rival, which may ship any of them and not only its fastest.

    The worst verdict counts, with its numbers. A file that is slower and has the better FID is a "no" like one that is
    faster and has the worse FID: against neither are we faster at no worse FID.
    """
    what, asked = f"against {name}, batch {batch}", "faster at no worse FID, beyond the intervals"
    seeds = len(family.having(OURS))
    if len(family.with_ours(who)) < seeds:
        notes = {_note(piece, who) for piece in family.having(OURS)}
        return Claim(family.name, what, asked, "no file in every seed", OPEN, "; ".join(sorted(filter(None, notes))))
    judged = [
        _Against(
            file,
            len(family.with_ours(who, file)),
            family.against(who, batch, file),
            family.ours_minus(who, FID, batch, file),
        )
        for file in family.names(who)
    ]
    worst = max(judged, key=lambda one: ((YES, OPEN, NO).index(one.verdict), one.time.value))
    measured = f"its {worst.file}: time × {worst.time.text()}, FID {worst.quality.text(signed=True)}"
    return Claim(family.name, what, asked, measured, worst.verdict, "; ".join(one.note(seeds) for one in judged))


def _random(family: Family) -> list[Claim]:
    """Return what is told of random search: nothing was promised."""
    what, found = "against random search with the same minutes, {}", []
    nothing = [f"{piece.name}: {_note(piece, RANDOM)}" for piece in family.without(RANDOM)]
    if nothing:
        seeds = f"no: no file in {len(nothing)} of {len(family.pieces)} seeds"
        what_alone = "what random search ships with the same minutes"
        found.append(Claim(family.name, what_alone, "told", seeds, TOLD, "; ".join(nothing)))
    for batch in family.pieces[0].batches if family.with_ours(RANDOM) else ():
        time, quality = family.against(RANDOM, batch), family.ours_minus(RANDOM, FID, batch)
        measured = f"time × {time.text()}, FID {quality.text(signed=True)}"
        found.append(Claim(family.name, what.format(f"batch {batch}"), "told", measured, TOLD))
    area = family.hypervolume()
    if area is not None:
        trained = [f"{piece.searches[OURS].complete} and {piece.searches[RANDOM].complete}" for piece in family.pieces]
        note = f"candidates trained to the last rung, ours and random: {'; '.join(trained)}"
        text = area.text() if len(area.each) > 1 else number(area.value)
        found.append(Claim(family.name, what.format("area under the front"), "told", f"× {text}", TOLD, note))
    return found


def _note(piece: PieceRecord, who: str) -> str:
    return piece.contenders[who].note if who in piece.contenders else "not in the record"


def _judge(found: Mean, least: float) -> str:
    """Return whether it is at least so much: with its whole interval, on average only, or not."""
    return YES if found.low >= least else OPEN if found.value >= least else NO


def _judge_below(found: Mean, most: float) -> str:
    return YES if found.high < most else OPEN if found.value < most else NO

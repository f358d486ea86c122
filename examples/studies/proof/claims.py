"""What the project promised, what was measured of it, and whether that is a yes, a no, or open."""

from dataclasses import dataclass

from examples.studies.proof.compared import Family
from examples.studies.proof.over_seeds import Mean
from examples.studies.proof.records import OURS, RANDOM
from reports.wording import number

YES, NO, OPEN, TOLD = "yes", "no", "open", "–"
SPEEDUPS = {"1": (10.0, 25.0), "32": (20.0, 60.0)}  # at least, and the aim, by batch
ACCURACY_POINTS = 0.01
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
    """Return every target of one family."""
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
    budget = next(text for text in family.pieces[0].budgets if text.startswith(FID))
    inside = family.inside()[budget]
    found = family.to_reference(OURS, FID, "1")
    return Claim(
        family.name,
        "FID minus the plateau reference's, on the same latents",
        f"inside `{budget}`, aim below 0",
        found.text(signed=True),
        YES if all(inside) else NO if not any(inside) else OPEN,
        f"inside in {sum(inside)} of {len(inside)} seeds; aim: {_judge_below(found, 0.0)}",
    )


def _classes(family: Family) -> list[Claim]:
    missing = sorted({name for piece in family.pieces for name in piece.ours.missing_classes})
    counts = sorted({len(piece.ours.class_accuracy) for piece in family.pieces})
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


def _rival(family: Family, who: str, name: str, batch: str) -> Claim:
    what, asked = f"against {name}, batch {batch}", "faster at no worse FID, beyond the intervals"
    if len(family.having(who)) < len(family.pieces):
        notes = {piece.contenders[who].note for piece in family.pieces if who in piece.contenders}
        return Claim(family.name, what, asked, "no file in every seed", OPEN, "; ".join(sorted(filter(None, notes))))
    time, quality = family.against(who, batch), family.ours_minus(who, FID, batch)
    both = (_judge_below(time, 1.0), _judge_below(quality, 0.0))
    verdict = YES if both == (YES, YES) else NO if NO in both else OPEN
    measured = f"time × {time.text()}, FID {quality.text(signed=True)}"
    return Claim(family.name, what, asked, measured, verdict, f"faster: {both[0]}; no worse: {both[1]}")


def _random(family: Family) -> list[Claim]:
    """Return what is told of random search: nothing was promised."""
    what, found = "against random search with the same minutes, {}", []
    for batch in family.pieces[0].batches:
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


def _judge(found: Mean, least: float) -> str:
    """Return whether it is at least so much: with its whole interval, on average only, or not."""
    return YES if found.low >= least else OPEN if found.value >= least else NO


def _judge_below(found: Mean, most: float) -> str:
    return YES if found.high < most else OPEN if found.value < most else NO

"""Tables of the search: outcomes, finalists, candidates."""

from reports.searched import OUTCOMES, Candidate, Finalist
from reports.summary import Summary
from reports.views.table import Table, make_table
from reports.wording import DASH, duration, genotype_text, metric_name, score, signed, speedup

MAX_CANDIDATES = 100  # rows of the candidates' table; the rest is in summary.json
OUTCOME_MEANINGS = {
    "complete": "reached the last rung",
    "dominated": "stopped: another was better in both, or did more arithmetic in no more time",
    "infeasible": "over the latency limit: nothing was trained",
    "failed": "ended with an error",
    "unreached": "measured, and never trained: the effort was used up before its turn",
    "duplicate": "proposed again, not evaluated again",
}


def outcome_name(outcome: str) -> str:
    """The outcome in words."""
    return "not reached" if outcome == "unreached" else outcome


def outcomes_table(summary: Summary) -> Table | None:
    """Trials by outcome, with the seconds they took where the trials are listed."""
    if summary.search is None:
        return None
    seconds: dict[str, float] = {}
    for one in summary.candidates or ():
        outcome = "unreached" if one.unreached else one.outcome
        seconds[outcome] = seconds.get(outcome, 0.0) + one.seconds
    counts: dict[str, int] = {name: getattr(summary.search, name) for name in (*OUTCOMES, "unreached")}
    counts["failed"] -= counts["unreached"]
    rows: list[tuple[str, ...]] = [
        (outcome_name(name), f"{n:,}", duration(seconds.get(name)), OUTCOME_MEANINGS[name])
        for name, n in counts.items()
        if n
    ]
    rows.append(("trials", f"{summary.search.trials:,}", duration(sum(seconds.values())) if seconds else DASH, ""))
    columns = ("outcome", "trials", "worker time", "meaning")
    return make_table(columns, rows, numeric="trials|worker time", strong=[len(rows) - 1])


def finalists_table(summary: Summary) -> Table | None:
    """Candidates trained to the end; null before there are any."""
    if not summary.finalists:
        return None
    rows = [
        (
            ("★ " if one.winner else "") + one.id,
            _fate(one),
            score(one.quality),
            signed(one.difference),
            speedup(one.ratio),
            genotype_text(one.genotype),
        )
        for one in summary.finalists
    ]
    metric = metric_name(next((one.quality for one in summary.finalists if one.quality), None))
    columns = ("finalist", "budget", metric, "to reference", "speed-up", "genotype")
    return make_table(
        columns,
        rows,
        numeric=f"{metric}|to reference|speed-up",
        code="finalist|genotype",
        strong=[index for index, one in enumerate(summary.finalists) if one.winner],
    )


def _fate(one: Finalist) -> str:
    inside = {True: "inside", False: "outside", None: ""}[one.inside]
    return "; ".join(filter(None, (inside, one.note))) or DASH


def evaluated_candidates(summary: Summary) -> list[Candidate]:
    """Candidates that were trained, lowest score first, then those that failed; not those never reached."""
    scored = [one for one in summary.candidates or () if one.quality or (one.outcome == "failed" and not one.unreached)]
    return sorted(scored, key=lambda one: (one.quality is None, one.quality.value if one.quality else 0.0))


def candidates_table(summary: Summary) -> Table | None:
    """The first ``MAX_CANDIDATES`` of ``evaluated_candidates``; null if none was evaluated."""
    scored = evaluated_candidates(summary)
    if not scored:
        return None
    metric = metric_name(scored[0].quality)
    columns = ("candidate", "outcome", "rung", metric, "speed-up", "time", "genotype")
    return make_table(
        columns,
        [_candidate_row(one) for one in scored[:MAX_CANDIDATES]],
        numeric=f"rung|{metric}|speed-up|time",
        code="candidate|genotype",
    )


def _candidate_row(one: Candidate) -> tuple[str, ...]:
    detail = genotype_text(one.genotype) + (f" — {one.error}" if one.error else "")
    precision = one.ratio.precision if one.ratio else None
    return (
        one.id,
        one.outcome + (", finalist" if one.finalist else ""),
        DASH if one.rung is None else str(one.rung),
        score(one.quality),
        " ".join(filter(None, (speedup(one.ratio), precision))),
        duration(one.seconds),
        detail,
    )

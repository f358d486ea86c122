"""The page `docs/results.md`: built from the JSON files of finished pieces, no number typed by hand."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.files import write_text
from examples.studies.proof.claims import ACCURACY, FID, RIVALS, Claim, claims_of
from examples.studies.proof.compared import Family
from examples.studies.proof.layout import FAMILIES, PROGRAM, SEEDS, ProofError
from examples.studies.proof.plot import draw
from examples.studies.proof.records import OURS, RANDOM, REFERENCE, PieceRecord, read_piece
from reports.wording import count, duration, number, size

NAMES = {
    REFERENCE: "reference",
    OURS: "**ours**",
    **RIVALS,
    RANDOM: "random search, the same minutes",
}
_SEARCHES = (OURS, RANDOM)  # stand in the table also with nothing found


def read_families(results: Path) -> list[Family]:
    """Return the finished pieces in the folder ``results``, by family.

    Raises:
        ProofError: there are none, or some cannot stand in one table.
    """
    pieces = [read_piece(path) for path in sorted(results.glob("*.json"))]
    if not pieces:
        raise ProofError(f"{results} holds no finished piece: make one with `{PROGRAM} piece gan 0`")
    names = sorted({piece.family for piece in pieces}, key=[*FAMILIES].index)
    return [Family.of(name, [piece for piece in pieces if piece.family == name]) for name in names]


def write_results(results: Path) -> Path:
    """Write ``results.md`` and one picture a family beside the folder ``results``; return the page's path."""
    families, page = read_families(results), results.with_suffix(".md")
    for family in families:
        write_text(page.with_name(f"{page.stem}-{family.name}.svg"), draw(family))
    write_text(page, "\n".join(_page(families, page.stem)).rstrip() + "\n")
    return page


def _page(families: Sequence[Family], stem: str) -> Iterable[str]:
    yield "<!-- Written by `make proof` from docs/results/*.json; do not edit. -->\n"
    yield "# Results\n"
    yield from (f"{line}\n" for line in _standing(families))
    yield "## What was promised\n"
    claims = [claim for family in families for claim in claims_of(family)]
    yield from _table(("family", "what", "asked", "measured", "", "note"), [_claim_row(claim) for claim in claims])
    yield _HOW_TO_READ
    for family in families:
        yield from _family(family, f"{stem}-{family.name}.svg")


_HOW_TO_READ = """
Each value is the mean over seeds with its 95 % t-interval, then the single seeds; of times and speed-ups, the geometric
mean. Of one seed alone the interval is that of its own measurement. "time ×" is our time ÷ the other's, so below 1 ours
is faster; "FID" is ours minus the other's. *yes*: the whole interval meets it; *open*: the mean does, the interval does
not; *no*: the mean does not. A rival may ship any of its files: what is asked must hold against each of them, and the
numbers are those of the one against which it holds least. Where our run finds nothing to ship in one seed, the answer
is *no* everywhere, and means are over the other seeds.

Two rivals are made as fast as our file at batch 1, to within a tenth: the narrowed baseline and the reference pruned to
our time. "Faster" cannot be had against them there by more than that; what they show is the FID that this speed costs
without a search. The reference pruned by half is no rival in speed: it shows how good a much larger network becomes by
the same training, which for all of them ends with our own matching of the real pictures.

Every row comes from `make proof`; one seed of one family from its two commands below.
"""


def _standing(families: Sequence[Family]) -> Iterable[str]:
    """Say what is there, and first of all what is missing."""
    there = {(family.name, seed) for family in families for seed in family.seeds}
    missing = [f"{family}-{seed}" for family in FAMILIES for seed in SEEDS if (family, seed) not in there]
    if missing:
        whole = len(FAMILIES) * len(SEEDS)
        yield f"**Not everything is here yet: of {whole} pieces {', '.join(missing)} are missing.**"
    pieces = [piece for family in families for piece in family.pieces]
    machine = pieces[0].machine
    yield (
        f"Measured on {machine['cpu']} ({machine['cores']} cores, {', '.join(machine['flags'])}), onnxruntime "
        f"{machine['onnxruntime']}, Python {machine['python']}."
    )
    yield from _commits(pieces)
    low = [piece.name for piece in pieces if not piece.plateau]
    yield f"**No plateau in {', '.join(low)}.**" if low else "Every reference was trained to its plateau."


def _commits(pieces: Sequence[PieceRecord]) -> Iterable[str]:
    commits = sorted({commit for piece in pieces for commit in piece.commits})
    mixed = "" if len(commits) == 1 else f" **Parts were made at {len(commits)} commits.**"
    changed = " A `+` marks files that differed from it." if any(commit.endswith("+") for commit in commits) else ""
    yield f"Commit {', '.join(f'`{commit}`' for commit in commits)}.{mixed}{changed}"


def _family(family: Family, picture: str) -> Iterable[str]:
    first = family.pieces[0]
    seeds = ", ".join(map(str, family.seeds))
    yield f"## {family.name}: seed{'s' * (len(family.seeds) > 1)} {seeds}\n"
    columns = [
        "",
        *(f"speed-up, batch {batch}" for batch in first.batches),
        *(name for metric in family.metrics for name in _metric_columns(metric)),
        "parameters",
        "MACs",
        "file",
    ]
    yield from _table(columns, [_contender_row(family, who) for who in NAMES if family.having(who) or who in _SEARCHES])
    yield _below_the_table(first)
    yield f"![time against FID, {family.name}]({picture})\n"
    for piece in family.pieces:
        yield from _piece(piece)


def _metric_columns(metric: str) -> tuple[str, ...]:
    return (metric.upper(), f"{metric.upper()} − reference") if metric == FID else (metric,)


def _contender_row(family: Family, who: str) -> list[str]:
    """Return one row: its fastest file at each batch; qualities and sizes are those of the fastest at batch 1."""
    batches, nothing = family.pieces[0].batches, [piece.name for piece in family.without(who)]
    name = NAMES[who] + (f" (nothing in {', '.join(nothing)})" if nothing else "")
    if not family.having(who):
        columns = sum(len(_metric_columns(metric)) for metric in family.metrics)
        return [name, *["no"] * len(batches), *["–"] * (columns + 3)]
    piece = family.having(who)[0]
    row = [name, *(family.speedup(who, batch).text("×") for batch in batches)]
    for metric in family.metrics:
        row.append(family.quality(who, metric, batches[0]).text())
        if metric == FID:
            row.append("–" if who == REFERENCE else family.to_reference(who, metric, batches[0]).text(signed=True))
    file = family.file(piece, who, batches[0])
    return [*row, count(file.params), count(file.macs), f"{size(file.bytes)} {file.precision}"]


def _below_the_table(piece: PieceRecord) -> str:
    floors = ", ".join(f"{metric.upper()} {number(value)}" for metric, value in piece.floor.items())
    by = {
        name: [metric for metric, other in piece.extractors.items() if other == name]
        for name in piece.extractors.values()
    }
    extractors = "; ".join(f"{', '.join(metrics)} by `{name}`" for name, metrics in by.items())
    processes = len(piece.reference.latency[piece.batches[0]].ratios)
    return f"""
Speed-ups are over the reference's own fastest file at that batch, {piece.threads} thread, all files in turns in
{processes} fresh processes a seed. Ours and that of random search is the file that was shipped; of the others the
fastest one counts at each batch, and qualities are those of the fastest at batch {piece.batches[0]} (of the reference,
of its float file). Parameters, MACs and file size are those of seed {piece.seed}. Qualities are taken on held-out
pictures and latents with {piece.samples:,} pictures ({extractors}); other real pictures have {floors}.
"""


def _piece(piece: PieceRecord) -> Iterable[str]:
    yield f"### {piece.name}\n"
    gained = piece.gain_last_quarter
    gain = "" if gained is None else f" (it gained {number(gained)} in the last quarter)".replace("-", "−")
    settings = ", ".join(f"{key}={value}" for key, value in piece.genotype.items())
    yield f"- Reference: {piece.reference_steps:,} steps, {'at' if piece.plateau else 'not at'} its plateau{gain}."
    for who in _SEARCHES:
        if who in piece.contenders and not piece.contenders[who].files:
            yield f"- {NAMES[who].strip('*').capitalize()}: {piece.contenders[who].note}."
    if piece.genotype:
        yield f"- Ours: {settings}; kept: {', '.join(piece.steps_kept) or 'no step of compression'}."
    for who, contender in piece.contenders.items():
        if who in RIVALS:
            yield f"- {RIVALS[who].capitalize()}: {_made(contender.how, contender.training)}{contender.note}".rstrip()
    if ACCURACY in piece.extractors and piece.contenders[OURS].files:
        shares = ", ".join(f"{share:.1%}" for share in piece.ours.class_accuracy)
        yield f"- Accuracy of ours by class: {shares}."
    parts = [f"{what} {duration(seconds)}" for what, seconds in piece.seconds.items() if ":" not in what]
    yield f"- Time: {', '.join(parts)}; load while timing {piece.load_while_timing:.1f}."
    yield from (f"- {note}." for note in piece.notes)
    yield "\n```\n" + "\n".join(piece.commands) + "\n```\n"


def _made(how: dict[str, object], training: dict[str, object] | None) -> str:
    """Return how a rival was made, in words."""
    words = [f"{key} {number(value) if isinstance(value, float) else value}" for key, value in how.items()]
    if training:
        words.append(
            f"trained for {training['cpu_s']} CPU-s, where as many steps of ours take {training['ours_cpu_s']}"
        )
    return f"{'; '.join(words)}. " if words else ""


def _claim_row(claim: Claim) -> list[str]:
    return [claim.family, claim.what, claim.asked, claim.measured, f"**{claim.verdict}**", claim.note]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"| {' | '.join('---' for _ in columns)} |"
    yield from (f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows)
    yield ""

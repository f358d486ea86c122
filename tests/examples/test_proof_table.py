"""The proof's table: it says what its files say, and refuses files that cannot stand beside each other."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from examples.studies.proof.claims import claims_of
from examples.studies.proof.compared import Family, _area
from examples.studies.proof.layout import ProofError
from examples.studies.proof.over_seeds import geometric_mean, mean
from examples.studies.proof.records import PieceRecord, read_piece, write_piece
from examples.studies.proof.table import read_families, write_results


def quality(value: float, difference: float = 0.0, half: float = 0.1) -> dict:
    return {
        "value": value,
        "standard_error": 0.2,
        "difference": difference,
        "ci95": [difference - half, difference + half],
    }


def a_file(one: float, many: float, fid: float, ours: float = 3.8, precision: str = "fp32", **more: Any) -> dict:
    """A file that takes ``one`` and ``many`` of the reference's time at batch 1 and 32; the reference's FID is 4."""
    minus = {"difference": ours - fid, "ci95": [ours - fid - 0.1, ours - fid + 0.1]}
    latency = {
        batch: {"median_ms": ratio, "ratios": [ratio * 0.99, ratio, ratio / 0.99]}
        for batch, ratio in (("1", one), ("32", many))
    }
    return {
        "precision": precision,
        "bytes": 10_000,
        "params": 20_000,
        "macs": 300_000,
        "latency": latency,
        "quality": {"fid": quality(fid, fid - 4), "accuracy": quality(0.99, 0.002, 0.004)},
        "ours_minus_this": {"fid": minus, "accuracy": minus},
        **more,
    }


MACHINE = {"cpu": "A CPU", "flags": ["avx2"], "machine": "x86_64", "onnxruntime": "1.31", "cores": 2, "python": "3.11"}


def a_search(sampler: str, points: list[list[float]]) -> dict:
    return {"sampler": sampler, "minutes": 12, "proposals": 90, "complete": 20, "points": points}


def a_piece(seed: int = 0, family: str = "gan", *, one: float = 0.04, fid: float = 3.8, **changes: Any) -> dict:
    """A piece whose file is 25 times as fast at batch 1 and 50 times at batch 32, with an FID of 3.8 to 4."""
    classes = {"class_accuracy": [0.99] * 10, "missing_classes": []} if family == "cgan" else {}
    files = {
        "reference": {"fp32": a_file(1.25, 1.0, 4.0, fid), "int8": a_file(1.0, 1.1, 4.0, fid)},
        "ours": {"shipped": a_file(one, one / 2, fid, fid, "int8", **classes)},
        "narrowed": {"fp32": a_file(0.044, 0.03, 8.0, fid), "int8": a_file(0.05, 0.025, 9.0, fid)},
        "pruned-matched": {"fp32": a_file(0.041, 0.03, 7.0, fid)},
        "pruned-half": {"fp32": a_file(0.3, 0.25, 3.5, fid)},
        "quantized": {"int8": a_file(2.4, 1.6, 4.1, fid)},
        "random": {"shipped": a_file(0.05, 0.03, 3.9, fid)},
    }
    return {
        "family": family,
        "seed": seed,
        "experiment": "0123456789ab",
        "commits": ["abcdefabcdef"],
        "commands": [f"python -m examples.studies.proof piece {family} {seed}", f"... time {family} {seed}"],
        "machine": MACHINE,
        "threads": 1,
        "load_while_timing": 0.1,
        "budgets": ["fid<=+10%|+1"],
        "samples": 5000,
        "extractors": {"fid": "classifier@928f", "accuracy": "labeller@1234"},
        "floor": {"fid": 1.1},
        "plateau": True,
        "gain_last_quarter": 0.1,
        "reference_steps": 4000,
        "genotype": {"body": "conv"},
        "steps_kept": ["prune 25%"],
        "contenders": {who: {"files": named} for who, named in files.items()},
        "searches": {
            "ours": a_search("tpe", [[0.03, 9.0], [0.05, 5.0]]),
            "random": a_search("random", [[0.04, 9.0], [0.06, 6.0]]),
        },
        "seconds": {"our run": 2000.0, "ours: search": 720.0},
        **changes,
    }


def written(folder: Path, *pieces: dict) -> Path:
    for piece in pieces:
        write_piece(folder / f"{piece['family']}-{piece['seed']}.json", PieceRecord.model_validate(piece))
    return folder


def row_of(page: str, start: str) -> list[str]:
    (found,) = [line for line in page.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_means_and_intervals_over_seeds_by_hand():
    found = mean([1.0, 2.0, 3.0], (0, 0))
    assert found.value == 2.0
    assert found.high - found.value == pytest.approx(4.302653 / math.sqrt(3))  # t(2 degrees), s = 1
    ratios = geometric_mean([10.0, 1000.0])
    assert ratios.value == pytest.approx(100.0)
    assert ratios.low == pytest.approx(100 / ratios.high * 100)
    assert mean([5.0], (4.0, 6.0)) == dataclasses.replace(found, value=5.0, low=4.0, high=6.0, each=(5.0,))


def test_the_page_says_what_two_seeds_say(tmp_path):
    folder = written(tmp_path / "results", a_piece(0, one=0.04), a_piece(1, one=0.05, fid=3.9))
    page = write_results(folder).read_text()
    assert "gan-2, cgan-0, cgan-1, cgan-2 are missing" in page
    ours = row_of(page, "**ours**")
    assert ours[1].startswith("22×") or ours[1].startswith("22.4×")  # 25 and 20: geometric mean 22.36
    assert "(25.0, 20.0)" in ours[1]
    assert "(50.0, 40.0)" in ours[2]
    assert "(3.80, 3.90)" in ours[3]
    assert "(−0.200, −0.100)" in ours[4]
    narrowed = row_of(page, "the narrowed baseline")
    assert "(22.7, 22.7)" in narrowed[1]  # its float file is the faster one at batch 1,
    assert "(40.0, 40.0)" in narrowed[2]  # and its int8 file at batch 32
    assert "(8.00, 8.00)" in narrowed[3]
    assert row_of(page, "reference |")[1].startswith("1.0")  # its int8 file is the faster one
    assert "python -m examples.studies.proof piece gan 1" in page


def test_targets_are_judged_by_intervals(tmp_path):
    one = Family.of("gan", [PieceRecord.model_validate(a_piece(0))])
    claims = {claim.what: claim for claim in claims_of(one)}
    speed = claims["speed-up over the reference's fastest own file, batch 1, 1 thread"]
    assert (speed.verdict, speed.note) == ("yes", "aim: open")  # 25.0 itself, and its interval reaches below
    assert claims["FID minus the plateau reference's, on the same latents"].verdict == "yes"
    matched = claims["against the reference pruned to our time, batch 1"]
    assert (matched.verdict, matched.note) == ("yes", "its fp32: faster: yes, no worse: yes")
    half = claims["against the reference pruned by half, batch 1"]
    assert (half.verdict, half.note) == ("no", "its fp32: faster: yes, no worse: no")
    assert claims["against random search with the same minutes, batch 1"].verdict == "–"
    two = Family.of("gan", [PieceRecord.model_validate(a_piece(seed, one=one)) for seed, one in ((0, 0.04), (1, 0.11))])
    slow = {claim.what: claim for claim in claims_of(two)}
    assert slow["speed-up over the reference's fastest own file, batch 1, 1 thread"].verdict == "open"  # 25 and 9.1


@pytest.mark.parametrize(
    ("time", "fid", "verdict", "note"),
    [
        (0.08, 8.0, "yes", "its fp32: faster: yes, no worse: yes"),
        (0.08, 3.0, "no", "its fp32: faster: yes, no worse: no"),  # slower than ours, and better
        (0.041, 3.0, "no", "its fp32: faster: yes, no worse: no"),
        (0.08, 3.85, "open", "its fp32: faster: yes, no worse: open"),  # ours is 0.05 ± 0.1 better
        (0.0401, 8.0, "open", "its fp32: faster: open, no worse: yes"),
        (0.03, 8.0, "no", "its fp32: faster: no, no worse: yes"),
        (0.03, 3.0, "no", "its fp32: faster: no, no worse: no"),  # beats ours
    ],
)
def test_a_rival_is_judged_by_every_one_of_its_files(time, fid, verdict, note):
    """Its int8 file is the faster one, or nearly, and worse than ours in both; its float file decides."""
    piece = a_piece(0)
    rival = {"fp32": a_file(time, time, fid), "int8": a_file(0.05, 0.05, 9.0, precision="int8")}
    jitter = [time * 0.97, time, time / 0.97]  # where the times are near ours, the interval holds 1
    rival["fp32"]["latency"]["1"]["ratios"] = jitter if time == 0.0401 else [time * 0.99, time, time / 0.99]
    piece["contenders"]["narrowed"] = {"files": rival}
    claims = {claim.what: claim for claim in claims_of(Family.of("gan", [PieceRecord.model_validate(piece)]))}
    found = claims["against the narrowed baseline, batch 1"]
    assert found.verdict == verdict
    assert found.note == f"{note}; its int8: faster: yes, no worse: yes"
    assert found.measured.startswith("its fp32: " if verdict != "yes" or time < 0.05 else "its int8: ")


def test_quality_outside_the_budget_is_no():
    bad = Family.of("gan", [PieceRecord.model_validate(a_piece(0, fid=5.5))])
    claim = next(claim for claim in claims_of(bad) if claim.what.startswith("FID"))
    assert (claim.verdict, claim.note) == ("no", "inside in 0 of 1 seeds; aim: no")


def test_what_was_promised_counts_and_a_run_may_ask_for_more():
    piece = {**a_piece(0), "budgets": ["fid<=-100"]}
    claim = next(one for one in claims_of(Family.of("gan", [PieceRecord.model_validate(piece)])) if "FID" in one.what)
    assert claim.verdict == "yes"
    assert claim.note.startswith("inside in 1 of 1 seeds; inside the run's own `fid<=-100` in 0; aim: ")


def test_classes_are_counted():
    piece = a_piece(0, "cgan")
    whole = {claim.what: claim for claim in claims_of(Family.of("cgan", [PieceRecord.model_validate(piece)]))}
    assert whole["classes that come out when they are asked for"].verdict == "yes"
    assert whole["class accuracy minus the reference's"].verdict == "yes"
    piece["contenders"]["ours"]["files"]["shipped"]["missing_classes"] = ["7"]
    less = {claim.what: claim for claim in claims_of(Family.of("cgan", [PieceRecord.model_validate(piece)]))}
    assert less["classes that come out when they are asked for"].verdict == "no"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"machine": {**MACHINE, "cpu": "Another"}}, "cpu"),
        ({"extractors": {"fid": "classifier@ffff", "accuracy": "labeller@1234"}}, "extractors"),
        ({"experiment": "ffffffffffff"}, "experiment"),
    ],
)
def test_unlike_pieces_do_not_stand_in_one_table(tmp_path, change, told):
    folder = written(tmp_path / "results", a_piece(0), a_piece(1, **change))
    with pytest.raises(ProofError, match=f"gan-0 and gan-1 cannot stand in one table: other {told}"):
        read_families(folder)


def test_unlike_commits_are_noted(tmp_path):
    folder = written(tmp_path / "results", a_piece(0), a_piece(1, commits=["123456123456+"]))
    page = write_results(folder).read_text()
    assert "**Parts were made at 2 commits.**" in page
    assert "A `+` marks files that differed" in page


def test_a_rival_without_files_leaves_its_row_open(tmp_path):
    piece = a_piece(0)
    piece["contenders"]["quantized"] = {"files": {}, "note": "onnxruntime's quantizer failed: no"}
    page = write_results(written(tmp_path / "results", piece)).read_text()
    row = next(line for line in page.splitlines() if "quantize_static, batch 1 " in line)
    assert "**open**" in row
    assert "onnxruntime's quantizer failed" in row


def without(who: str, seed: int = 0, family: str = "gan") -> dict:
    """A piece in which a search found nothing; without a file of ours there is nothing to match rivals to either."""
    piece = a_piece(seed, family)
    searches = {"ours": ("ours", "narrowed", "pruned-matched", "pruned-half"), "random": ("random",)}
    for name in searches[who]:
        piece["contenders"][name] = {"files": {}, "note": "the answer was no: nothing to ship (missed: x.y)"}
    if who == "ours":
        piece.update(genotype={}, steps_kept=[])
    for file in (file for one in piece["contenders"].values() for file in one["files"].values()):
        file["ours_minus_this"] = {} if who == "ours" else file["ours_minus_this"]
    piece["searches"][who]["points"] = []
    return piece


def test_random_search_that_finds_nothing_is_a_no_of_random_search(tmp_path):
    page = write_results(written(tmp_path / "one", without("random"))).read_text()
    assert "of 6 pieces gan-1, " in page
    told = next(line for line in page.splitlines() if "what random search ships" in line)
    assert "no: no file in 1 of 1 seeds" in told
    assert "gan-0: the answer was no" in told
    assert row_of(page, "random search, the same minutes (nothing in gan-0)")[1:3] == ["no", "no"]
    assert "against random search with the same minutes, batch 1" not in page
    assert row_of(page, "gan | speed-up over the reference's fastest own file, batch 1")[4] == "**yes**"
    both = write_results(written(tmp_path / "two", without("random"), a_piece(1))).read_text()
    assert "no: no file in 1 of 2 seeds" in both
    assert row_of(both, "random search, the same minutes (nothing in gan-0)")[1].startswith("20")


def test_a_seed_without_a_file_of_ours_is_a_no_of_everything_asked(tmp_path):
    page = write_results(written(tmp_path / "two", a_piece(0, "cgan"), without("ours", 1, "cgan"))).read_text()
    assert row_of(page, "**ours** (nothing in cgan-1)")[1].startswith("25")
    asked = [line for line in page.splitlines() if line.startswith("| cgan |")]
    assert "in 1 of 2 seeds" in asked[0]
    assert "cgan-1: the answer was no" in asked[0]
    verdicts = [line.split("|")[5].strip() for line in asked if "| told |" not in line]
    assert len(verdicts) == 14
    assert set(verdicts) == {"**no**"}
    assert "inside in 1 of 2 seeds" in page
    alone = write_results(written(tmp_path / "one", without("ours"))).read_text()
    assert row_of(alone, "**ours** (nothing in gan-0)")[1:3] == ["no", "no"]
    assert "in 0 of 1 seeds" in alone
    assert (tmp_path / "one-gan.svg").is_file()


def test_files_of_pieces_are_checked(tmp_path):
    path = written(tmp_path / "results", a_piece(0)) / "gan-0.json"
    value = json.loads(path.read_text())
    assert path.stat().st_size < 30_000
    value["contenders"]["ours"]["files"]["shipped"]["latency"]["1"]["ratios"] = [-1.0]
    path.write_text(json.dumps(value))
    with pytest.raises(ProofError, match=r"contenders\.ours\.files\.shipped\.latency\.1\.ratios\.0"):
        read_piece(path)
    value["contenders"].pop("ours")
    path.write_text(json.dumps(value))
    with pytest.raises(ProofError, match="lacks the contender 'ours'"):
        read_piece(path)


def test_the_picture_shows_every_file_and_front(tmp_path):
    folder = written(tmp_path / "results", a_piece(0), a_piece(1))
    write_results(folder)
    root = ElementTree.fromstring((tmp_path / "results-gan.svg").read_text())
    kinds = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert kinds.count("path") == 7 * 2 + 7  # a mark a file and seed, and the legend
    assert kinds.count("polyline") == 4
    assert "random search" in "".join(root.itertext())


def test_area_under_a_front():
    """Logs of (1/e², 1/e) and (1/e, 1/e²) below (1, 1): two rectangles, 2 × 1 and 1 × 1."""
    low, lower = math.exp(-1), math.exp(-2)
    assert _area([(lower, low), (low, lower)], [(1.0, 1.0)]) == pytest.approx(3.0)

"""The proof's own parts: rivals that are what they say, pauses that pause, and a table that says what its files say."""

import dataclasses
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import torch

from benchmarks.inputs import InputSpec, draw_inputs
from benchmarks.runtimes.onnx import generate
from compress.export import export_onnx
from compress.generator import Generator
from examples.studies.proof.claims import claims_of
from examples.studies.proof.compared import Family, _area
from examples.studies.proof.layout import Piece, Proof, ProofError
from examples.studies.proof.matching import match
from examples.studies.proof.over_seeds import geometric_mean, mean
from examples.studies.proof.pruned import prune_alone
from examples.studies.proof.quantized import quantize_alone
from examples.studies.proof.records import PieceRecord, read_piece, write_piece
from examples.studies.proof.table import read_families, write_results
from examples.studies.proof.together import Together, paused, start

ROOT = Path(__file__).parents[2]
Z = InputSpec("z", (16,), "float32", {"kind": "normal"})
LABEL = InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 9})
IMAGE = [1, 32, 32]
FACTORIES = {
    "gan": ("search_spaces.decoder:dcgan", (Z,)),
    "cgan": ("search_spaces.class_decoder:conditional_dcgan", (Z, LABEL)),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def dcgan(family: str, widths: list[int]) -> Generator:
    """Untrained, with statistics of its norms, and tables of its classes, that are not those of a fresh module."""
    factory, inputs = FACTORIES[family]
    torch.manual_seed(0)
    arguments = {"widths": widths, "inputs": [spec.to_json() for spec in inputs], "image": IMAGE}
    generator = Generator.from_factory(factory, arguments, inputs)
    for name, tensor in generator.module.state_dict().items():
        if tensor.dtype.is_floating_point and ("norm" in name):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    return generator


@pytest.mark.parametrize("family", FACTORIES)
def test_torch_pruning_alone_gives_a_smaller_network_that_exports(family, tmp_path):
    reference = dcgan(family, [48, 32, 24])
    before = {name: tensor.clone() for name, tensor in reference.module.state_dict().items()}
    pruned = prune_alone(reference, 0.5, 8)
    assert pruned.origin.arguments["widths"] == [24, 16, 8]  # 12 rounded down to a multiple of 8
    assert all(torch.equal(before[name], tensor) for name, tensor in reference.module.state_dict().items())
    pruned.save(tmp_path / "saved")
    again = Generator.load(tmp_path / "saved")  # as every generator, by origin and weights alone
    export_onnx(again, tmp_path / "pruned.onnx")
    rows = draw_inputs(reference.inputs, 4, 1)
    with torch.no_grad():
        wanted = pruned.module.eval()(**{name: torch.from_numpy(values) for name, values in rows.items()}).numpy()
    np.testing.assert_allclose(generate(tmp_path / "pruned.onnx", rows), wanted, atol=1e-4)


def test_what_is_kept_of_every_layer_are_channels_of_the_reference():
    reference = dcgan("gan", [48, 32, 24])
    pruned = prune_alone(reference, 0.5, 8).module.state_dict()
    old, new = reference.module.state_dict()["layers.1.norm.running_mean"], pruned["layers.1.norm.running_mean"]
    assert len(new) == 16
    assert set(new.tolist()) <= set(old.tolist())


def test_no_layer_is_pruned_away():
    with pytest.raises(ProofError, match="leave fewer than 8"):
        prune_alone(dcgan("gan", [48, 32, 24]), 0.9, 8)


def test_the_pruning_is_matched_to_a_time():
    """Here time is the widest layer's share: 0.16 of it asks for 7 of 48 channels, and needs finer steps than 8."""
    reference = dcgan("gan", [48, 32, 24])
    asked = list[int]()

    def time_of(generator: Generator) -> float:
        asked.append(generator.origin.arguments["widths"][0])
        return asked[-1] / 48 / 0.16

    found = match(reference, time_of)
    assert found.fits
    assert found.generator.origin.arguments["widths"][0] == 8
    assert found.multiple == 4
    assert asked[0] == 16  # the strongest in steps of 8 leaves 8 of 24 and so 16 of 48: too slow still


def test_the_nearest_pruning_is_taken_where_none_fits():
    found = match(dcgan("gan", [24, 16, 8]), lambda generator: 5.0 + generator.origin.arguments["widths"][0])
    assert not found.fits
    assert found.generator.origin.arguments["widths"] == [3, 2, 1]


@pytest.mark.parametrize("family", FACTORIES)
def test_quantize_static_alone_gives_an_int8_file(family, tmp_path):
    reference = dcgan(family, [16, 8, 8])
    export_onnx(reference, tmp_path / "floats.onnx")
    rows = draw_inputs(reference.inputs, 16, 2)
    quantize_alone(tmp_path / "floats.onnx", tmp_path / "int8.onnx", rows)
    operators = {node.op_type for node in onnx.load_model(tmp_path / "int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    pictures = [generate(tmp_path / name, rows) for name in ("floats.onnx", "int8.onnx")]
    assert 0 < np.abs(pictures[0] - pictures[1]).mean() < 0.1


COUNT = (
    "import time, pathlib, subprocess, sys\n{more}\nwhile True:\n    open({path!r}, 'a').write('x'); time.sleep(0.01)\n"
)


def sleeper(path: Path, more: str = "") -> list[str]:
    return [sys.executable, "-c", COUNT.format(path=str(path), more=more)]


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_a_pause_stops_a_process_and_its_workers_and_they_go_on(tmp_path):
    """Two sleepers, one with a worker of its own: while paused nobody writes, afterwards all of them do."""
    files = [tmp_path / name for name in ("one", "two", "worker")]
    worker = f"subprocess.Popen({sleeper(files[2])!r})"
    piece = Piece("gan", 0, Proof(runs=tmp_path))
    running = [start(piece, sleeper(files[0])), start(piece, sleeper(files[1], worker))]
    try:
        wait_for(lambda: all(file.is_file() for file in files))
        with paused(running):
            time.sleep(0.1)
            sizes = [file.stat().st_size for file in files]
            time.sleep(0.3)
            assert [file.stat().st_size for file in files] == sizes
        wait_for(lambda: all(file.stat().st_size > size for file, size in zip(files, sizes, strict=True)))
    finally:
        for one in running:
            one.signal(9)
            one.process.wait()


def test_a_pause_ends_with_an_error_too(tmp_path):
    running = [start(Piece("gan", 0, Proof(runs=tmp_path)), sleeper(tmp_path / "one"))]
    try:
        with pytest.raises(RuntimeError, match="timing failed"), paused(running):
            raise RuntimeError("timing failed")
        wait_for(lambda: (tmp_path / "one").is_file())
    finally:
        running[0].signal(9)
        running[0].process.wait()


def test_pieces_are_made_two_at_a_time_and_timed_alone(tmp_path):
    """Each piece counts for a while; what is timed watches that the others stand still."""
    proof = Proof(runs=tmp_path, results=tmp_path / "results")
    pieces = [Piece("gan", seed, proof) for seed in range(3)]
    make = "import time\nfor _ in range({n}):\n    open({own!r}, 'a').write('x'); time.sleep(0.01)\nopen({own!r}+'.made', 'w')"
    watch = (
        "import time, pathlib, sys\nfound = lambda: [p.stat().st_size for p in pathlib.Path({root!r}).glob('gan-?')]\n"
        "time.sleep(0.1); before = found(); time.sleep(0.3)\n"
        "print('alone' if found() == before else 'disturbed')\n"
        "pathlib.Path({result!r}).parent.mkdir(exist_ok=True); pathlib.Path({result!r}).write_text('{{}}')"
    )

    def command(piece: Piece, step: str) -> list[str]:
        own, result = str(tmp_path / piece.name), str(piece.result.absolute())
        program = (
            make.format(n=20 + 150 * piece.seed, own=own)
            if step == "piece"
            else watch.format(root=str(tmp_path), result=result)
        )
        return [sys.executable, "-c", program]

    lines: list[str] = []
    failed = Together(lines.append, lambda piece: (tmp_path / f"{piece.name}.made").is_file(), command).make(pieces)
    assert failed == []
    assert all(piece.result.is_file() for piece in pieces)
    assert [piece.log.read_text().split()[-1] for piece in pieces] == ["alone"] * 3
    assert any("1 paused" in line for line in lines), lines
    assert Together(lines.append, lambda piece: True, command).make(pieces) == []  # all done: nothing is started


def test_a_failed_piece_is_told_of_and_the_others_go_on(tmp_path):
    proof = Proof(runs=tmp_path, results=tmp_path / "results")
    pieces = [Piece("gan", seed, proof) for seed in range(2)]

    def command(piece: Piece, step: str) -> list[str]:
        program = (
            "raise SystemExit('no disk')"
            if piece.seed == 0
            else f"import pathlib; p=pathlib.Path({str(piece.result.absolute())!r}); p.parent.mkdir(exist_ok=True); p.write_text('{{}}')"
        )
        return [sys.executable, "-c", program]

    lines: list[str] = []
    failed = Together(lines.append, lambda piece: False, command).make(pieces)
    assert failed == [pieces[0]]
    assert any("no disk" in line for line in lines)
    assert pieces[1].result.is_file()


def test_a_search_is_not_paused(tmp_path):
    """Timings wait until the neighbour's search is over."""
    proof = Proof(runs=tmp_path, results=tmp_path / "results")
    made, searching = Piece("gan", 0, proof), Piece("gan", 1, proof)
    order = tmp_path / "order"
    search = (
        "import sys, time, pathlib; sys.path.insert(0, {root!r})\nfrom nas.locks import hold\n"
        "folder = pathlib.Path({folder!r}); folder.mkdir()\nwith hold(folder / '.searching'):\n    time.sleep(1.5)\n"
        "open({order!r}, 'a').write('searched '); time.sleep(3)"
    )

    def command(piece: Piece, step: str) -> list[str]:
        text = search.format(root=str(ROOT), folder=str(piece.folder), order=str(order)) if step == "piece" else (
            f"import pathlib; open({str(order)!r}, 'a').write('timed '); p = pathlib.Path({str(piece.result.absolute())!r}); "
            "p.parent.mkdir(exist_ok=True); p.write_text('{}')"
        )  # fmt: skip
        return [sys.executable, "-c", text]

    def is_made(piece: Piece) -> bool:
        if piece is made:
            wait_for(lambda: True)
        return piece is made

    runner = Together(lambda line: None, is_made, command)
    runner._begin(searching)
    wait_for(lambda: (searching.folder / ".searching").is_file() and (searching.folder / ".searching").read_text())
    assert runner.make([made]) == []
    assert order.read_text().split()[:2] == ["searched", "timed"]


def quality(value: float, difference: float = 0.0, half: float = 0.1) -> dict:
    return {
        "value": value,
        "standard_error": 0.2,
        "difference": difference,
        "ci95": [difference - half, difference + half],
    }


def a_file(one: float, many: float, fid: float, ours: float | None = None, precision: str = "fp32", **more) -> dict:
    """A file that takes ``one`` and ``many`` of the reference's time at batch 1 and 32; reference's FID is 4."""
    ratios = {"1": one, "32": many}
    return {
        "precision": precision,
        "bytes": 10_000,
        "params": 20_000,
        "macs": 300_000,
        "latency": {
            batch: {"median_ms": ratio, "ratios": [ratio * 0.99, ratio, ratio / 0.99]} for batch, ratio in ratios.items()
        },
        "quality": {"fid": quality(fid, fid - 4), "accuracy": quality(0.99, 0.002, 0.004)},
        "ours_minus_this": {} if ours is None else {name: {"difference": ours - fid, "ci95": [ours - fid - 0.1, ours - fid + 0.1]} for name in ("fid", "accuracy")},
        **more,
    }  # fmt: skip


def a_piece(seed: int = 0, family: str = "gan", *, one: float = 0.04, fid: float = 3.8, **changes) -> dict:
    """A piece whose file is 25 times as fast at batch 1 and 50 times at batch 32, with an FID of 3.8 to 4."""
    ours = {"class_accuracy": [0.99] * 10, "missing_classes": []} if family == "cgan" else {}
    return {
        "family": family,
        "seed": seed,
        "experiment": "0123456789ab",
        "commits": ["abcdefabcdef"],
        "commands": [f"python -m examples.studies.proof piece {family} {seed}", f"... time {family} {seed}"],
        "machine": {"cpu": "A CPU", "flags": ["avx2"], "machine": "x86_64", "onnxruntime": "1.31", "cores": 2, "python": "3.11"},
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
        "contenders": {
            "reference": {"files": {"fp32": a_file(1.25, 1.0, 4.0, fid), "int8": a_file(1.0, 1.1, 4.0, fid)}},
            "ours": {"files": {"shipped": a_file(one, one / 2, fid, precision="int8", **ours)}},
            "narrowed": {"files": {"fp32": a_file(0.044, 0.03, 8.0, fid), "int8": a_file(0.05, 0.025, 9.0, fid)}},
            "pruned-matched": {"files": {"fp32": a_file(0.041, 0.03, 7.0, fid)}, "how": {"ratio": 0.9}},
            "pruned-half": {"files": {"fp32": a_file(0.3, 0.25, 3.5, fid)}},
            "quantized": {"files": {"int8": a_file(2.4, 1.6, 4.1, fid)}},
            "random": {"files": {"shipped": a_file(0.05, 0.03, 3.9, fid)}},
        },
        "searches": {
            "ours": {"sampler": "tpe", "minutes": 12, "proposals": 90, "complete": 20, "points": [[0.03, 9.0], [0.05, 5.0]]},
            "random": {"sampler": "random", "minutes": 12, "proposals": 90, "complete": 20, "points": [[0.04, 9.0], [0.06, 6.0]]},
        },
        "seconds": {"our run": 2000.0, "ours: search": 720.0},
        **changes,
    }  # fmt: skip


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
    assert (matched.verdict, matched.note) == ("yes", "faster: yes; no worse: yes")
    half = claims["against the reference pruned by half, batch 1"]
    assert (half.verdict, half.note) == ("no", "faster: yes; no worse: no")
    assert claims["against random search with the same minutes, batch 1"].verdict == "–"
    two = Family.of("gan", [PieceRecord.model_validate(a_piece(seed, one=one)) for seed, one in ((0, 0.04), (1, 0.11))])
    slow = {claim.what: claim for claim in claims_of(two)}
    assert slow["speed-up over the reference's fastest own file, batch 1, 1 thread"].verdict == "open"  # 25 and 9.1


def test_quality_outside_the_budget_is_no():
    bad = Family.of("gan", [PieceRecord.model_validate(a_piece(0, fid=5.5))])
    claim = next(claim for claim in claims_of(bad) if claim.what.startswith("FID"))
    assert (claim.verdict, claim.note) == ("no", "inside in 0 of 1 seeds; aim: no")


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
        ({"machine": {**a_piece()["machine"], "cpu": "Another"}}, "cpu"),
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


def test_names_of_pieces():
    assert Piece.parse("cgan-2", Proof()).name == "cgan-2"
    for name in ("gan", "gan-x", "vae-0", "gan--1"):
        with pytest.raises(ProofError, match="such as gan-0"):
            Piece.parse(name, Proof())


def test_a_command_repeats_what_was_asked():
    proof = Proof(runs=Path("elsewhere"), overrides=("search.trials=9",), processes=3)
    assert Piece("gan", 1, proof).command("time") == (
        "python -m examples.studies.proof --runs elsewhere --processes 3 --set search.trials=9 time gan 1"
    )
    assert Piece("gan", 1).command("piece") == "python -m examples.studies.proof piece gan 1"

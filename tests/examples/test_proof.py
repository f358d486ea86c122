"""The proof: rivals that are what they say, and a whole piece of a tiny experiment."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from benchmarks.inputs import InputSpec, draw_inputs
from benchmarks.runtimes.onnx import generate
from compress.export import export_onnx
from compress.generator import Generator
from examples.studies.proof.layout import Piece, Proof, ProofError
from examples.studies.proof.matching import match
from examples.studies.proof.pruned import prune_alone
from examples.studies.proof.quantized import quantize_alone
from examples.studies.proof.records import read_piece
from nas.folder import RunFolder

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


TINY = """\
data: {name: mnist-5k, limit: 600}
family: {name: FAMILY, discriminator_width: 16}
space: SPACE
reference: {steps: 60, observer: 20, evaluations: 3, width: 32}
quality: {budget: "fid<=+100000", samples: 400}
search: {trials: 2, minutes: 0.3, rungs: [20, 60], finalists: 1,
         final_distill: 40, final_features: 10, final_adversarial: 10, final_match: 10}
target: {min_speedup: 1.5}
compress: {recover: 10}
export: {tensorrt: false}
"""
CONTENDERS = {"reference", "ours", "narrowed", "pruned-matched", "pruned-half", "quantized", "random"}


@pytest.fixture
def proof(tmp_path, short, cache) -> Callable[..., str]:
    """Calls the program in an empty folder, with the experiment ``TINY`` of a family, in which words are replaced."""
    program = f"{short}\nif __name__ == '__main__':\n    from examples.studies.proof.__main__ import main\n    main()\n"
    (tmp_path / "proof.py").write_text(program)
    options = ["--experiments", ".", "--runs", "runs", "--results", "results", "--processes", "2", "--seconds", "0.2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "LEANGEN_CACHE": str(cache)}

    def call(*words: str) -> str:
        command = [sys.executable, "proof.py", *options, *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
        return done.stdout

    return call


@pytest.mark.slow
def test_a_piece_whose_searches_find_nothing_is_a_no_in_the_table(proof, tmp_path):
    """No network is a thousand times as fast: both runs say no, and the piece is finished all the same."""
    tiny = TINY.replace("FAMILY", "gan").replace("SPACE", "decoder").replace("min_speedup: 1.5", "min_speedup: 1000")
    (tmp_path / "proof-gan.yaml").write_text(tiny)
    proof("piece", "gan", "0")
    record = read_piece(tmp_path / "results" / "gan-0.json")
    assert {who for who, one in record.contenders.items() if one.files} == {"reference", "quantized"}
    for who in ("ours", "random"):
        assert "missed: target.min_speedup" in record.contenders[who].note
        assert record.searches[who].points == ()
    proof("table")
    page = (tmp_path / "results.md").read_text()
    assert "of 6 pieces gan-1, " in page
    assert "**ours** (nothing in gan-0) | no | no" in page


@pytest.mark.slow
@pytest.mark.parametrize(("family", "space"), [("gan", "decoder"), ("cgan", "class_decoder")])
def test_a_whole_piece(family, space, tmp_path, proof):
    """Everything that a piece consists of, and the table of it; done a second time, only the timings are new."""
    (tmp_path / f"proof-{family}.yaml").write_text(TINY.replace("FAMILY", family).replace("SPACE", space))
    proof("piece", family, "3")
    record = read_piece(tmp_path / "results" / f"{family}-3.json")
    assert (record.family, record.seed, record.batches) == (family, 3, ["1", "32"])
    assert set(record.contenders) == CONTENDERS
    assert {who for who, one in record.contenders.items() if not one.files} == set()
    assert all(len(file.latency["1"].ratios) == 2 for one in record.contenders.values() for file in one.files.values())
    fastest = min(file.latency["1"].ratio for file in record.contenders["reference"].files.values())
    assert fastest == pytest.approx(1.0)  # the reference's fastest file is the measure of everything
    assert record.contenders["pruned-half"].training["stretched"] >= 1
    assert record.contenders["pruned-half"].how["widths"] == [64, 32, 16]
    assert len(record.ours.class_accuracy) == (10 if family == "cgan" else 0)
    assert record.searches["random"].sampler == "random"

    ours, other = (RunFolder(tmp_path / "runs" / name) for name in (f"{family}-3", f"{family}-3-random"))
    assert ours.record("reference") == other.record("reference")
    assert (ours.path / "reference/bank.npy").samefile(other.path / "reference/bank.npy")

    judged = tmp_path / "runs" / f"{family}-3-rivals" / "judged.json"
    before = json.loads(judged.read_text())
    assert "scores" not in proof("piece", family, "3")
    assert json.loads(judged.read_text()) == before
    assert "written" in proof("table")
    assert f"## {family}: seed 3" in (tmp_path / "results.md").read_text()

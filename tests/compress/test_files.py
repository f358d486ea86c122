import numpy as np
import onnx
import pytest

from benchmarks.runtimes.onnx import generate, optimised_operators
from compress import files
from compress.errors import CompressError
from compress.export import Parity, export_onnx
from compress.files import prove, write_files
from compress.onnx_generator import OnnxGenerator
from compress.quantize import computing_nodes
from compress.quantize_settings import QuantizeSettings

OPTIONS = {"opset": 20, "calibration_seed": (0, 7), "metadata": {"told": "1"}}


def test_without_a_quantization_there_is_one_file(low16, tmp_path, latents):
    found = write_files(low16, tmp_path / "export", **OPTIONS)
    assert list(found) == ["fp32"]
    assert prove(low16, found, latents)["fp32"].max_abs < 1e-5
    assert {entry.key for entry in onnx.load(found["fp32"]).metadata_props} >= {"told", "leangen.id", "leangen.inputs"}
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["model.onnx"]


def test_the_last_edit_is_done_again(dcgan16, tmp_path, latents):
    """Unfolded and per channel, as the edit says."""
    generator = dcgan16.with_edit(QuantizeSettings(True, unfold=True).edit((0, 7), 64))
    found = write_files(generator, tmp_path, **OPTIONS)
    assert optimised_operators(found["int8"])["QLinearConv", "uint8"] == 3
    assert prove(generator, found, latents)["int8"].psnr_db > 25


def test_nodes_that_stay_float_keep_their_names(low16, low16_file, tmp_path):
    """They are those of the steps' exporter."""
    *_, last = computing_nodes(low16_file, QuantizeSettings())
    generator = low16.with_edit(QuantizeSettings(exclude=(last,)).edit((0, 7), 64))
    found = write_files(generator, tmp_path, **OPTIONS)
    operators = optimised_operators(found["int8"])
    assert sum(count for (kind, dtype), count in operators.items() if "Conv" in kind and dtype == "float32") == 1


def test_of_two_exporters_the_smaller_graph_is_kept(low16, tmp_path, monkeypatch):
    sizes = {"model.onnx": 3}
    monkeypatch.setattr(files, "_nodes", lambda path: sizes["model.onnx"] if path.parent == tmp_path else 4)
    write_files(low16, tmp_path, **OPTIONS)
    fast = (tmp_path / "model.onnx").read_bytes()
    sizes["model.onnx"] = 4
    write_files(low16, tmp_path, **OPTIONS)
    export_onnx(low16, tmp_path / "fast.onnx", metadata=OPTIONS["metadata"])
    assert fast == (tmp_path / "fast.onnx").read_bytes()
    assert (tmp_path / "model.onnx").read_bytes() != fast


def test_a_bare_file_is_proved_against_itself(low16_file, tmp_path, latents):
    generator = OnnxGenerator.load(low16_file).with_edit(QuantizeSettings().edit((0, 7), 64))
    found = write_files(generator, tmp_path / "export", **OPTIONS)
    proofs = prove(generator, found, latents)
    assert proofs["fp32"].max_abs == 0
    assert 0 < proofs["int8"].max_abs < 0.5
    np.testing.assert_array_equal(generate(found["fp32"], latents), generate(low16_file, latents))


@pytest.mark.parametrize("max_abs", [0.0011, float("nan")])
def test_a_float_file_that_draws_something_else_is_not_shipped(low16, low16_file, latents, monkeypatch, max_abs):
    monkeypatch.setattr(files, "compare_images", lambda *_: Parity(max_abs, 20.0, 64, 7))
    with pytest.raises(CompressError, match=r"does not draw what it was made from.*latent 7"):
        prove(low16, {"fp32": low16_file}, latents)
    assert prove(low16, {"int8": low16_file}, latents)["int8"].worst == 7

import json
import os
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from torch import nn

from benchmarks.inputs import InputSpec
from compress import generator as module_under_test
from compress.errors import CompressError
from compress.generator import EDITS, Edit, Generator, Origin, generator_id
from search_spaces.space import ImageShape

Z = (InputSpec("z", (16,), "float32", {"kind": "normal"}),)
GENOTYPE = {
    "body": "conv", "rank": 0, "mapping": 0, "start": 8, "width": 16, "last": "shuffle4", "last_kernel": 3,
    "blocks": 1, "block": "plain", "kernel": 3,
    "norm": "batch", "activation": "relu", "output": "tanh",
}  # fmt: skip
KEEP_HALF = Edit("prune", {"kept": {"layers.0": list(range(0, 16, 2))}})
QUANTIZE = Edit(
    "quantize",
    {"target": "onnxruntime", "per_channel": False, "calibration_seed": 1, "calibration_rows": 64, "exclude": []},
)


@pytest.fixture
def low16():
    torch.manual_seed(0)
    return Generator.from_genotype("decoder", GENOTYPE, Z, ImageShape(1, 32, 32))


def draw(generator):
    with torch.inference_mode():
        return generator.module.eval()(z=torch.linspace(-1, 1, 32).reshape(2, 16))


@pytest.fixture
def saved(low16, tmp_path):
    low16.with_edit(KEEP_HALF).save(tmp_path)
    return tmp_path


def test_the_id_is_a_hash_of_origin_and_edits_only(low16):
    twin = Generator.from_genotype("decoder", dict(reversed(GENOTYPE.items())), Z, ImageShape(1, 32, 32))
    assert low16.id == twin.id
    assert len(low16.id) == 12
    assert int(low16.id, 16) >= 0
    assert low16.with_edit(KEEP_HALF).id != low16.id
    other = Generator.from_genotype("decoder", GENOTYPE, Z, ImageShape(3, 32, 32))
    assert other.id != low16.id


def test_the_id_is_the_documented_hash():
    import hashlib

    sha = "0" * 64
    text = '[{"kind":"onnx","sha256":"' + sha + '"},[]]'
    assert generator_id(Origin.of_onnx(sha), ()) == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_save_and_load_draw_the_same_images(saved, low16):
    pruned = low16.with_edit(KEEP_HALF)
    loaded = Generator.load(saved)
    assert loaded.id == pruned.id
    assert loaded.inputs == Z
    assert torch.equal(draw(loaded), draw(pruned))
    assert {p.name for p in saved.iterdir()} == {"origin.json", "edits.json", "weights.safetensors"}


def test_loading_leaves_the_random_state_alone(saved):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Generator.load(saved)
    assert torch.equal(torch.rand(1), expected)


def test_an_edit_changes_a_copy(low16):
    before = draw(low16)
    pruned = low16.with_edit(KEEP_HALF)
    assert torch.equal(draw(low16), before)
    assert low16.edits == ()
    assert [group.size for group in pruned.module.channel_groups()] == [8, 16]


def test_build_replays_the_edits_with_new_weights(low16):
    pruned = low16.with_edit(KEEP_HALF)
    built = pruned.build()
    assert {k: v.shape for k, v in built.state_dict().items()} == {
        k: v.shape for k, v in pruned.module.state_dict().items()
    }
    assert not torch.equal(built.state_dict()["layers.0.main.weight"], pruned.module.layers[0].main.weight)


def test_quantization_is_the_last_edit(low16, tmp_path):
    quantized = low16.with_edit(QUANTIZE)
    with pytest.raises(CompressError, match="last edit"):
        quantized.with_edit(KEEP_HALF)
    quantized.save(tmp_path)
    assert Generator.load(tmp_path).edits == (QUANTIZE,)


@pytest.mark.parametrize("change", [{"per_channel": 1}, {"exclude": None}, {"more": 1}])
def test_quantize_settings_are_checked(low16, change):
    with pytest.raises(CompressError, match="quantize"):
        low16.with_edit(Edit("quantize", dict(QUANTIZE.settings) | change))


def test_further_kinds_register_in_one_dict(low16, monkeypatch, tmp_path):
    def double_bias(module, settings):
        module.extra = nn.Parameter(torch.zeros(settings["n"]))
        return module

    monkeypatch.setitem(EDITS, "widen", double_bias)
    low16.with_edit(Edit("widen", {"n": 3})).save(tmp_path)
    assert Generator.load(tmp_path).module.extra.shape == (3,)


# Factories


def test_a_factory_of_our_spaces_needs_no_trust(tmp_path):
    arguments = {"widths": (32, 16, 8), "image": [1, 32, 32]}
    made = Generator.from_factory("search_spaces.decoder:dcgan", arguments, Z)
    made.save(tmp_path)
    loaded = Generator.load(tmp_path)
    assert torch.equal(draw(loaded), draw(made))
    assert loaded.origin.arguments == {"widths": [32, 16, 8], "image": [1, 32, 32]}  # plain JSON
    assert loaded.id == made.id


STRANGER = """
import torch
print("imported")
class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = torch.nn.Linear(16, width * width)
        self.tied = torch.nn.Linear(16, width * width)
        self.tied.weight = self.layer.weight
        self.width = width
    def forward(self, z):
        return torch.tanh(self.layer(z) + self.tied(z)).reshape(-1, 1, self.width, self.width)
"""


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    (tmp_path / "strangers_module.py").write_text(STRANGER)
    monkeypatch.syspath_prepend(tmp_path)
    yield "strangers_module:Net"
    sys.modules.pop("strangers_module", None)


def test_a_strangers_factory_is_imported_only_on_trust(stranger, tmp_path, capsys):
    with pytest.raises(CompressError, match="--trust-code"):
        Generator.from_factory(stranger, {"width": 8}, Z)
    assert "strangers_module" not in sys.modules
    made = Generator.from_factory(stranger, {"width": 8}, Z, trust_code=True)
    made.save(tmp_path / "g")  # its two layers share one weight
    sys.modules.pop("strangers_module")
    with pytest.raises(CompressError, match=r"origin\.json.*--trust-code"):
        Generator.load(tmp_path / "g")
    assert "strangers_module" not in sys.modules
    assert torch.equal(draw(Generator.load(tmp_path / "g", trust_code=True)), draw(made))
    assert capsys.readouterr().out == "imported\n" * 2


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("search_spaces.decoder:Sequence", "not a function defined in"),
        ("search_spaces.decoder:nothing", "cannot be imported"),
        ("search_spaces.nothing:dcgan", "cannot be imported"),
        ("search_spaces.space:genotype_id", "refused its arguments"),
        ("search_spaces:spaces", "returned dict"),
        ("search_spaces.decoder:dcgan.__globals__", "package.module:function"),
        ("../search_spaces:dcgan", "package.module:function"),
        ("os:system", "--trust-code"),
        ("search_spaces_evil:run", "--trust-code"),
        ("benchmarks.files:write_text", "--trust-code"),
        ("compress.generator:Generator", "--trust-code"),
    ],
)
def test_factories_that_are_none(factory, says):
    with pytest.raises(CompressError, match=says):
        Generator.from_factory(factory, {}, Z)


def test_an_onnx_origin_has_no_module():
    origin = Origin.of_onnx("ab" * 32)
    assert Origin.from_json(origin.to_json()) == origin
    with pytest.raises(CompressError, match="no module"):
        origin.build()
    with pytest.raises(CompressError, match="64 hex"):
        Origin.of_onnx("../../etc/passwd")


# Hostile folders


def rewrite(path, change):
    data = json.loads(path.read_text())
    path.write_text(json.dumps(change(data)))


def refused(folder, *says):
    with pytest.raises(CompressError) as caught:
        Generator.load(folder)
    for part in says:
        assert part in str(caught.value), str(caught.value)
    assert str(caught.value).count(str(folder)) == 1  # the file is named, once


@pytest.mark.parametrize("name", ["origin.json", "edits.json", "weights.safetensors"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    refused(saved, name)


@pytest.mark.parametrize("name", ["origin.json", "edits.json"])
@pytest.mark.parametrize("content", ["{", "[" * 100_000, "null", "NaN", '"x"', "1" * 5000, "\udcff"])
def test_bad_json_is_refused(saved, name, content):
    (saved / name).write_bytes(content.encode(errors="surrogateescape"))
    refused(saved, name)


def test_large_json_is_refused(saved):
    (saved / "origin.json").write_text('"' + "x" * module_under_test.MAX_ORIGIN_BYTES + '"')
    refused(saved, "origin.json", "larger")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "pickle"},
        {"kind": ["genotype"]},
        {"space": "nothing"},
        {"space": ["decoder"]},
        {"genotype": {"body": "conv"}},
        {"genotype": []},
        {"image": {"channels": 1, "height": 10**9, "width": 32}},
        {"image": "big"},
        {"inputs": []},
        {"inputs": {}},
        {"inputs": [{"name": "z"}]},
        {"surplus": 1},
    ],
)
def test_a_hostile_origin_is_refused(saved, change):
    rewrite(saved / "origin.json", lambda origin: origin | change)
    refused(saved, "origin.json")


def test_sizes_in_the_json_allocate_nothing_that_the_weights_lack(saved):
    """8,192 latents into 256 x 64 features would be half a gigabyte; the file has kilobytes."""
    huge = {"name": "z", "shape": [8192], "dtype": "float32", "prior": {"kind": "normal"}}
    rewrite(saved / "origin.json", lambda o: o | {"inputs": [huge], "genotype": GENOTYPE | {"width": 256}})
    (saved / "edits.json").write_text("[]")
    refused(saved, "weights.safetensors", "must be F32")


@pytest.mark.parametrize(
    "edits",
    [
        {},
        [[]],
        [{"kind": "exec", "settings": {}}],
        [{"kind": ["prune"], "settings": {}}],
        [{"kind": "prune", "settings": []}],
        [{"kind": "prune", "settings": {"kept": []}}],
        [{"kind": "prune", "settings": {"kept": {"layers.0": "0123"}}}],
        [{"kind": "prune", "settings": {"kept": {"layers.0": [-1]}}}],
        [{"kind": "prune", "settings": {"kept": {"layers.0": [0, 0]}}}],
        [{"kind": "prune", "settings": {"kept": {"layers.0": [True]}}}],
        [{"kind": "prune", "settings": {"kept": {"layers.0": [10**30]}}}],
        [{"kind": "prune", "settings": {"kept": {"layers.0": []}}}],
        [{"kind": "prune", "settings": {"kept": {"layers.0": [0.5]}}}],
        [{"kind": "prune", "settings": {"kept": {"../../x": [0]}}}],
        [{"kind": "prune", "settings": {"kept": {"layers.0": list(range(1_000_000))}}}],
        [QUANTIZE.to_json(), QUANTIZE.to_json()],
        [{"kind": "prune", "settings": {"kept": {}}}] * 1000,
    ],
    ids=lambda edits: json.dumps(edits)[:60],
)
def test_hostile_edits_are_refused(saved, edits):
    (saved / "edits.json").write_text(json.dumps(edits))
    refused(saved, "edits.json")


def weights(saved):
    return safetensors.torch.load_file(saved / "weights.safetensors")


def test_a_missing_tensor_is_named(saved):
    state = weights(saved)
    del state["layers.1.main.weight"]
    safetensors.torch.save_file(state, saved / "weights.safetensors")
    refused(saved, "weights.safetensors", "layers.1.main.weight", "Restore")


def test_wrong_tensors_are_named(saved):
    original = weights(saved)
    for change, says in [
        ({"layers.1.main.weight": original["layers.1.main.weight"].half()}, "F16"),
        ({"layers.1.main.weight": original["layers.1.main.weight"][:1].clone()}, "(1, 8, 3, 3)"),
        ({"surplus": torch.zeros(1)}, "'surplus'"),
    ]:
        safetensors.torch.save_file(original | change, saved / "weights.safetensors")
        refused(saved, "weights.safetensors", says)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\x80\x04K*.", b"\xff" * 8 + b"{}"])
def test_files_that_are_no_safetensors(saved, content):
    (saved / "weights.safetensors").write_bytes(content)
    refused(saved, "weights.safetensors", "not a readable safetensors file")


def test_a_cut_file_is_refused(saved):
    path = saved / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refused(saved, "weights.safetensors")


@pytest.mark.parametrize("name", ["origin.json", "weights.safetensors"])
def test_a_link_out_of_the_folder_is_refused(saved, tmp_path_factory, name):
    outside = tmp_path_factory.mktemp("outside") / name
    os.replace(saved / name, outside)
    (saved / name).symlink_to(outside)
    with pytest.raises(CompressError, match="inside"):
        Generator.load(saved)


def test_errors_and_quality_need_no_torch():
    program = "import sys, compress.quality, compress.steps; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


GROUP = {"name": "a", "size": 8, "slices": [{"module": "layers.0.main", "axis": "out", "repeat": 1}]}
SLICE = GROUP["slices"][0]


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        (None, "groups must be a list"),
        ([[]], "A group is an object"),
        ([GROUP | {"more": 1}], "A group is an object"),
        ([GROUP] * 2, "each of its own name"),
        ([GROUP] * 5000, "at most 4096 groups"),
        ([GROUP | {"slices": []}], "1 to 4096 slices"),
        ([GROUP | {"slices": [SLICE] * 5000}], "1 to 4096 slices"),
        ([GROUP | {"size": True}], "size must be a whole number"),
        ([GROUP | {"size": 10**9}], "size must be a whole number"),
        ([GROUP | {"size": 0}], "size must be a whole number"),
        ([GROUP | {"name": ["a"]}], "name must be a text"),
        ([GROUP | {"slices": [SLICE | {"axis": ["out"]}]}], "A slice is an object"),
        ([GROUP | {"slices": [SLICE | {"repeat": 0}]}], "repeat must be a whole number"),
        ([GROUP | {"slices": [SLICE | {"offset": -1}]}], "offset must be a whole number"),
        ([GROUP | {"slices": [SLICE | {"offset": None}]}], "offset must be a whole number"),
        ([GROUP | {"slices": [SLICE | {"offset": 2**24, "repeat": 2**24}]}], "found"),
        ([GROUP | {"slices": [SLICE | {"module": "no.such"}]}], "which is not there"),
        ([GROUP | {"slices": [SLICE | {"module": "__class__"}]}], "which is not there"),
    ],
)
def test_hostile_groups_are_refused(low16, tmp_path, groups, says):
    low16.save(tmp_path)
    edit = {"kind": "prune", "settings": {"kept": {"a": [0]}, "groups": groups}}
    (tmp_path / "edits.json").write_text(json.dumps([edit]))
    with pytest.raises(CompressError, match=says):
        Generator.load(tmp_path)

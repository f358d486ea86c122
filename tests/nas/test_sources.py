import sys
import types

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from benchmarks.inputs import InputError, InputSpec
from compress.errors import CompressError
from compress.generator import Generator
from nas.errors import NasError
from nas.sources import Source, own_metric, parse_input, quality_functions

Z = InputSpec("z", (3,), "float32", {"kind": "normal"})


@pytest.fixture
def code(monkeypatch):
    """A stranger's module, ``shop``: a generator, and functions that judge."""
    module = types.ModuleType("shop")
    module.make = lambda: nn.Sequential(nn.Linear(3, 16), nn.Unflatten(1, (1, 4, 4)))
    module.number = 3

    def sharp(pictures):
        return float(np.abs(pictures).mean())

    def undecided(pictures):
        return 0.0

    def other(pictures):
        return 1.0

    sharp.direction = "higher"
    sharp.metric = "crispness"
    other.metric = "fid"
    module.sharp, module.undecided, module.other = sharp, undecided, other
    monkeypatch.setitem(sys.modules, "shop", module)
    return module


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("z:Nx100", InputSpec("z", (100,), "float32", {"kind": "normal"})),
        ("noise:Nx8x4x4", InputSpec("noise", (8, 4, 4), "float32", {"kind": "normal"})),
        ("y:N:int64:0..9", InputSpec("y", (), "int64", {"kind": "integers", "low": 0, "high": 9})),
        ("t:N:float32:0..1", InputSpec("t", (), "float32", {"kind": "uniform", "low": 0.0, "high": 1.0})),
        ("t:Nx2:-1.5..1.5", InputSpec("t", (2,), "float32", {"kind": "uniform", "low": -1.5, "high": 1.5})),
    ],
)
def test_inputs_as_they_are_typed(text, spec):
    assert parse_input(text) == spec


@pytest.mark.parametrize("text", ["z", "z:100", "z:Nx", "y:N:int64", "y:N:int64:0..x", "y:N:int64:0..1.5", "z:Nx3:0.."])
def test_wrong_inputs_show_how_they_are_written(text):
    with pytest.raises(NasError, match=r"--inputs .*0\.\.9"):
        parse_input(text)


def test_an_input_that_cannot_be_drawn_is_refused():
    with pytest.raises(InputError, match="low <= high"):
        parse_input("y:N:int64:9..0")
    with pytest.raises(InputError, match="dtype must be one of"):
        parse_input("y:N:float8")


def test_a_module_gets_its_weights(code, tmp_path):
    torch.manual_seed(0)
    trained = code.make()
    safetensors.torch.save_file(trained.state_dict(), tmp_path / "w.safetensors")
    generator = Source("shop:make", tmp_path / "w.safetensors", (Z,)).load()
    assert isinstance(generator, Generator)
    torch.testing.assert_close(dict(generator.module.state_dict()), dict(trained.state_dict()))


def test_options_that_do_not_fit_are_refused(code, tmp_path):
    with pytest.raises(NasError, match="say what shop:make takes with --inputs"):
        Source("shop:make").load()
    with pytest.raises(NasError, match="belong to a module"):
        Source("model.onnx", tmp_path / "w.safetensors").load()
    with pytest.raises(CompressError, match=r"w\.safetensors"):
        Source("shop:make", tmp_path / "w.safetensors", (Z,)).load()
    safetensors.torch.save_file({"0.weight": torch.zeros(2, 3), "0.bias": torch.zeros(16)}, tmp_path / "w.safetensors")
    with pytest.raises(CompressError, match=r"w\.safetensors: The tensor '0\.weight' must be F32 \(16, 3\)"):
        Source("shop:make", tmp_path / "w.safetensors", (Z,)).load()


def test_a_function_says_what_it_measures_and_which_way(code):
    found = own_metric("shop:sharp")
    assert (found.metric.name, found.metric.direction) == ("crispness", "higher")
    assert own_metric("shop:other").metric.direction == "lower"
    assert list(quality_functions(["shop:sharp", "shop:other"])) == ["crispness", "fid"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("shop:undecided", r"undecided.direction = 'lower'"),
        ("shop:number", "must be a function"),
        ("shop:nothing", "cannot be imported"),
        ("no_such_shop:sharp", "cannot be imported"),
        ("sharp", "package.module:function"),
    ],
)
def test_functions_that_cannot_judge_are_refused(code, text, says):
    with pytest.raises(NasError, match=says):
        own_metric(text)


def test_two_functions_of_one_metric_are_refused(code):
    with pytest.raises(NasError, match="two functions measure fid"):
        quality_functions(["shop:other", "shop:other"])

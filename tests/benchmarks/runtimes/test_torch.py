import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra leangen[full] is not installed")

from benchmarks.records import BackendMissing, BenchmarkError  # noqa: E402  after the skip
from benchmarks.runtimes.base import Runner  # noqa: E402
from benchmarks.runtimes.torch import TorchRunner  # noqa: E402


class Doubler(torch.nn.Module):
    """Drops in training; tells its thread count."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = torch.nn.Dropout(0.999)
        self.threads = None
        self.result = lambda x: x

    def forward(self, z, label):
        self.threads = torch.get_num_threads()
        assert torch.is_inference_mode_enabled()
        return self.result(self.dropout(2 * z) + label[:, None])


class Simple(torch.nn.Module):
    def forward(self, z):
        return 2 * z + 1


INPUTS = {"label": np.array([0, 1]), "z": np.ones((2, 3), np.float32)}


def test_runs_in_eval_mode_by_name():
    runner = TorchRunner(Doubler(), INPUTS)
    assert isinstance(runner, Runner)
    assert "torch" in runner.name
    assert runner.outputs()["output"].tolist() == [[2.0] * 3, [3.0] * 3]


def test_threads_are_set_for_the_call_only():
    before = torch.get_num_threads()
    module = Doubler()
    TorchRunner(module, INPUTS, threads=before + 1).run()
    assert module.threads == before + 1
    assert torch.get_num_threads() == before


def test_the_callers_array_may_change():
    mine = INPUTS["z"].copy()
    runner = TorchRunner(Doubler(), {**INPUTS, "z": mine})
    mine[:] = 9
    assert runner.outputs()["output"][0, 0] == 2


def test_several_outputs():
    module = Doubler()
    module.result = lambda x: (x, x + 1)
    assert list(TorchRunner(module, INPUTS).outputs()) == ["output0", "output1"]
    module.result = lambda x: {"image": x}
    assert list(TorchRunner(module, INPUTS).outputs()) == ["image"]


@pytest.mark.parametrize("inputs", [{"x": INPUTS["z"]}, {**INPUTS, "label": np.zeros(5)}])
def test_inputs_that_do_not_fit_are_explained(inputs):
    with pytest.raises(BenchmarkError, match="Doubler does not run on the inputs"):
        TorchRunner(Doubler(), inputs)


def test_a_device_that_is_not_there():
    with pytest.raises(BenchmarkError, match="tpu"):
        TorchRunner(Doubler(), INPUTS, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(BackendMissing, match="install a CUDA build of torch"):
            TorchRunner(Doubler(), INPUTS, device="cuda")
    with pytest.raises(BenchmarkError, match="threads must be at least 1"):
        TorchRunner(Doubler(), INPUTS, threads=0)


def test_outputs_are_copies():
    """Also of a module that returns what it was given."""
    module = Doubler()
    module.result = lambda x: module.kept
    module.kept = torch.ones(2)
    runner = TorchRunner(module, INPUTS)
    runner.outputs()["output"][:] = 0
    assert runner.outputs()["output"].tolist() == [1, 1]


@pytest.mark.skipif(sys.platform == "win32", reason="cl is found without PATH")
def test_without_a_compiler_the_remedy_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BackendMissing, match=r"no no-such-compiler: apt install g\+\+"):
        TorchRunner(Doubler(), INPUTS, compiled=True)


@pytest.mark.slow
def test_it_is_compiled_before_it_is_timed_and_as_a_whole():
    class Broken(torch.nn.Module):
        def forward(self, z):
            return z + 1 if z.sum().item() > 0 else z  # its way depends on data

    runner = TorchRunner(Simple(), {"z": INPUTS["z"]}, compiled=True)
    with torch.compiler.set_stance("fail_on_recompile"):
        assert torch.equal(runner.run(), 2 * torch.ones(2, 3) + 1)
    with pytest.raises(BenchmarkError, match=r"torch\.compile cannot compile Broken"):
        TorchRunner(Broken(), {"z": INPUTS["z"]}, compiled=True)

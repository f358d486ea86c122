"""A generator of the user's own as the reference: what is accepted, what is refused and how, and what it leaves."""

import json
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.inputs import InputSpec
from nas.context import Context
from nas.errors import NasError
from nas.experiment import Experiment, ExperimentError
from nas.families.base import Phase
from nas.folder import FolderError, RunFolder
from nas.own_reference import own_reference
from nas.progress import Silent
from nas.reference import train_reference
from nas.stages import plan

CODE = """
import torch
from torch import nn

imported = True

class Mine(nn.Module):
    def __init__(self, side=16, scale=1.0, noisy=False, dead=False, baked=False):
        super().__init__()
        self.side, self.scale, self.noisy, self.dead, self.baked = side, scale, noisy, dead, baked
        self.body = nn.Linear(6, side * side)

    def forward(self, noise):
        if self.dead:
            noise = noise * 0
        maps = torch.tanh(self.body(noise)).reshape(len(noise), 1, self.side, self.side) * self.scale
        maps = torch.stack([one for one in maps]) if self.baked else maps
        return maps + 0.001 * torch.randn_like(maps) if self.noisy else maps

def make(**arguments):
    return Mine(**arguments)

def broken():
    raise RuntimeError("no such thing")
"""

YAML = """\
data: {{folder: pictures, size: 16, channels: 1}}
family: {{name: gan, batch_size: 8, discriminator_width: 8}}
reference:
  module: {module}
  arguments: {arguments}
  weights: w.safetensors
  inputs: [{{name: noise, shape: [6]}}]
  steps: 3
quality: {{samples: 60, budget: "fid<=+10"}}
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with pictures, code and weights, in which a user works."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, shade in (("dark", 40), ("light", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(120):
            pixels = np.clip(rng.normal(shade, 30, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{index}.png")
    (tmp_path / "mine.py").write_text(textwrap.dedent(CODE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("mine", None)


def weights(home, side=16, **others):
    rng = torch.Generator().manual_seed(0)
    shapes = {"body.weight": (side * side, 6), "body.bias": (side * side,)}
    save_file({**{k: torch.randn(v, generator=rng) for k, v in shapes.items()}, **others}, home / "w.safetensors")


def context_of(home, module="mine:make", arguments="{}", trust_code=True):
    (home / "e.yaml").write_text(YAML.format(module=module, arguments=arguments))
    experiment = Experiment.load(home / "e.yaml")
    return Context.build(experiment, RunFolder.create(home / "run", experiment), trust_code=trust_code)


def test_untrusted_code_is_not_even_imported(home):
    weights(home)
    with pytest.raises(ExperimentError, match=r"(?s)line 4.*mine:make is code that would be imported.*--trust-code"):
        own_reference(context_of(home, trust_code=False))
    assert "mine" not in sys.modules


def test_ones_own_generator_becomes_the_reference(home):
    weights(home)
    context = context_of(home)
    assert context.family.inputs == (InputSpec("noise", (6,), "float32", {"kind": "normal"}),)
    generator = own_reference(context)
    record = train_reference(context, Silent())
    assert (record["own"], record["plateau"], len(record["curve"])) == (True, None, 1)
    assert record["id"] == generator.id
    saved = {p.name for p in (home / "run" / "reference").iterdir()}
    assert saved >= {"origin.json", "weights.safetensors", "discriminator.safetensors", "bank.npy", "model.onnx"}
    again = context.teacher
    drawn = generator.module(torch.from_numpy(again.bank.inputs["noise"][:4])).detach().numpy()
    assert np.abs(drawn - again.bank.pictures[:4]).max() < 2e-3, "the bank holds what the user's module draws"


def test_other_weights_under_the_same_name_are_not_taken_for_the_old_ones(home):
    weights(home)
    context = context_of(home)
    train_reference(context, Silent())
    assert train_reference(context, Silent())["own"], "the same weights are no other ones"
    weights(home, **{"body.bias": torch.ones(16 * 16)})
    with pytest.raises(FolderError, match=r"w\.safetensors is another file.*--fresh"):
        train_reference(context, Silent())
    (home / "run" / "reference" / "record.json").unlink()  # as a run that was cut before its reference was finished
    with pytest.raises(FolderError, match="another file"):
        train_reference(context, Silent())


def test_changed_code_under_the_same_name_is_not_taken_for_the_old_one(home):
    weights(home)
    context = context_of(home)
    train_reference(context, Silent())
    (home / "mine.py").write_text(textwrap.dedent(CODE).replace("torch.tanh(", "0.5 * torch.tanh("))
    message = r"reference\.module mine:make: .*mine\.py is another file than the one.*--out.*--fresh"
    with pytest.raises(FolderError, match=message):
        train_reference(context, Silent())
    (home / "run" / "reference" / "record.json").unlink()  # as a run that was cut before its reference was finished
    with pytest.raises(FolderError, match=r"mine\.py is another file"):
        train_reference(context, Silent())


def test_a_reference_of_before_code_was_hashed_is_still_known(home):
    weights(home)
    context = context_of(home)
    train_reference(context, Silent())
    own = home / "run" / "reference" / "own.json"
    kept = json.loads(own.read_text())
    assert set(kept) == {"weights", "code"}
    own.write_text(json.dumps({"weights": kept["weights"]}))
    assert train_reference(context, Silent())["own"]


def test_the_plan_knows_how_many_classes_a_conditional_one_has(home):
    label = "{name: label, shape: [], dtype: int64, prior: {kind: integers, low: 0, high: 1}}"
    text = YAML.format(module="mine:make", arguments="{}").replace("name: gan", "name: cgan")
    (home / "e.yaml").write_text(text.replace("[{name: noise", f"[{label}, {{name: noise") + "space: class_decoder\n")
    assert {row["stage"] for row in plan(Experiment.load(home / "e.yaml"))} >= {"reference", "search"}
    assert "mine" not in sys.modules, "a plan runs nobody's code"


def test_its_students_can_be_distilled_and_tuned(home):
    weights(home)
    context = context_of(home)
    train_reference(context, Silent())
    student = context.family.narrowed(0.1, 0)
    schedule = (Phase("distill", 3), Phase("finetune", 3))
    trainer = context.family.trainer(student.module, schedule, data=context.data, teacher=context.teacher, seed=0)
    trainer.run(6)
    assert trainer.step == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{side: 8}", r"(?s)does not fit reference\.module.*size mismatch"),
        ("{scale: 2.0}", r"values in \[-1, 1\].*tanh"),
        ("{noisy: true}", "other pictures from the same inputs"),
        ("{dead: true}", "the same picture from every input"),
        ("{sides: 8}", r"(?s)line 4.*sides"),
        ("{baked: true}", r"(?s)any number of pictures.*loop over rows"),
    ],
)
def test_what_draws_wrongly_is_refused(home, arguments, message):
    weights(home)
    with pytest.raises(NasError, match=message):
        own_reference(context_of(home, arguments=arguments))


def test_pictures_of_another_size(home):
    weights(home, side=8)
    with pytest.raises(NasError, match=r"draws \(8, 1, 8, 8\).*\(8, 1, 16, 16\).*data\.size"):
        own_reference(context_of(home, arguments="{side: 8}"))


@pytest.mark.parametrize(
    ("module", "message"),
    [("mine:broken", "no such thing"), ("mine:nothing", "nothing"), ("nowhere.x:make", "nowhere")],
)
def test_code_that_cannot_be_used_is_named_with_its_line(home, module, message):
    weights(home)
    with pytest.raises(ExperimentError, match=rf"(?s)line 4.*{message}"):
        own_reference(context_of(home, module=module))


def test_weights_that_cannot_be_read(home):
    (home / "w.safetensors").write_bytes(b"no tensors")
    with pytest.raises(NasError, match=r"w\.safetensors cannot be read.*save_file"):
        own_reference(context_of(home))


@pytest.mark.parametrize("missing", ["module", "weights", "inputs"])
def test_all_of_module_weights_and_inputs_are_needed(home, missing):
    text = YAML.format(module="mine:make", arguments="{}")
    (home / "e.yaml").write_text("\n".join(line for line in text.splitlines() if f"  {missing}:" not in line))
    with pytest.raises(ExperimentError, match=f"found no '{missing}'"):
        Experiment.load(home / "e.yaml")


def test_inputs_follow_the_rules_of_inputs(home):
    text = YAML.format(module="mine:make", arguments="{}").replace("shape: [6]", "shape: [0]")
    (home / "e.yaml").write_text(text)
    with pytest.raises(ExperimentError, match=r"(?s)reference\.inputs.*noise.*shape"):
        Experiment.load(home / "e.yaml")


def test_the_experiment_file_keeps_all_of_it(home):
    weights(home)
    context = context_of(home)
    again = Experiment.load(home / "run" / "experiment.yaml")
    assert again.reference == context.experiment.reference
    assert json.loads(json.dumps(again.reference.inputs[0]))["prior"] == {"kind": "normal"}

"""``leangen init``: look at somebody's pictures, and write the experiment file that suits them."""

import math
import os
import re
import shlex
from pathlib import Path

import yaml

from benchmarks.files import write_text
from benchmarks.fingerprint import fingerprint
from nas.data_look import Look, printable
from nas.errors import NasError

SPACES = {"gan": "decoder", "cgan": "class_decoder"}  # the space that each family is searched in
_MINUTES, _TRIALS, _SIDE = 5, 32, 32  # the effort of examples/mnist.yaml, and its pictures' side
_WORKER_BYTES = 2 << 30


def write_experiment(look: Look, out: Path, *, family: str = "gan", minutes: float | None = None, force: bool) -> None:
    """Write the experiment for what was seen to ``out``: commented YAML, every value in it can be changed.

    Args:
        look: From ``look_at``.
        out: The YAML file; the path of the data is written relative to it.
        family: ``gan``, or ``cgan`` for generators that are told the class to draw.
        minutes: Of the search; by default those of examples/mnist.yaml, times the pixels.
        force: Replace a file that is there.

    Raises:
        NasError: ``out`` is there, or there is no such family, or it needs classes and there are none.
    """
    if out.exists() and not (force and out.is_file()):
        advice = "is a folder: name a file" if out.is_dir() else "is there already: name another one, or give --force"
        raise NasError(f"{out} {advice}")
    _check_family(family, look)
    write_text(out, _experiment_text(look, out, family, minutes))


def name_of(path: Path) -> str:
    """The name of the experiment on the pictures at ``path``: letters, digits and . _ - only."""
    plain = path.resolve().name if path.is_dir() else path.name
    for suffix in (".gz", ".npz"):
        plain = plain.removesuffix(suffix)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")[:64] or "pictures"


def _experiment_text(look: Look, out: Path, family: str, minutes: float | None) -> str:
    usual = max(_MINUTES, (look.size / _SIDE) ** 2 * _MINUTES)
    minutes = minutes or usual
    machine = fingerprint()
    memory = machine.memory_bytes or 2 * _WORKER_BYTES
    return _TEMPLATE.format(
        command=f"leangen run {printable(shlex.quote(str(out)))}",
        seen=str(look).replace("\n", "\n# "),
        name=_quoted(name_of(Path(out.stem))),
        data=_data_text(look, out),
        family=family,
        space=SPACES[family],
        **_judging(many_classes=len(look.survey.classes) > 1),
        trials=min(max(8, math.ceil(_TRIALS * minutes / usual)), 1_000_000),
        minutes=f"{minutes:g}",
        workers=max(1, min(machine.cores, memory // _WORKER_BYTES, 64)),
    )


def _judging(*, many_classes: bool) -> dict[str, str]:
    """The extractor, which learns the classes where there are some, and a metric that suits it."""
    if many_classes:
        return {
            "extractor": "classifier",
            "extractor_why": "the data set's own small classifier",
            "budget": '"fid<=+10%|+2"',
            "budget_why": "FID may rise by 10 % or by 2, whichever allows more",
        }
    return {
        "extractor": "efficientnet-lite0",
        "extractor_why": "needs no classes; trained on photographs",
        "budget": '"kid<=+10%"',
        "budget_why": "KID may rise by 10 %; a FID of so many features needs over 6,400 pictures",
    }


def _check_family(family: str, look: Look) -> None:
    from nas.families import families
    from search_spaces import spaces

    usable = [name for name, space in SPACES.items() if name in families() and space in spaces()]
    if family not in usable:
        raise NasError(f"--family is one of {', '.join(usable)}; found {family!r}")
    if family == "cgan" and len(look.survey.classes) < 2:
        raise NasError(
            f"family cgan draws the class that it is told, and {look.path} has no classes: give labels, or leave "
            "--family out"
        )


def _data_text(look: Look, out: Path) -> str:
    relative = os.path.relpath(look.path.resolve(), out.absolute().parent.resolve())
    if relative.startswith("~"):  # would be taken for somebody's home
        relative = str(look.path.resolve())
    lines = [f"{look.source}: {_quoted(relative)}", f"size: {look.size}", f"channels: {look.channels}"]
    if look.keys:
        lines.append(f"keys: {{{', '.join(f'{key}: {_quoted(name)}' for key, name in look.keys.items())}}}")
    return "\n".join(f"  {line}" for line in lines)


def _quoted(text: str) -> str:
    """``text`` as YAML in double quotes, whatever characters are in it, on one line."""
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)).strip()


_TEMPLATE = """\
# {command} --dry-run     every setting, minutes, disk and memory
# {command}
# {seen}
# Keys that are left out take their defaults. Any key can be changed for one run: --set search.trials=60

name: {name}
seed: 0                         # everything random follows from it

# Relative to this file. size: height and width to draw at, a power of two; channels: 1 = grey, 3 = RGB.
# Also possible: limit: 2000 uses only so many pictures, for a quick try.
data:
{data}

family: {family:<24}# how generators learn
space: {space:<25}# what may vary: `leangen spaces show {space}`

# The stock generator: teaches the candidates, and is what every ratio and difference refers to.
reference:
  steps: 3000                   # of adversarial training
  width: 64                     # channels of its last hidden layer ("ngf")
  evaluations: 8                # points on its curve

quality:
  budget: {budget:<22}# {budget_why}
  extractor: {extractor:<19}# {extractor_why}
  samples: 5000                 # generated images per score

search:
  trials: {trials:<22}# candidates that are trained, or
  minutes: {minutes:<21}# this long, whichever ends first
  rungs: [1000, 3000]           # steps after which dominated candidates stop
  finalists: 3                  # trained to the end:
  final_distill: 6000           #   steps of distillation from the reference,
  final_features: 1500          #   then of more, which compare the discriminator's features too,
  final_adversarial: 600        #   then of adversarial training,
  final_match: 400              #   and until its pictures, as a whole, are like real ones
  workers: {workers:<21}# processes of one thread that train candidates

target:
  runtime: onnxruntime
  device: cpu
  threads: 1                    # of one inference
  batch: 1                      # images per inference
  # min_speedup: 4              # slower candidates would never be trained; or max_latency_ms: 0.2

compress:
  prune: true
  prune_ratios: [0.25]          # shares of the channels, tried in turn
  recover: 1500                 # steps of distillation after each, then fine-tuning as for finalists
  quantize: true                # try int8, last

export:
  tensorrt: auto                # auto = if installed; true = fail without it; false = never
  opset: 20                     # ONNX operator set
"""

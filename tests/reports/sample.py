"""A realistic run, made up: numbers of the size that mnist on two cores gives. Also the pictures beside it."""

import io
import math
import random
from typing import Any

import numpy as np
from PIL import Image

EXTRACTOR = "9b1f7c2ad0e4"


def score(
    value: float, error: float | None = 0.2, *, metric: str = "fid", n: int = 5000, seed: int = 11
) -> dict[str, Any]:
    return {
        "metric": metric,
        "extractor": EXTRACTOR,
        "n": n,
        "seeds": [seed],
        "value": value,
        "standard_error": error,
    }


def estimate(value: float, half: float) -> dict[str, Any]:
    return {"value": value, "ci95": [round(value - half, 6), round(value + half, 6)]}


def ratio(value: float, spread: float = 0.02, precision: str | None = None) -> dict[str, Any]:
    return {"value": value, "ci95": [value * (1 - spread), value * (1 + spread)], "precision": precision}


def latency(median: float, precision: str) -> dict[str, Any]:
    return {
        "median": median,
        "ci95": [median * 0.993, median * 1.008],
        "p95": median * 1.07,
        "precision": precision,
    }


def model(
    name: str, params: int, macs: int, size: int, fid: float, one: float, many: float, precision: str
) -> dict[str, Any]:
    return {
        "id": name,
        "plateau": None,
        "plateau_gain": None,
        "params": params,
        "macs": macs,
        "bytes": size,
        "quality": score(fid),
        "scores": [score(fid / 9000, 0.00004, metric="kid")],
        "latency_ms": {"1": latency(one, precision), "32": latency(many, precision)},
    }


def curve(fid: float, points: int) -> list[dict[str, Any]]:
    steps = (1000, 3000, 8000)[: points + 1]
    return [{"steps": n, "value": fid * (8000 / n) ** 0.5, "standard_error": 0.03 * fid} for n in steps]


def knobs(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares that sum to 1, and spreads of the size of the trials'."""
    shares = {"width": (0.71, 0.2), "upsampling": (0.14, 0.09), "blocks": (0.1, 0.5), "kernel": (0.05, 0.21)}
    values = {"width": (16, 24, 32, 48, 64, 96), "upsampling": ("nearest", "transposed", None), "blocks": (1, 2, 3)}
    return {
        "measured": sum(one["ratio"] is not None for one in trials),
        "trained": sum(one["quality"] is not None for one in trials),
        "steps": 1000,
        "knobs": [
            {
                "name": name,
                "importance": {"latency": latency, "quality": quality},
                "values": [
                    {
                        "value": value,
                        "measured": 9 - place,
                        "speedup": {
                            "low": 30.0 / (place + 1),
                            "median": 34.0 / (place + 1),
                            "high": 40.0 / (place + 1),
                        },
                        "trained": 3,
                        "quality": {"low": 12.0 - place, "median": 14.0 - place, "high": 17.0 - place},
                        "best_quality": 9.0,
                    }
                    for place, value in enumerate(values.get(name, (3, 5)))
                ],
            }
            for name, (latency, quality) in shares.items()
        ],
    }


def quality() -> dict[str, Any]:
    """Every metric of everybody, another extractor, ten classes of which the baseline has lost one."""
    fids = {"reference": 8.1, "baseline": 19.6, "final": 8.9}
    return {
        "metrics": {
            who: {
                "fid": score(fid),
                "kid": score(fid / 9000, 0.00004, metric="kid"),
                "precision": score(0.93 - fid / 100, 0.006, metric="precision"),
                "recall": score(0.88 - fid / 90, 0.008, metric="recall"),
            }
            for who, fid in fids.items()
        },
        "differences": {"final": {"reference": {"kid": estimate(0.00009, 0.00006), "recall": estimate(-0.009, 0.007)}}},
        "also": {who: [score(fid * 4, 0.9) | {"extractor": "random-conv@1"}] for who, fid in fids.items()},
        "classes": {
            who: {
                "rows": [
                    {"name": str(name), "accuracy": 0.98 - fid / 300 - name / 500, "fid": fid * 2 + name, "n": 500}
                    | ({"accuracy_error": 0.0098, "fid_error": 0.61} if who == "final" else {})
                    for name in range(10)
                ],
                "missing": ["8"] if who == "baseline" else [],
                "ceiling": 0.991,
            }
            for who, fid in fids.items()
        },
        "neighbours": {"n": 1000, "median_distance": 3.91, "median_distance_held_out": 3.84},
    }


def candidates() -> list[dict[str, Any]]:
    draw = random.Random(7)
    made = []
    for index in range(44):
        width, blocks = draw.choice((16, 24, 32, 48, 64, 96)), draw.choice((1, 2, 3))
        genotype = {
            "start": draw.choice((4, 8)),
            "width": width,
            "blocks": blocks,
            "kernel": draw.choice((3, 5)),
            "upsample": draw.choice(("transposed", "nearest", "depth-to-space x2", "depth-to-space x4")),
            "activation": draw.choice(("relu", "leaky")),
            "norm": draw.choice(("batch", "none")),
        }
        speed = 620 / (width * blocks**0.6) * math.exp(draw.gauss(0, 0.35))
        fid = (8.6 + 0.035 * speed**1.75) * math.exp(abs(draw.gauss(0, 0.28)))
        outcome = (
            "infeasible" if speed < 8 else draw.choice(("complete", "complete", "dominated", "dominated", "duplicate"))
        )
        outcome = "failed" if index == 29 else outcome
        trained = outcome in ("complete", "dominated")
        made.append(
            {
                "id": f"{draw.getrandbits(48):012x}",
                "genotype": genotype,
                "outcome": outcome,
                "ratio": None if outcome == "duplicate" else ratio(1 / speed, 0.03, draw.choice(("fp32", "int8"))),
                "quality": score(fid * (1 if outcome == "complete" else 1.9), 0.03 * fid, n=2000, seed=3)
                if trained
                else None,
                "curve": curve(fid, draw.choice((1, 2))) if trained else [],
                "rung": {"complete": 2, "dominated": draw.choice((0, 1))}.get(outcome),
                "seconds": {"complete": 21.4, "dominated": 8.2, "infeasible": 1.1, "failed": 4.0}.get(outcome, 0.0),
                "finalist": False,
                "promising": False,
                "unreached": False,
                "error": "ValueError: loss is not finite at step 412" if outcome == "failed" else None,
            }
        )
    best = sorted((one for one in made if one["outcome"] == "complete"), key=lambda one: one["quality"]["value"])[:3]
    for one in best:
        one |= {"finalist": True, "promising": True}
    return made


def finalists(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    chosen = sorted((one for one in trials if one["finalist"]), key=lambda one: one["ratio"]["value"])
    values = (10.9, 8.8, 8.5)
    return [
        {
            "id": one["id"],
            "genotype": one["genotype"],
            "inside": fid < 10,
            "quality": score(fid, 0.19, seed=5),
            "difference": estimate(fid - 8.0, 0.6),
            "ratio": one["ratio"],
            "winner": index == 1,
            "note": ("outside the budget", "fastest inside the budget", "slower than the winner")[index],
        }
        for index, (one, fid) in enumerate(zip(chosen, values, strict=True))
    ]


def latency_rows() -> list[dict[str, Any]]:
    times = {
        ("reference", "model.onnx", "fp32", "onnxruntime"): (0.245, 8.48),
        ("reference", "model.int8.onnx", "int8", "onnxruntime"): (0.609, 14.2),
        ("reference", None, "fp32", "torch eager"): (1.01, 9.98),
        ("baseline", "model.onnx", "fp32", "onnxruntime"): (0.0274, 0.538),
        ("final", "export/model.onnx", "fp32", "onnxruntime"): (0.0529, 1.21),
        ("final", "export/model.int8.onnx", "int8", "onnxruntime"): (0.02634, 0.497),
        ("final", None, "fp32", "torch eager"): (0.201, 1.93),
    }
    return [
        {
            "who": who,
            "artifact": file if file is None or who == "final" else f"{who}/{file}",
            "precision": precision,
            "runtime": runtime,
            "batch": batch,
            "threads": 1,
            "median_ms": times[who, file, precision, runtime][place],
            "ci95_ms": [
                times[who, file, precision, runtime][place] * 0.99,
                times[who, file, precision, runtime][place] * 1.012,
            ],
            "p95_ms": times[who, file, precision, runtime][place] * 1.08,
            "quantiles_ms": {
                str(percent): times[who, file, precision, runtime][place]
                * (1 + (percent - 50) * abs(percent - 50) / 3e4)
                for percent in (1, 5, 10, 25, 50, 75, 90, 95, 99)
            },
            "peak_mib": 61.0 if runtime == "onnxruntime" else 312.0,
            "ratio": ratio(times[who, file, precision, runtime][place] / (0.245, 8.48)[place], 0.015),
        }
        for place, batch in enumerate((1, 32))
        for who, file, precision, runtime in times
    ]


def roofline() -> dict[str, Any]:
    """One file of two operators: 60 + 30 of 100 microseconds, the second without a count."""
    operators = [
        {
            "operator": "ConvTranspose",
            "dtype": "float32",
            "int8": False,
            "nodes": 3,
            "ms": 0.06,
            "share": 0.6,
            "macs": 2_000_000,
            "bytes": 512_000,
            "gmacs_per_second": 33.3,
            "fraction": 0.33,
            "limit": "kernel",
        },
        {"operator": "Einsum", "dtype": "int8", "int8": True, "nodes": 1, "ms": 0.03, "share": 0.3, "limit": "unknown"},
    ]
    file = {
        "who": "final",
        "artifact": "export/model.int8.onnx",
        "batch": 1,
        "median_ms": 0.1,
        "overhead_ms": 0.01,
        "operators": operators,
        "remarks": ["60 % of the time in ConvTranspose (fp32, 3 nodes), which has no int8 kernel"],
    }
    return {
        "threads": 1,
        "macs_per_second": {"float32": estimate(1e11, 1e9), "int8": estimate(4e11, 1e9)},
        "bytes_per_second": {"393216": estimate(8e10, 1e9), "134217720": estimate(1.5e10, 1e9)},
        "files": [file],
    }


def variant(
    roles: list[str], step: str, folder: str, size: int, time: dict[str, Any] | None, difference: dict[str, Any]
) -> dict[str, Any]:
    """A file that compression found."""
    return {
        "roles": roles,
        "step": step,
        "file": f"compressed/{folder}/model.int8.onnx",
        "precision": "int8",
        "bytes": size,
        "quality": score(8.9),
        "difference": difference,
        "ratio": time,
    }


def sample() -> dict[str, Any]:
    """A finished run whose answer is yes."""
    trials = candidates()
    counts = {
        name: sum(one["outcome"] == name for one in trials)
        for name in ("complete", "infeasible", "dominated", "failed", "duplicate")
    }
    reference = model("5c1e90aa41d2", 1_066_880, 17_450_000, 4_176_204, 8.1, 0.245, 8.48, "fp32") | {
        "plateau": True,
        "plateau_gain": 0.3,
    }
    baseline = model("0be41d77c3aa", 75_120, 710_000, 301_440, 19.6, 0.0274, 0.538, "fp32") | {
        "artifact": "baseline/model.onnx"
    }
    final = model("e7aa02c59f10", 261_340, 3_050_000, 287_912, 8.9, 0.02634, 0.497, "int8") | {
        "artifact": "export/model.int8.onnx",
        "quality_difference": estimate(0.8, 0.6),
        "baseline_difference": estimate(-10.7, 0.9),
    }
    steps = [0, 220, 480, 760, 1060, 1380, 1720, 2080, 2460, 2860]
    values = [742.0, 391.0, 168.0, 61.0, 29.4, 17.2, 12.1, 9.6, 8.3, 8.1]
    return {
        "schema": 1,
        "command": "leangen run examples/mnist.yaml",
        "family": "gan",
        "verdict": {"met": True, "missed": []},
        "seconds": {
            "reference": 214.2,
            "search": 331.8,
            "finalists": 151.0,
            "compress": 24.6,
            "export": 41.3,
            "total": 762.9,
        },
        "reference": reference,
        "baseline": baseline,
        "final": final,
        "speedup": {"1": {"value": 9.3, "ci95": [9.1, 9.5]}, "32": {"value": 17.0, "ci95": [16.7, 17.4]}},
        "speedup_vs_eager": {
            "1": {"value": 38.3, "ci95": [37.1, 39.4]},
            "32": {"value": 20.1, "ci95": [19.6, 20.5]},
        },
        "steps": [
            {
                "name": "prune",
                "kept": False,
                "reason": "refused: 4 % faster, but FID would be 2.9 above the reference, outside fid<=+10%|+2",
                "ratio": ratio(0.96, 0.01),
                "difference": estimate(2.9, 0.7),
                "settings": {"ratio": 0.25, "recovery_steps": 400},
            },
            {
                "name": "quantize",
                "kept": True,
                "reason": "2.0 times faster, quality inside the budget",
                "ratio": ratio(0.497, 0.01),
                "difference": estimate(0.8, 0.6),
                "settings": {"per_channel": False, "calibration": 256},
            },
            {
                "name": "quantize",
                "kept": False,
                "reason": "refused: not faster than the per-tensor file",
                "ratio": ratio(1.14, 0.02),
                "difference": estimate(0.7, 0.6),
                "settings": {"per_channel": True, "calibration": 256},
            },
        ],
        "variants": [
            variant(["fastest"], "quantize", "02-quantize-per-tensor", 118_000, ratio(0.497, 0.01), estimate(0.8, 0.6)),
            variant(["smallest", "best quality"], "quantize", "03-quantize", 94_000, None, estimate(0.7, 0.6)),
        ],
        "search": {"trials": len(trials), **counts, "unreached": 0, "space_size": 1_327_104},
        "tensorrt": {
            "built": True,
            "latency_ms": None,
            "reason": "This machine has no GPU, so the plans were built and not run.",
            "plans": {
                "fp32": {
                    "file": "export/model.fp32.plan",
                    "bytes": 1_902_331,
                    "backend": "tensorrt_rtx",
                    "version": "1.7.0",
                    "compute_capabilities": ["SM86", "SM89", "SM120"],
                },
                "int8": {
                    "file": "export/model.int8.plan",
                    "bytes": 911_004,
                    "backend": "tensorrt_rtx",
                    "version": "1.7.0",
                    "compute_capabilities": ["SM86", "SM89", "SM120"],
                },
            },
        },
        "name": "mnist",
        "created": "2026-11-20T14:05:00+00:00",
        "budget": "fid<=+10%|+2",
        "target": {
            "runtime": "onnxruntime",
            "device": "cpu",
            "threads": 1,
            "batch": 1,
            "min_speedup": 8.0,
            "max_latency_ms": None,
        },
        "machine": {
            "cpu": "AMD EPYC 9B45",
            "flags": ["avx512_vnni", "avx_vnni"],
            "cores": 2,
            "memory_gib": 23.4,
            "os": "Linux 6.8",
            "python": "3.11.9",
            "onnxruntime": "1.31.0",
            "gpu": None,
        },
        "floor": score(1.9, 0.08, n=1000),
        "blank": score(916.0, None),
        "allowed_seen": 10.0,
        "quality": quality(),
        "knobs": knobs(trials),
        "grid_columns": [str(name) for name in range(8)],
        "reference_seen": score(8.0, 0.21, seed=5),
        "curve": [
            {"step": step, "cpu_seconds": step * 0.081, "value": value, "standard_error": 0.02 * value}
            for step, value in zip(steps, values, strict=True)
        ],
        "candidates": trials,
        "finalists": finalists(trials),
        "latency": latency_rows(),
        "operators": {
            "export/model.onnx": {"Conv fp32": 3, "FusedMatMul fp32": 1, "DepthToSpace fp32": 1},
            "export/model.int8.onnx": {
                "QLinearConv int8": 3,
                "QGemm int8": 1,
                "DepthToSpace uint8": 1,
                "Tanh fp32": 1,
            },
        },
        "roofline": roofline(),
        "parity": [
            {
                "artifact": "export/model.onnx",
                "max_abs": 2.4e-7,
                "psnr_db": 141.2,
                "n": 64,
                "worst_input_seed": 0,
                "worst_input_index": 17,
            },
            {
                "artifact": "export/model.int8.onnx",
                "max_abs": 0.41,
                "psnr_db": 33.8,
                "n": 64,
                "worst_input_seed": 0,
                "worst_input_index": 52,
            },
        ],
        "commands": [
            {"what": "The whole run", "command": "leangen run examples/mnist.yaml"},
            {
                "what": "The paired ratio of the two files",
                "command": "leangen bench compare reference/model.onnx export/model.int8.onnx --batch 1",
            },
        ],
        "notes": [],
    }


def early_no() -> dict[str, Any]:
    """A run that stopped in the search: no candidate was fast enough."""
    slow = [
        {
            "id": f"aa00bb11cc{width:02}",
            "genotype": {"width": width, "norm": "batch"},
            "outcome": "infeasible",
            "ratio": {"value": width / 64, "ci95": [width / 65, width / 63]},
        }
        for width in (16, 24, 32, 64)
    ]
    values = [
        {
            "value": one["genotype"]["width"],
            "measured": 1,
            "trained": 0,
            "speedup": dict.fromkeys(("low", "median", "high"), 1 / one["ratio"]["value"]),
        }
        for one in slow
    ]
    return {
        "schema": 1,
        "command": "leangen run slow.yaml",
        "family": "gan",
        "verdict": {"met": False, "missed": ["target.min_speedup"]},
        "search": {
            "trials": 4,
            "complete": 0,
            "infeasible": 4,
            "dominated": 0,
            "failed": 0,
            "duplicate": 0,
            "space_size": 10,
        },
        "candidates": slow,
        "knobs": {
            "measured": 4,
            "trained": 0,
            "knobs": [{"name": "width", "importance": {"latency": None, "quality": None}, "values": values}],
        },
        "target": {"min_speedup": 20.0},
    }


def grid_png(seed: int) -> bytes:
    """An 8 × 8 grid of 32 × 32 blobs that stand for digits."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    cells = []
    for row in range(64):
        turn, noise = row * 0.1, rng.normal(0, 0.03, 2)
        ring = np.hypot((x * math.cos(turn) + y * math.sin(turn)) * 1.6 + noise[0], y * (1 + row % 5 / 6) + noise[1])
        cells.append(np.exp(-((ring - 0.55) ** 2) / 0.02))
    image = (np.array(cells).reshape(8, 8, 32, 32).transpose(0, 2, 1, 3).reshape(256, 256) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()

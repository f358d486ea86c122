"""Draw pictures with the generator beside this file; needs onnxruntime and numpy only (see requirements.txt).

python draw.py --n 16 --seed 0 --out grid.png
python draw.py --fix label=3                    every picture gets this input, where the generator has it
python draw.py --model model.onnx               another file of this folder
"""

import argparse
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

HERE = Path(__file__).parent


def drawn(spec: dict[str, Any], n: int, rng: np.random.Generator) -> "np.ndarray[Any, Any]":
    """Return n values of one input, drawn from its prior."""
    prior, shape = spec["prior"], (n, *spec["shape"])
    values: np.ndarray[Any, Any]
    if prior["kind"] == "normal":
        values = rng.standard_normal(shape)
    elif prior["kind"] == "uniform":
        values = rng.uniform(prior["low"], prior["high"], shape)
    elif prior["kind"] == "integers":
        values = rng.integers(prior["low"], prior["high"], shape, endpoint=True)
        if "weights" in prior:  # how often each value occurs
            shares = np.array(prior["weights"]) / sum(prior["weights"])
            values = rng.choice(np.arange(prior["low"], prior["high"] + 1), shape, p=shares)
    else:
        raise SystemExit(
            f"{spec['name']} is no random number (its prior: {prior}): set it with --fix or in this program"
        )
    return values.astype(spec["dtype"])


def png(pixels: "np.ndarray[Any, Any]") -> bytes:
    """Return uint8 pixels (H, W, 1 or 3) as a PNG file (its specification, sections 5.2 to 5.4 and 11.2)."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = [
        struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data)) for tag, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def main() -> None:
    """Read the options, draw, and write one picture."""
    options = argparse.ArgumentParser(description="Draw pictures with the generator in this folder.")
    options.add_argument("--model", default="model.int8.onnx" if (HERE / "model.int8.onnx").exists() else "model.onnx")
    options.add_argument("--n", type=int, default=16)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--fix", action="append", default=[], metavar="NAME=NUMBER")
    options.add_argument("--out", type=Path, default=Path("grid.png"))
    chosen = options.parse_args()
    session = onnxruntime.InferenceSession(HERE / chosen.model, providers=["CPUExecutionProvider"])
    specs = json.loads(session.get_modelmeta().custom_metadata_map["leangen.inputs"])
    fixed = dict(text.partition("=")[::2] for text in chosen.fix)
    if unknown := [name for name in fixed if name not in {spec["name"] for spec in specs}]:
        raise SystemExit(f"--fix {unknown[0]}: inputs are {', '.join(spec['name'] for spec in specs)}")
    rng, feeds = np.random.default_rng(chosen.seed), {}
    for spec in specs:
        shape = (chosen.n, *spec["shape"])
        name = spec["name"]
        feeds[name] = np.full(shape, fixed[name], spec["dtype"]) if name in fixed else drawn(spec, chosen.n, rng)
    images = session.run(None, feeds)[0]  # (n, channels, height, width), from -1 to 1
    n, channels, height, width = images.shape
    columns = int(np.ceil(np.sqrt(n)))
    grid = np.full((-(-n // columns) * columns, channels, height, width), -1.0)
    grid[:n] = images
    rows = grid.reshape(-1, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    pixels = np.rint((np.clip(rows, -1, 1) + 1) * 127.5).astype(np.uint8)
    chosen.out.write_bytes(png(pixels.reshape(-1, columns * width, channels)))
    print(f"{chosen.out}: {n} pictures by {chosen.model}, seed {chosen.seed}")


if __name__ == "__main__":
    main()

"""Make one generator faster without making it worse: prune, distil, quantize, export.

``from compress import compress`` is the whole of it: ``compress(OnnxGenerator.load("model.onnx")).save("out")``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.compressing import Result, compress
    from compress.generator import Generator
    from compress.onnx_generator import OnnxGenerator

__all__ = ["Generator", "OnnxGenerator", "Result", "compress"]

_HOMES = {
    "Generator": "compress.generator",
    "OnnxGenerator": "compress.onnx_generator",
    "Result": "compress.compressing",
    "compress": "compress.compressing",
}


def __getattr__(name: str) -> object:
    """The public names, imported when they are first asked for: `import compress` alone imports no torch (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'compress' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""What limits a model, said in sentences."""

from benchmarks.cost import has_int8_twin
from benchmarks.roofline import Roofline, Row

WORTH_SAYING = 0.1  # share of the time
MOST = 3  # operators
_DTYPES = {"float32": "fp32", "float16": "fp16", "float64": "fp64"}
_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def bottlenecks(found: Roofline) -> tuple[str, ...]:
    """The operators that take most of the time, and what each is limited by; then what the call itself takes.

    ``67 % of the time in ConvTranspose (fp32, 3 nodes), which has no int8 kernel; runs at 21 % of this core's fp32
    peak``.
    """
    rows = found.operators
    quantized = any(row.int8 and row.macs for row in rows)
    large = [row for row in rows if row.seconds >= WORTH_SAYING * found.seconds][:MOST]
    lines = [_operator_line(row, found, quantized=quantized) for row in large]
    if found.overhead_s >= WORTH_SAYING * found.seconds:
        share = found.overhead_s / found.seconds
        lines.append(f"{share:.0%} of the time outside its operators: what an empty call takes too")
    return tuple(line.replace("%", " %") for line in lines)


def headline(found: Roofline) -> str:
    """``0.295 ms [0.29, 0.3], 60 % of what this machine's roofs allow; bound by arithmetic``."""
    low, high = (1e3 * end for end in found.latency.median.ci95)
    text = f"{1e3 * found.seconds:.3g} ms [{low:.3g}, {high:.3g}]"
    total = found.total
    if total is None or total.fraction is None:
        return f"{text}; what it could reach is not known, as not all of its work can be counted"
    bound = "arithmetic" if total.bound == "compute" else "bandwidth"
    return f"{text}, {100 * total.fraction:.0f} % of what this machine's roofs allow; bound by {bound}"


def dtype_name(dtype: str) -> str:
    """``fp32`` for ``float32``; others by their own name."""
    return _DTYPES.get(dtype, dtype)


def amount(value: float | None, unit: str = "") -> str:
    """``1.07 MB`` for 1066880 and ``B``; a dash for None."""
    if value is None:
        return "–"
    shown = float(f"{value:.3g}")
    step, letter = next(((step, letter) for step, letter in _STEPS if shown >= step), (1.0, ""))
    return f"{shown / step:.3g} {letter}{unit}".strip()


def _operator_line(row: Row, found: Roofline, *, quantized: bool) -> str:
    nodes = f"{row.nodes} node{'' if row.nodes == 1 else 's'}"
    head = f"{row.seconds / found.seconds:.0%} of the time in {row.operator} ({dtype_name(row.dtype)}, {nodes})"
    return f"{head}{_kernel_clause(row, quantized=quantized)}; {_limit_clause(row, found)}"


def _kernel_clause(row: Row, *, quantized: bool) -> str:
    if row.int8 or not row.macs:
        return ""
    if not has_int8_twin(row.operator):
        return ", which has no int8 kernel"
    return ", which could run in int8 and does not" if quantized else ""


def _limit_clause(row: Row, found: Roofline) -> str:
    if row.fraction is None or row.of_peak is None:
        return "its work cannot be counted"
    if row.limit == "start":
        return "starting it takes longer than its work"
    threads = found.peaks.threads
    whose = "this core's" if threads == 1 else f"these {threads} threads'"
    at_peak = f"runs at {row.of_peak:.0%} of {whose} {dtype_name(row.dtype)} peak"
    if row.macs and row.bound == "compute":
        return at_peak
    moves = f"moves {amount(row.bytes, 'B')} at {row.fraction:.0%} of the bandwidth for so much"
    return f"{at_peak}, and {moves}" if row.macs else moves

"""JUnit XML, which every CI system shows: one test case for each model of a gate."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

SUITE = "leangen speed gate"


def junit(models: Sequence[Mapping[str, Any]], *, inconclusive_fails: bool = False) -> str:
    """Return the XML of a gate's results.

    Args:
        models: As ``leangen bench gate --json`` writes them: ``model``, ``verdict``, ``line``, ``reason``, ``seconds``;
            ``verdict`` is pass, regression, inconclusive, not comparable or outputs differ.
        inconclusive_fails: An inconclusive model is a failure, not a skipped test.
    """
    suite = ElementTree.Element("testsuite", name=SUITE, tests=str(len(models)))
    counts = {"failure": 0, "error": 0, "skipped": 0}
    for model in models:
        seconds = model.get("seconds") or 0.0
        case = ElementTree.SubElement(suite, "testcase", classname=SUITE, name=model["model"], time=f"{seconds:.3f}")
        ElementTree.SubElement(case, "system-out").text = model.get("line") or model["reason"]
        kind = _kind(model["verdict"], inconclusive_fails)
        if kind is not None:
            counts[kind] += 1
            ElementTree.SubElement(case, kind, message=model["reason"])
    suite.set("failures", str(counts["failure"]))
    suite.set("errors", str(counts["error"]))
    suite.set("skipped", str(counts["skipped"]))
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _kind(verdict: str, inconclusive_fails: bool) -> str | None:
    if verdict == "pass":
        return None
    if verdict == "inconclusive":
        return "failure" if inconclusive_fails else "skipped"
    return "error" if verdict == "not comparable" else "failure"

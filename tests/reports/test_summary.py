"""The schema: the issue's example, round trips, and what is refused."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from reports.summary import SCHEMA, ReportError, SummaryError, load, parse

MINIMUM = {"schema": 1, "command": "leangen run a.yaml", "family": "gan"}

# Issue 2, stage 10, to the letter; there `{}` stands for the shape that stands before it.
ISSUE = """
{"schema": 1, "command": "...", "family": "gan", "verdict": {"met": true, "missed": []}, "seconds": {"reference": 0, "search": 0, "finalists": 0, "compress": 0, "export": 0, "total": 0},
 "reference": {"id": "...", "plateau": true, "params": 0, "macs": 0, "bytes": 0, "quality": {"metric": "fid", "extractor": "...", "n": 0, "value": 0, "standard_error": 0},
               "latency_ms": {"1": {"median": 0, "ci95": [0, 0], "p95": 0}, "32": {}}},
 "baseline": {}, "final": {"artifact": "export/model.int8.onnx", "quality_difference": {"value": 0, "ci95": [0, 0]}},
 "speedup": {"1": {"value": 0, "ci95": [0, 0]}, "32": {}}, "speedup_vs_eager": {},
 "steps": [{"name": "quantize", "kept": true, "reason": "..."}],
 "search": {"trials": 0, "complete": 0, "infeasible": 0, "dominated": 0, "failed": 0, "duplicate": 0, "space_size": 0},
 "tensorrt": {"built": true, "plans": {"fp32": {"file": "...", "bytes": 0}, "int8": {}}, "latency_ms": null, "reason": "..."}}
"""  # noqa: E501


def spelled_out():
    example = json.loads(ISSUE)
    timed = {"median": 1, "ci95": [1, 1], "p95": 1}
    example["reference"]["latency_ms"] = {"1": timed, "32": timed}
    example["baseline"] = example["reference"] | {"artifact": "baseline/model.onnx"}
    example["final"] = example["reference"] | example["final"]
    example["speedup"]["32"] = example["speedup"]["1"]
    example["speedup_vs_eager"] = example["speedup"]
    plans = example["tensorrt"]["plans"]
    plans["fp32"]["file"] = "export/model.fp32.plan"
    plans["int8"] = plans["fp32"]
    return example


def contains(whole, part):
    if isinstance(part, dict):
        return all(key in whole and contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return whole == part


def test_the_issues_example_is_valid_and_comes_back_with_the_same_names():
    example = spelled_out()
    assert contains(parse(example).to_json(), example)


def test_round_trip_keeps_every_field(data):
    written = parse(data).to_json()
    assert contains(written, data)
    assert parse(json.loads(json.dumps(written))).to_json() == written


def test_what_was_not_reached_is_null():
    written = parse(MINIMUM).to_json()
    assert written["verdict"] is None
    assert written["final"] is None
    assert written["steps"] is None
    assert written["notes"] == []


def test_frozen(run):
    with pytest.raises(ValidationError, match="frozen"):
        run.family = "vae"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"famly": "gan"}, "famly: Extra inputs are not permitted"),
        ({"family": None}, "family: Input should be a valid string"),
        ({"created": "yesterday"}, "ISO 8601"),
        ({"speedup": {"one": {"value": 1, "ci95": [1, 1]}}}, "speedup.one"),
        ({"speedup": {"1": {"value": 1, "ci95": [2, 1]}}}, "low <= high"),
        ({"speedup": {"1": {"value": float("nan"), "ci95": [1, 1]}}}, "finite"),
        ({"schema": 0}, "schema: Input should be 1"),
        ({"baseline": {"id": "a", "artifact": "../../etc/passwd"}}, "inside the run folder"),
        ({"baseline": {"id": "a", "artifact": "/etc/passwd"}}, "inside the run folder"),
        (
            {"search": {"trials": 3, "complete": 1, "infeasible": 1, "dominated": 0, "failed": 0, "duplicate": 0}},
            r"sum of the five outcomes \(2\), found 3",
        ),
    ],
)
def test_a_broken_rule_is_named_with_its_place(change, message):
    with pytest.raises(SummaryError, match=message) as caught:
        parse(MINIMUM | change)
    assert "leangen report RUN_FOLDER" in str(caught.value)


def test_many_broken_rules_are_counted_and_five_shown():
    with pytest.raises(SummaryError, match="8 field") as caught:
        parse(MINIMUM | {f"x{number}": 1 for number in range(8)})
    assert "and 3 more" in str(caught.value)


def test_a_newer_schema_is_refused_by_number():
    with pytest.raises(SummaryError, match=f"reads schema {SCHEMA}, found 2.*upgrade"):
        parse({"schema": 2, "anything": []})


def test_not_an_object():
    with pytest.raises(SummaryError, match="JSON object, found list"):
        parse([])


def test_load(tmp_path: Path, data):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    assert load(path) == parse(data)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"\xff\xfe", b'{"schema": NaN}', b"[" * 200_000, b"\x80\x04]q\x00."],
    ids=lambda raw: str(raw[:6]),
)
def test_load_refuses_what_is_not_json(tmp_path: Path, raw):
    path = tmp_path / "summary.json"
    path.write_bytes(raw)
    with pytest.raises(SummaryError, match="UTF-8 JSON"):
        load(path)


def test_load_limits_the_size(tmp_path: Path):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(MINIMUM), encoding="utf-8")
    with pytest.raises(SummaryError, match="at most 10 bytes"):
        load(path, max_bytes=10)


def test_errors_have_one_root():
    assert issubclass(SummaryError, ReportError)
    assert issubclass(SummaryError, ValueError)

"""Quality of everybody in a piece at once: on pictures and latents that neither training nor search has seen."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.studies.proof.records import MAIN_FILE, OURS
from nas.context import Context
from nas.held_out import final_judge, judge_classes
from nas.seeds import Stream

OUR_FILE = f"{OURS}/shipped"


def judge_files(context: Context, files: Mapping[str, Path]) -> dict[str, Any]:
    """Return scores, paired differences to the reference's float file and to ours, and classes, by name of the file."""
    judge = final_judge(context)
    found = judge.evaluate(files)
    classes = judge_classes(context, judge, files) if context.family.label is not None else None
    finite = {
        metric: score.extractor
        for metric, score in found[MAIN_FILE].scores.items()
        if all(math.isfinite(one.scores[metric].value) for one in found.values())
    }
    rows: dict[str, Any] = {}
    for name, one in found.items():
        to_main = one.differences.get(MAIN_FILE)
        rows[name] = {
            "quality": {
                metric: {
                    "value": one.scores[metric].value,
                    "standard_error": one.scores[metric].standard_error,
                    "difference": to_main[metric].value if to_main else 0.0,
                    "ci95": to_main[metric].ci95 if to_main else (0.0, 0.0),
                }
                for metric in finite
            },
            "ours_minus_this": _paired(found[OUR_FILE].differences.get(name) if OUR_FILE in found else None, finite),
        }
        if classes is not None:
            rows[name]["class_accuracy"] = [row["accuracy"] for row in classes[name]]
            rows[name]["missing_classes"] = classes["missing"][name]
    floor = judge.floor(context.judge_of(Stream.STEPS).real_features)
    return {
        "files": rows,
        "extractors": finite,
        "samples": found[MAIN_FILE].scores[floor.metric].n,
        "floor": {floor.metric: floor.value},
    }


def _paired(differences: Any, metrics: Mapping[str, str]) -> dict[str, Any]:
    if differences is None:
        return {}
    return {metric: {"difference": differences[metric].value, "ci95": differences[metric].ci95} for metric in metrics}

"""The model card: what it says of a run that met its limits, and of one that did not."""

from reports.card import model_card
from reports.summary import parse

FILES = {"fp32": "model.onnx", "int8": "model.int8.onnx"}


def test_every_number_of_the_summary_that_a_stranger_needs(run):
    card = model_card(run, FILES, "pictures: 4,000 of them")
    assert run.final.quality.extractor in card
    assert f"The budget was `{run.budget}`" in card
    assert "- Data: pictures: 4,000 of them" in card
    assert "pip install -r requirements.txt" in card
    for precision, name in FILES.items():
        assert f"| `{name}` | {precision} |" in card
    for batch, found in run.final.latency_ms.items():
        assert f"| {batch} | {found.precision or '–'} |" in card


def test_int8_is_spoken_of_only_where_it_ships(run):
    assert "VNNI" in model_card(run, FILES, "x")
    assert "VNNI" not in model_card(run, {"fp32": "model.onnx"}, "x")


def test_a_missed_limit_is_said_first(data):
    data["verdict"] = {"met": False, "missed": ["quality.budget"]}
    data["notes"] = ["This is why."]
    card = model_card(parse(data), FILES, "x")
    assert card.index("This is why.") < card.index("## Draw pictures")
    data["verdict"] = {"met": True, "missed": []}
    assert "This is why." not in model_card(parse(data), FILES, "x")


def test_what_was_not_measured_is_not_told(data):
    for key in ("latency", "final", "speedup", "machine", "floor", "reference", "baseline"):
        data[key] = None
    card = model_card(parse(data), FILES, "x")
    assert "Nothing was measured." in card
    assert "None" not in card

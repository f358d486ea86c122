"""Tables of quality, cell by cell."""

from reports.summary import parse
from reports.views import quality


def test_a_line_for_each_metric_and_extractor(run):
    table = quality.scores_table(run)
    assert table.columns == ("metric", "reference", "baseline", "result", "result − reference", "images", "extractor")
    assert table.rows[0] == ("FID", "8.1 ± 0.2", "19.6 ± 0.2", "8.9 ± 0.2", "+0.8 [0.2, 1.4]", "5,000", "9b1f7c2ad0e4")
    assert table.rows[1][:5] == (
        "KID × 1,000", "0.90 ± 0.04", "2.18 ± 0.04", "0.99 ± 0.04", "+0.09 [0.03, 0.15]"
    )  # fmt: skip
    assert [row[0] for row in table.rows] == ["FID", "KID × 1,000", "precision", "recall", "FID"]
    assert table.rows[4][4:] == ("–", "5,000", "random-conv@1")


def test_scores_of_unlike_extractors_stand_in_unlike_lines(data):
    data["quality"] = None
    data["final"]["quality"]["extractor"] = "another"
    rows = quality.scores_table(parse(data)).rows
    assert [(row[1], row[3]) for row in rows if row[0] == "FID"] == [("8.1 ± 0.2", "–"), ("–", "8.9 ± 0.2")]


def test_an_old_summary_has_one_difference_and_no_classes(data):
    data["quality"] = None
    run = parse(data)
    assert [row[4] for row in quality.scores_table(run).rows] == ["+0.8 [0.2, 1.4]", "–"]
    assert quality.classes_table(run) is None
    assert quality.classes_remarks(run) == []
    assert quality.neighbours_text(run) == ""


def test_classes_by_name_with_the_missing_ones_said(run):
    table = quality.classes_table(run)
    assert table.rows[3] == ("3", "94.7 %", "90.9 %", "94.4 ± 1.0 %", "19.2", "42.2", "20.8 ± 0.6", "500")
    assert quality.classes_remarks(run) == [
        "Missing from the baseline: 8.",
        "The same classifier is right on 99.1 % of real images: the ceiling.",
    ]


def test_neighbours_without_the_unseen_pictures(data):
    data["quality"]["neighbours"]["median_distance_held_out"] = None
    text = "Median distance of 1,000 generated images to the nearest training image: 3.91 (near 0 would be copies)."
    assert quality.neighbours_text(parse(data)) == text

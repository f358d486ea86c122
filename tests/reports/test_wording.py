"""Numbers and sentences, worked by hand."""

import pytest

from reports import wording
from reports.summary import Estimate, Ratio, Score, parse


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (0.02663, "0.0266"), (8.48, "8.48"), (17, "17.0"), (1250.4, "1,250"), (-0.5, "-0.500")],
)
def test_number(value, text):
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "texts"),
    [
        (9.312, 9.104, 9.523, ("9.3", "9.1", "9.5")),  # half width 0.21
        (17.02, 11.0, 23.0, ("17", "11", "23")),  # half width 6
        (0.026604, 0.02641, 0.02682, ("0.0266", "0.0264", "0.0268")),  # half width 0.0002
        (5.0, 5.0, 5.0, ("5.00", "5.00", "5.00")),  # no width: three digits
    ],
)
def test_rounded_to_the_first_digit_of_the_half_width(value, low, high, texts):
    assert wording.rounded(value, low, high) == texts


def test_speedup_is_the_inverse_with_its_ends_swapped():
    assert wording.speedup(Ratio(value=0.1, ci95=(0.08, 0.125))) == "10× [8, 12]"
    assert wording.speedup(None) == "–"


def test_signed():
    assert wording.signed(Estimate(value=0.8, ci95=(0.2, 1.4))) == "+0.8 [0.2, 1.4]"
    assert wording.signed(Estimate(value=-0.3, ci95=(-0.9, 0.3))) == "−0.3 [−0.9, 0.3]"
    assert wording.signed(None) == "–"


@pytest.mark.parametrize(("error", "text"), [(0.19, "8.1 ± 0.2"), (0.04, "8.12 ± 0.04"), (None, "8.12"), (0.0, "8.12")])
def test_score(error, text):
    score = Score(metric="fid", extractor="a", n=10, value=8.12, standard_error=error)
    assert wording.score(score) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (512, "512"), (1_066_880, "1.07 M"), (17_450_000, "17.4 M"), (999_999, "1 M")]
)
def test_count(value, text):
    assert wording.count(value) == text


def test_size():
    assert (wording.size(4_176_204), wording.size(12), wording.size(None)) == ("4.18 MB", "12 B", "–")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (9.44, "9.4 s"), (59.97, "1 min 0 s"), (754.2, "12 min 34 s"), (7260, "2 h 1 min")],
)
def test_duration(seconds, text):
    assert wording.duration(seconds) == text


def test_the_sentence_of_a_yes(run):
    assert wording.verdict_word(run) == "yes"
    assert wording.verdict_sentence(run) == (
        "9.3× faster at batch 1 (95 % interval 9.1–9.5) than the reference's own fastest file, 288 kB instead of "
        "4.18 MB, FID 8.9 against 8.1 (+0.8 [0.2, 1.4]): at least 8× and fid<=+10%|+2 were asked, and met."
    )
    assert wording.remarks(run) == []


def test_every_batch_is_in_the_sentence_where_none_was_the_target(data):
    data["target"]["batch"] = 8
    assert "at batch 1 (95 % interval 9.1–9.5) and 17.0× faster at batch 32" in wording.verdict_sentence(parse(data))


def test_a_missed_budget_is_said_first(data):
    data["verdict"] = {"met": False, "missed": ["quality.budget", "target.min_speedup"]}
    data["reference"] |= {"plateau": False, "plateau_gain": 1.23}
    data["notes"] = ["No GPU."]
    run = parse(data)
    start = "Missed: quality.budget and target.min_speedup. The best found is 9.3× faster"
    assert wording.verdict_sentence(run).startswith(start)
    assert wording.remarks(run) == [
        "The reference is not at its plateau (FID gained 1.2 in the last quarter of its training); "
        "every ratio is to this reference.",
        "No GPU.",
    ]


def test_an_early_no_names_limit_best_and_remedy(early_no):
    assert wording.verdict_sentence(early_no) == (
        "Nothing was shipped: target.min_speedup cannot be met. The fastest of 4 measured candidate(s) is 4.00× "
        "[3.94, 4.06] as fast as the reference's own fastest file: relax the limit, or give the space faster choices."
    )


def test_dates_are_short():
    assert wording.date_text("2026-11-20T14:05:33+00:00") == "2026-11-20 14:05 UTC"
    assert wording.date_text("2026-11-20T14:05:33+02:00") == "2026-11-20 14:05 UTC+02:00"
    assert wording.date_text("2026-11-20") == "2026-11-20 00:00"


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("search.trials", "no candidate finished its training, although some were fast enough: raise search.minutes"),
        ("reference.steps", "the reference learned nothing"),
        ("search.finalists", "none of the finalists could be trained"),
    ],
)
def test_a_no_that_no_limit_caused_does_not_blame_one(early_no_data, key, told):
    early_no_data["verdict"]["missed"] = [key]
    run = parse(early_no_data)
    assert wording.verdict_sentence(run).startswith(f"Nothing was shipped: {told}")
    assert "relax the limit" not in wording.verdict_sentence(run)
    assert not any(key in line for line in wording.remarks(run))


def test_settings_are_no_python():
    assert wording.settings_text({"per_channel": False, "operators": {"QGemm": 1, "Tanh": 2}}) == (
        "per_channel=false operators=QGemm 1, Tanh 2"
    )


def test_a_run_without_verdict_is_not_finished():
    run = parse({"schema": 1, "command": "c", "family": "gan"})
    assert wording.verdict_word(run) == "not finished"
    assert "goes on where it stopped" in wording.verdict_sentence(run)


def test_slower_is_never_called_faster(data):
    data["speedup"] = {"1": {"value": 0.8, "ci95": [0.7, 0.9]}}
    assert wording.verdict_sentence(parse(data)).startswith("0.8× as fast at batch 1 (95 % interval 0.7–0.9) than")

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.decision import (
    Evidence,
    GateError,
    Look,
    Rule,
    decide,
    decide_last,
    holm,
    null_is_off,
    percent,
    weigh,
    would_have_caught,
)

RULE = Rule(catch=0.05, budget_s=10.0)
CLEAN = Evidence(0.0, -0.002, 0.002, 1.0, 40)


def evidence(low, high):
    return Evidence((low + high) / 2, low, high, 0.5, 50)


def look(wall, cpu, null=CLEAN):
    return Look(1.0, evidence(*wall), evidence(*cpu) if cpu else None, null)


def test_the_line_lies_at_half_and_the_error_is_split_over_the_looks():
    assert math.exp(2 * RULE.line) == pytest.approx(1.05)
    assert RULE.looks == 10
    assert RULE.tail == pytest.approx(0.005)
    assert Rule(budget_s=1.0).looks == 1


@pytest.mark.parametrize("wrong", [{"catch": 0.0001}, {"catch": 11}, {"budget_s": 0.5}, {"alpha": 0.6}])
def test_a_rule_that_cannot_be(wrong):
    with pytest.raises(GateError):
        Rule(**wrong)


@pytest.mark.parametrize(
    ("wall", "cpu", "verdict", "kind"),
    [
        ((-0.01, 0.01), (-0.01, 0.01), "pass", None),
        ((-0.01, 0.01), None, "pass", None),
        ((0.03, 0.06), (0.03, 0.06), "regression", "compute"),
        ((0.03, 0.06), (-0.01, 0.01), "regression", "waiting"),
        ((0.03, 0.06), None, "regression", "wall"),
        ((0.01, 0.03), (-0.01, 0.01), None, None),  # wall holds the line
        ((-0.01, 0.01), (0.01, 0.03), None, None),  # CPU holds it
        ((-0.01, 0.01), (0.03, 0.06), None, None),  # more CPU time in no more wall time: not a pass, not a regression
        ((0.03, 0.06), (0.02, 0.03), None, None),  # which kind is not clear yet
        ((-math.inf, math.inf), (-math.inf, math.inf), None, None),
    ],
)
def test_decisions(wall, cpu, verdict, kind):
    found = decide(look(wall, cpu), RULE)
    assert (found and (found.verdict, found.kind)) == (verdict and (verdict, kind))


def test_nothing_is_decided_while_the_null_control_is_off():
    off = Evidence(0.03, 0.02, 0.04, 0.0, 40)
    assert null_is_off(off, RULE)
    assert null_is_off(Evidence(-0.03, -0.04, -0.02, 1.0, 40), RULE)
    assert not null_is_off(Evidence(0.01, 0.005, 0.02, 1.0, 40), RULE)  # within a point of none
    for wall in ((-0.01, 0.01), (0.03, 0.06)):
        assert decide(look(wall, wall, off), RULE) is None
        assert decide_last(look(wall, wall, off), RULE).reason.startswith("the null control is off")


def test_waiting_is_believed_only_beside_a_null_control_that_is_known():
    unknown = Evidence(0.0, -math.inf, math.inf, 1.0, 3)
    assert decide(look((0.03, 0.06), (-0.01, 0.01), unknown), RULE) is None
    assert decide_last(look((0.03, 0.06), (-0.01, 0.01), unknown), RULE).verdict == "inconclusive"


def test_at_the_end_wall_time_over_the_line_is_a_regression_whatever_cpu_time_says():
    assert decide_last(look((0.03, 0.06), (0.02, 0.03)), RULE).kind == "waiting"
    last = decide_last(look((0.01, 0.03), (0.01, 0.03)), RULE)
    assert last.verdict == "inconclusive"
    assert "--budget" in last.reason


def test_bounds_by_hand():
    """Of 20 values the 5th smallest: P(Bin(20) <= 3) = 0.0013, P(<= 4) = 0.0059, P(<= 5) = 0.021."""
    found = weigh(np.arange(20.0), Rule(alpha=0.06))  # 0.006 a look
    assert (found.low, found.high) == (4.0, 15.0)
    assert weigh(np.arange(20.0), RULE).low == 3.0
    assert weigh(np.empty(0), RULE).p_over == 1.0
    few = weigh(np.arange(7.0), RULE)  # 1 / 128 is more than 0.005
    assert (few.low, few.known) == (-math.inf, False)


@given(st.lists(st.floats(-0.1, 0.1), min_size=1, max_size=200))
def test_the_bound_and_the_sign_test_say_the_same(values):
    found = weigh(np.asarray(values), RULE)
    assert (found.low > RULE.line) == (found.p_over <= RULE.tail)


def test_what_would_have_been_caught():
    """Bounds 0.6 points below the value: +3.1 % is just called at a line of 2.47 %."""
    found = would_have_caught(look((-0.006, 0.006), (-0.004, 0.004)), RULE)
    assert math.log1p(found) == pytest.approx(RULE.line + 0.006)
    assert would_have_caught(look((-math.inf, 1), None), RULE) == math.inf


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.04 against 0.05 / 4, / 3, / 2, / 1: the second fails, and all after it."""
    assert holm([0.04, 0.01, 0.03, 0.02], 0.05) == [False, True, False, False]
    assert holm([0.01, 0.01, 0.02, 0.04], 0.05) == [True, True, True, True]
    assert holm([], 0.05) == []


def test_percent():
    assert percent(math.log(1.025)) == "+2.5 %"
    assert percent(math.log(0.9)) == "-10.0 %"

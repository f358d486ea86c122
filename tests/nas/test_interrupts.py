"""SIGTERM as Ctrl-C: at once, at a safe moment, and also where Ctrl-C itself is ignored."""

import signal

import pytest

from nas.interrupts import at_a_safe_moment, terminated_like_ctrl_c

pytestmark = pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="sends signals to itself")


def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


def test_sigterm_interrupts_and_afterwards_does_what_it_did_before():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminated_like_ctrl_c() as came:
        terminate()
    assert came()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_training_finishes_its_step_first():
    steps = []

    def train(asked_to_stop):
        for step in range(9):
            if step == 1:
                terminate()
            steps.append(step)
            if asked_to_stop():
                return

    with pytest.raises(KeyboardInterrupt), terminated_like_ctrl_c() as came, at_a_safe_moment() as asked_to_stop:
        train(asked_to_stop)
    assert (steps, came()) == ([0, 1], True)


def test_what_a_script_started_in_the_background_ignores_sigint_and_still_ends():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), terminated_like_ctrl_c():
            terminate()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_block_without_a_signal_ends_as_usual():
    with terminated_like_ctrl_c() as came:
        pass
    assert not came()

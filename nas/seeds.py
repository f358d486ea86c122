"""Every stream of random numbers of a run, by name, so that no two purposes ever share a latent.

``draw_inputs(specs, n, (seed, Stream.HELD_OUT))`` is all there is to it: it seeds numpy's generator with a hash of
the numbers and the input's name, so that different streams share no latent. Weights before training follow from the
experiment's seed alone, so that equal genotypes start alike.
"""

from enum import IntEnum


class Stream(IntEnum):
    """What random numbers are drawn for; never renumber one, as old runs would no longer repeat."""

    TRAIN = 1  # followed by a phase and a step
    CURVE = 2  # points of the reference's learning curve
    RUNG = 3  # scores that stop or keep candidates
    CHOICE = 4  # the score that chooses the winner
    STEPS = 5  # decisions about compression steps
    HELD_OUT = 6  # the final table; used once
    CALIBRATION = 7
    PARITY = 8
    TIMING = 9
    GRID = 10
    PROPOSAL = 12  # followed by a trial's number
    BOOTSTRAP = 13
    BANK = 14  # what the reference draws for its students

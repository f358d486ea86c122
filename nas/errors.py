"""The root of every error of this room."""


class NasError(ValueError):
    """An experiment, its data or its run folder cannot be used as it is; the message says what to do."""

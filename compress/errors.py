"""The root of every error of this room."""


class CompressError(ValueError):
    """A generator, a file or a budget cannot be used as it is; the message says what to do."""

"""One file a runtime; each makes something that can be timed: a ``Runner`` (see ``base``)."""

"""The proof: every number of the README, with its interval and the command that makes it (`make proof`).

One piece is one family and one seed: our run, random search with the same minutes on the same trained reference, and
what else one could do to that reference. Each piece leaves a small JSON file; `docs/results.md` is built from these.
"""

"""Honest latency: run a model on the runtime that will serve it, in pairs, with an interval."""

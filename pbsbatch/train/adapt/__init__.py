"""Adapt a cell classifier to a laboratory that it has not seen: its crops, no labels or a few, another model folder."""

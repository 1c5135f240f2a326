"""How two published studies trained, by name: settings that are put over those of a file and under the command line's.

`adadelta-leaky` augments before it splits, as published: copies of one picture come into all splits, and what it
reaches says nothing of new cells. `adadelta` does the same cleanly. What a study does not say (learning rate of
Adadelta, copies a picture) is ours; groups of one cell or field are kept together wherever the split is clean.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pbsbatch.errors import UsageError
from pbsbatch.train.classifier.settings import AUGMENTED, GROUPS

__all__ = ["PRESETS", "preset_of"]

_PLAIN: Mapping[str, Any] = {
    "precision": "fp32", "warm_up": 0, "weight_decay": 0.0, "schedule": "constant", "ema": 0.0, "smoothing": 0.0,
    "balance": 0.0, "clip": 1e6, "epochs": 50.0, "minutes": 0.0, "augment": ("small",),
}  # fmt: skip
_ADADELTA: Mapping[str, Any] = {
    **_PLAIN, "optimiser": "adadelta", "learning_rate": 1.0, "batch": 30, "shares": (0.6, 0.2, 0.2),
}  # fmt: skip
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "adadelta": {**_ADADELTA, "split": GROUPS},
    "adadelta-leaky": {**_ADADELTA, "split": AUGMENTED, "copies": 4},
    "adam-42": {
        **_PLAIN, "optimiser": "adam", "learning_rate": 1e-4, "batch": 16, "shares": (0.64, 0.16, 0.2), "split": GROUPS,
        "split_seed": 42,
    },
}  # fmt: skip


def preset_of(name: str) -> dict[str, Any]:
    """Return a preset's settings; one that is not there is a UsageError."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(PRESETS)}"
        raise UsageError(f"no preset is called {name!r}", cure=hint)
    return dict(PRESETS[name])

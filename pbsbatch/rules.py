"""Every rule by which quality is judged: a named number, its unit, and where it comes from."""

from __future__ import annotations

from typing import Final

__all__ = ["BLOCK_UM", "PALE", "RED_CELL", "TOUCH_GAP"]

RED_CELL: Final = "RBC"
"""The class of a model whose cells are red cells."""
BLOCK_UM: Final = 128.0
"""Side of the blocks by which a smear is judged: about 170 red cells of a monolayer, enough for shares of them."""
TOUCH_GAP: Final = 0.04
"""Cells touch that are nearer to each other than this share of their radii: 0.3 um, a pixel of the work grid."""
PALE: Final = 0.1
"""A red cell is pale in its centre from this share of its rim's density on."""

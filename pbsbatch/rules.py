"""Every rule by which quality is judged: a named number, its unit, and where it comes from."""

from __future__ import annotations

from typing import Final

RED_CELL: Final = "RBC"
"""The class of a model whose cells are red cells."""
PLATELET: Final = "Platelet"
"""The class of a model whose cells are platelets."""
BLOCK_UM: Final = 64.0
"""Side of the blocks by which a smear is judged. Shares are taken from nine of them, 400 red cells of a monolayer; with
blocks of 128 um, 7 % of what was called monolayer on drawn smears was glass beside it."""
NEAR: Final = 1.02
"""Cells touch whose centres are nearer than this times their radii towards each other: half a pixel of the work grid
beyond where they meet."""
OVER: Final = 0.85
"""Cells overlap whose centres are nearer than this times their radii: labelled boxes are up to 8 % loose."""
PALE: Final = 0.1
"""A red cell is pale in its centre from this share of its rim's density on."""

# The zones of a smear (quality/zones.py). Measured on smears drawn at 3,000 to 14,000 red cells per mm2, whose zones
# are known, and on the fields of three laboratories, all of them monolayers.
SAMPLE_PX: Final = 16
"""Side of the square of work pixels that a sample of the tile's pixels stands for."""
LEAST_JUDGED: Final = 20
"""Red cells from which on they are called a crowd: of twelve, two pairs too many are chance."""
JUDGED_CELLS: Final = 250
"""Red cells from which on a share of them is certain enough, 3 %; where there are fewer, a wider circle is asked."""
CROWDED: Final = 0.48
"""Thick from this rate of overlaps on, relative to cells thrown at random. Measured: 0.34 in drawn monolayers of any
density, 0.17 to 0.31 in the fields of three laboratories, 0.6 to 1.2 in thick parts."""
EDGE_PX: Final = 5.0
"""Out of focus from this width of rims on, in pixels of 0.25 um. Measured: 2.8 to 3.1 in the fields of laboratories."""
LEAST_FILLED: Final = 0.04
"""Empty where red cells side by side would take less than this share of the area: 1,000 per mm2, a third of the fewest
that severe anaemia leaves."""
FLAT: Final = 0.65
"""Feathered where the pallor is less than this share of the slide's own. Measured on drawn smears: 0.45 at the
feathered end, 0.7 to 0.9 in the thick part."""
SPARSE: Final = 0.5
"""Feathered, or half beside the smear, where red cells are less than this share of the slide's monolayer."""
COMPANY: Final = 0.5
"""A block of the monolayer has at least this many of its kind around it for each of other zones."""

# Counting (quality/frame.py, quality/counting.py).
FRAME_NEAR_UM: Final = 2.0
"""Cells are counted from here on from the slide's left and upper edge: less of a cell than that is often not found."""
FRAME_FAR_UM: Final = 1.0
"""Cells whose box ends nearer than this to the slide's right or lower edge count as touching it: boxes end within a few
pixels of where the cell does."""
CLUMP_UM2: Final = 20.0
"""A platelet larger than this, 5 um across, is a clump, or a giant that a person should see."""
LEAST_RED_CELLS: Final = 30
"""Red cells from which on their diameter is given: its mean is then known to 3 %, its variation to an eighth."""

# A second opinion (opinion.py).
CLOSE_CHANCES: Final = 0.2
"""Two types whose chances lie closer than this are a toss-up for a person to settle: .6 against .4 at the most."""

# The summary (run/tally.py, run/columns.py, run/judge.py).
FIELD_MM2: Final = 0.25
"""A slide no larger than this is a microscope's field and no sample: at usual counts it holds four white cells."""
DIFF_OK: Final = 200
DIFF_LIMITED: Final = 100
"""White cells of a differential: 100 at least, 200 usual (CLSI H20)."""
LEAST_MONOLAYER_MM2: Final = 0.25
"""A smear with less monolayer is looked at: its densities rest on fewer than some 2,500 red cells of one place."""
BLURRED_REVIEW: Final = 0.2
BLURRED_FAIL: Final = 0.5
"""Shares of the smear that may be out of focus."""
LOWEST_MPP: Final = 0.5
"""um per pixel above which a slide is coarser than a 20x scan, the coarsest that models were made for."""
UNSURE_HIGH: Final = 0.1
LEAST_FOR_UNSURE: Final = 20
"""Unsure white cells beyond a tenth hide more than counting does: 30 of 100 cells means 21 to 40 %."""
CLUMPED: Final = 0.4
LEAST_CLUMPED: Final = 10
"""Share and number of platelets in clumps from which on a person should look: none in the fields of three laboratories,
0.23 to 0.35 in drawn smears of which 0.22 are drawn in clumps."""
LEAST_SLIDES: Final = 5
"""Slides of one folder from which on their median says something of each of them."""
RED_CELL_UM_RANGE: Final = (5.8, 8.6)
"""Mean diameters that occur in people; outside, the scale is wrong, or the cells are worth a look."""
SCALE_SHIFT: Final = 0.15
"""Difference to the folder's median diameter: patients differ by less, magnifications by a quarter and more."""
STAIN_SPREADS: Final = 4.0
LEAST_SPREAD_OD: Final = 4.0
"""A colour is an outlier beyond so many robust standard deviations of its folder's; these are no smaller than this
optical density, in 1/100."""

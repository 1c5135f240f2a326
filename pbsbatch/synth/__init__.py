"""Virtual blood smears with exact truth: what tests, the demo, the benchmarks and training draw from.

A `Scene` is a whole slide that exists only as a seed: any region's pixels, cells and label image can be
asked for at any time. `write_*` put scenes into files.
"""

from pbsbatch.synth.cells import CLASSES, TYPES
from pbsbatch.synth.scene import DIFFERENTIAL, Scene, SceneCells
from pbsbatch.synth.stain import STAINS
from pbsbatch.synth.truth import TruthWriter, scene_from
from pbsbatch.synth.write import IdMap, write_field, write_labels, write_slide
from pbsbatch.synth.zones import ZONES

__all__ = [
    "CLASSES",
    "DIFFERENTIAL",
    "STAINS",
    "TYPES",
    "ZONES",
    "IdMap",
    "Scene",
    "SceneCells",
    "TruthWriter",
    "scene_from",
    "write_field",
    "write_labels",
    "write_slide",
]

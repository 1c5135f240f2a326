"""Hold detections against truth: average precision, operating points, lists of right and wrong, confusion."""

from pbsbatch.evaluate.ap import AveragePrecision, detection_ap
from pbsbatch.evaluate.coco import from_coco
from pbsbatch.evaluate.confusion import Confusion, confusion
from pbsbatch.evaluate.evaluation import Evaluation, evaluate
from pbsbatch.evaluate.fields import fields_found, fields_truth, one_class
from pbsbatch.evaluate.verdicts import OperatingPoints, Verdicts, verdicts

__all__ = [
    "AveragePrecision",
    "Confusion",
    "Evaluation",
    "OperatingPoints",
    "Verdicts",
    "confusion",
    "detection_ap",
    "evaluate",
    "fields_found",
    "fields_truth",
    "from_coco",
    "one_class",
    "verdicts",
]

"""Build a classifier's network by the name of its architecture.

Law: what a name builds depends on name, kinds, side and size alone, so that a model folder says all of it.
"""

from __future__ import annotations

from pbsbatch.models.classifier_facts import ARCHITECTURES, SMALL
from pbsbatch.nets.backbones import BackboneNet
from pbsbatch.nets.classifier import ClassifierNet, ClassifierSize, KindsNet
from pbsbatch.nets.stacks import CrpNet, MicrocellNet

__all__ = ["build", "parameters"]


def build(
    arch: str, kinds: int, size: ClassifierSize, dropout: float = 0.0, *, frozen: bool = False
) -> KindsNet:  # fmt: skip
    """Return a network with random weights; size's channels and blocks are of the small one alone."""
    if arch not in ARCHITECTURES:
        raise ValueError(f"no architecture is called {arch!r}")
    if arch == SMALL:
        return ClassifierNet(kinds, size, dropout)
    if arch == "microcell":
        return MicrocellNet(kinds, size.crop_px, dropout)
    if arch.startswith("crp-"):
        return CrpNet(kinds, size.crop_px, int(arch.split("-")[1]), arch.endswith("-fc"), dropout)
    return BackboneNet(arch, kinds, size.crop_px, dropout, frozen=frozen)


def parameters(net: KindsNet) -> int:
    """Return how many weights a network has, frozen ones with them."""
    return sum(p.numel() for p in net.parameters())

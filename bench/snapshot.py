"""What a snapshot holds: the nets that scores read.  A GAN's is G_ema alone; where D classifies, D is in it.

A file is one state dict, of G_ema, or of {"G": G_ema, "D": D} under SGAN and {"D": D} of a supervised run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from bench.models import build
from bench.setting import Setting


class SnapshotError(Exception):
    """A snapshot that is missing or damaged."""


def to_keep(setting: Setting, G_ema: nn.Module, D: nn.Module) -> nn.Module:
    """Return what a snapshot of this run holds, as one module."""
    if setting.objective == "supervised":
        return nn.ModuleDict({"D": D})
    if setting.classifies:
        return nn.ModuleDict({"G": G_ema, "D": D})
    return G_ema


def nets(kept: nn.Module) -> Mapping[str, nn.Module]:
    """Return the nets of what was kept, by "G" and "D"."""
    return dict(kept.items()) if isinstance(kept, nn.ModuleDict) else {"G": kept}


def load(setting: Setting, path: Path) -> Mapping[str, nn.Module]:
    """Read a snapshot; its nets are on the CPU, in training mode.  Raises SnapshotError."""
    G, D = build(setting)
    kept = to_keep(setting, G, D)
    try:
        kept.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise SnapshotError(f"the snapshot {path.name} is missing or damaged") from error
    return nets(kept)

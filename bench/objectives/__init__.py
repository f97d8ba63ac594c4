"""Losses and penalties on logits, as phases of one loop.

A phase says which net it trains, which tensors it needs and what it minimises; the loop draws the tensors and does
backward and step.  Losses are pure, save that nets in training mode update their batch statistics and power
iterations on the way, in G too while it makes fakes for D, as the papers' codes do.
"""

from __future__ import annotations

from bench.objectives import adversarial, classes, pairs
from bench.objectives.phase import Batch, Logs, Nets, Phase
from bench.setting import Setting

__all__ = ["Batch", "Logs", "Nets", "Phase", "phases"]


def phases(setting: Setting) -> list[Phase]:
    """Return what one G update consists of: for most GANs, D `n_critic` times, then G once.

    Logs: loss_D and loss_G without penalty (so -loss_D is the Wasserstein estimate), penalty as it is added to loss_D,
    logit_real and logit_fake as means.  SGAN has three D phases; a supervised run is one phase, and no G is trained.
    """
    if setting.data.pairs != "none":
        return pairs.phases(setting)
    if setting.objective == "supervised":
        return [classes.labelled_phase(setting)]
    if setting.condition == "sgan":
        return classes.sgan_phases(setting)
    made = adversarial.phases(setting)
    if setting.g_loss == "feature_matching":
        made = classes.matching_features(made, "real")
    return classes.with_classes(made, setting) if setting.condition == "acgan" else made

"""What to watch inside the nets while they train: the probes' names, and the measures that they yield.

Torch-free: a study's claims name these measures.  `bench.probes.watch` takes them; docs/probes.md says what each tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

ProbeName = Literal["activations", "weights", "gradients", "critic_gradient", "logits", "batch_statistics"]


class Probe(NamedTuple):
    """One thing to watch."""

    title: str
    layers: str | None
    """Its values by layer, under this name in a row's `layers`; None where it has none."""
    unit: str
    scale: Literal["log", "raw"]
    """How its layers are drawn."""


PROBES: dict[str, Probe] = {
    "activations": Probe("RMS of activations", "activation_rms", "", "log"),
    "dead_units": Probe("share of dead units", "dead_units", "", "raw"),
    "weights": Probe("spectral norm of weights", "spectral_norm", "", "log"),
    "gradients": Probe("gradient norm", "gradient_norm", "", "log"),
    "critic_gradient": Probe("gradient of D at interpolates", None, "", "raw"),
    "logits": Probe("logits", None, "", "raw"),
    "batch_statistics": Probe("drift of batch statistics", "batch_drift", "nats", "log"),
}
"""What is drawn of a run, in this order.  `dead_units` comes with `activations`: one pass gives both."""
NAMES: tuple[ProbeName, ...] = (
    "activations",
    "weights",
    "gradients",
    "critic_gradient",
    "logits",
    "batch_statistics",
)
"""What `probes:` of a study may list; `true` means all."""


class Measure(NamedTuple):
    """One number of a run at a moment of training."""

    label: str
    probe: str
    """A key of `PROBES`, or `log`: it is in every run's training log."""
    scale: Literal["log", "raw"] = "raw"
    unit: str = ""


MEASURES: dict[str, Measure] = {
    "activation_rms_G": Measure("RMS of activations, G", "activations", "log"),
    "activation_rms_D": Measure("RMS of activations, D", "activations", "log"),
    "dead_units_G": Measure("dead units, G", "dead_units"),
    "dead_units_D": Measure("dead units, D", "dead_units"),
    "spectral_norm_G": Measure("largest spectral norm, G", "weights", "log"),
    "spectral_norm_D": Measure("largest spectral norm, D", "weights", "log"),
    "gradient_norm_G": Measure("gradient norm, G", "gradients", "log"),
    "gradient_norm_D": Measure("gradient norm, D", "gradients", "log"),
    "critic_gradient_mean": Measure("gradient of D at interpolates, mean", "critic_gradient"),
    "critic_gradient_sd": Measure("gradient of D at interpolates, sd", "critic_gradient"),
    "logit_train": Measure("logit of training reals", "logits"),
    "logit_held_out": Measure("logit of held-out reals", "logits"),
    "logit_generated": Measure("logit of fakes", "logits"),
    "logit_gap_held_out": Measure("logit gap, training − held-out reals", "logits"),
    "logit_gap_fake": Measure("logit gap, training reals − fakes", "logits"),
    "batch_drift_G": Measure("drift of batch statistics, G", "batch_statistics", "log", "nats"),
    "batch_drift_D": Measure("drift of batch statistics, D", "batch_statistics", "log", "nats"),
    "critic_estimate": Measure("critic estimate", "log"),
    "loss_D": Measure("loss of D", "log"),
    "loss_G": Measure("loss of G", "log"),
    "penalty": Measure("penalty", "log"),
}
"""What a claim may measure besides metrics and outcomes, in the order in which it is shown."""


def chosen(said: bool | Sequence[ProbeName]) -> tuple[ProbeName, ...]:
    """Return what `probes:` of a study means: all, none, or those that are listed, in our order."""
    if isinstance(said, bool):
        return NAMES if said else ()
    return tuple(name for name in NAMES if name in said)

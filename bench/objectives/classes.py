"""Objectives with class labels: SGAN's three steps of D, its supervised baseline, AC-GAN's terms; feature matching."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import ranks
from bench.models.conditions import Judge, Seen
from bench.objectives.losses import LOSSES
from bench.objectives.penalties import call
from bench.objectives.phase import Batch, Logs, Nets, Phase
from bench.schedule import d_updates
from bench.setting import Setting

# ---------------------------------------------------------------------------------------------------------
# SGAN and its supervised baseline.


def sgan_phases(setting: Setting) -> list[Phase]:
    """Return SGAN's phases: D on labelled reals, on unlabelled reals, on fakes, each with its optimizer; then G.

    D's K class logits l give both probabilities: softmax for the class, and Z / (Z + 1) with Z = sum exp l for real,
    which is sigma(log sum exp l) (Salimans et al. 2016, section 5).  Three steps are Langr & Bok's (2019, chapter 7);
    Salimans et al. add the three losses up, the latter two halved, and take one step.
    """
    adversarial = LOSSES[setting.loss]

    def real(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
        logit = call(nets.D, batch["unlabelled"], None)
        total = F.softplus(-logit).mean()
        return total, {"loss_D_real": total.detach(), "logit_real": logit.detach().mean()}

    def fake(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
        with torch.no_grad():
            made = call(nets.G, batch["z"], None)
        logit = call(nets.D, made, None)
        total = F.softplus(logit).mean()
        return total, {"loss_D_fake": total.detach(), "logit_fake": logit.detach().mean()}

    def g(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
        fake = call(nets.G, batch["z"], None)
        total = adversarial.g(call(nets.D, fake, None), None)
        return total, {"loss_G": total.detach()}

    times = _times(setting)
    phases = [
        labelled_phase(setting),
        Phase("D_real", "D", ("unlabelled",), times, real),
        Phase("D_fake", "D", ("z",), times, fake),
        Phase("G", "G", ("z",), lambda g_step: 1, g),
    ]
    return matching_features(phases, "unlabelled") if setting.g_loss == "feature_matching" else phases


def labelled_phase(setting: Setting) -> Phase:
    """Minimise the cross entropy of D's classes on labelled reals: SGAN's first step, and all of a supervised run."""

    def loss(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
        logits, y = told(judge(nets.D).see(batch["labelled"])), batch["y_labelled"]
        total = F.cross_entropy(logits, y)
        right = (logits.detach().argmax(dim=1) == y).float().mean()
        return total, {"loss_labelled": total.detach(), "accuracy_labelled": 100 * right}

    return Phase("D_labelled", "D", ("labelled", "y_labelled"), _times(setting), loss)


def _times(setting: Setting) -> Callable[[int], int]:
    return lambda g_step: d_updates(setting.train, g_step)


# ---------------------------------------------------------------------------------------------------------
# Feature matching.


def matching_features(phases: list[Phase], reals: str) -> list[Phase]:
    """Replace what G minimises by the mean square difference of D's mean features of fakes and of the batch's `reals`.

    Salimans et al. 2016, section 3.1, with a mean over features as in their released MNIST code, where the paper has a
    sum; features are what D's last layer reads (in their code, of a D with more dense layers, the layer before).
    """

    def loss(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
        y, y_fake, D = batch.get("y"), batch.get("y_fake"), judge(nets.D)
        with torch.no_grad():
            wanted = ranks.mean(D.see(batch[reals], y).features.mean(dim=0))
        made = ranks.mean(D.see(call(nets.G, batch["z"], y_fake), y_fake).features.mean(dim=0))
        total = (made - wanted).square().mean()
        return total, {"loss_G": total.detach()}

    def matching(phase: Phase) -> Phase:
        shown = (reals, "y") if "y_fake" in phase.needs else (reals,)
        return replace(phase, needs=(*phase.needs, *(name for name in shown if name not in phase.needs)), loss=loss)

    return [matching(phase) if phase.trains == "G" else phase for phase in phases]


# ---------------------------------------------------------------------------------------------------------
# AC-GAN.


class Listening(nn.Module):
    """A D as a loss calls it, which keeps what it has told of each batch."""

    def __init__(self, D: Judge | Listening) -> None:
        super().__init__()
        self.D = D
        self.told: list[tuple[Tensor | None, Seen]] = []

    def see(self, x: Tensor, y: Tensor | None = None) -> Seen:
        seen = self.D.see(x, y)
        self.told.append((y, seen))
        return seen

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.see(x, y).logit


def with_classes(phases: list[Phase], setting: Setting) -> list[Phase]:
    """Add AC-GAN's cross entropies: D's on reals, G's on fakes, with the weights of `acgan_weight`.

    Odena et al. 2017, eq. 3, adds both with weight 1 and trains D's classes on fakes too; reals alone and the weights
    1 and 0.1 are those of igul222/improved_wgan_training gan_cifar_resnet.py.
    """
    d_weight, g_weight = setting.acgan_weight

    def adding(phase: Phase) -> Phase:
        of_d = phase.trains == "D"

        def loss(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
            ear = Listening(judge(nets.D))
            total, logs = phase.loss(Nets(nets.G, ear), batch)
            if of_d:
                # Reals come first, whether fakes share their pass or not.
                _, seen = ear.told[0]
                entropy = F.cross_entropy(told(seen)[: len(batch["y"])], batch["y"])
            else:
                # Fakes come last, whether reals share their pass (relativistic losses) or not.
                _, seen = ear.told[-1]
                entropy = F.cross_entropy(told(seen)[-len(batch["y_fake"]) :], batch["y_fake"])
            added = (d_weight if of_d else g_weight) * entropy
            return total + added, {**logs, f"loss_classes_{phase.trains}": entropy.detach()}

        return replace(phase, loss=loss, spared=phase.spared and adding(phase.spared))

    return [adding(phase) for phase in phases]


def judge(D: nn.Module) -> Judge | Listening:
    """Return D as what has features and may tell classes.  Raises TypeError for a D that has not."""
    if not isinstance(D, Judge | Listening):
        raise TypeError(f"{type(D).__name__} has no features or classes to tell")
    return D


def told(seen: Seen) -> Tensor:
    """Return the class logits.  Raises TypeError when there are none."""
    if seen.classes is None:
        raise TypeError("this D tells no classes")
    return seen.classes

"""D against G on logits: the two phases of most GANs, with every loss and penalty a switch."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from bench.norms import WITHIN_SAMPLE
from bench.objectives.heads import augmented, full, joined, make, shares_fakes, unmoved
from bench.objectives.losses import LOSSES, d_hinge
from bench.objectives.penalties import call, clip, gradient_penalty, r1_penalty
from bench.objectives.phase import Batch, Logs, Nets, Phase
from bench.objectives.reconstruction import reconstruction
from bench.schedule import d_updates
from bench.setting import Setting


def phases(setting: Setting) -> list[Phase]:
    """Return the D phase, `n_critic` times in a G update, and the G phase."""
    return [d_phase(setting), g_phase(setting)]


def conditions(setting: Setting) -> tuple[str, ...]:
    """Name the tensors of a batch that condition reals and fakes."""
    return ("y", "y_fake") if setting.gives_labels else ()


def d_phase(setting: Setting) -> Phase:
    """Minimise D's side of the loss, the penalty, and what rebuilding reals costs."""
    adversarial = LOSSES[setting.loss]
    penalty, bound = setting.penalty, setting.clip_value
    one_pass = in_one_pass(setting)
    shared, rebuild = shares_fakes(setting), reconstruction(setting)

    def loss(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
        real, y, y_fake = batch["real"], batch.get("y"), batch.get("y_fake")
        with torch.no_grad(), unmoved(nets.G) if shared else contextlib.nullcontext():
            fake = make(nets.G, batch["z"], y_fake)
            fake = augmented(fake, batch.get("augment_fake"), setting)
            real = full(augmented(real, batch.get("augment_real"), setting))
        if penalty == "r1":
            real = real.detach().requires_grad_()
        logs: Logs = {}
        if one_pass:
            both = None if y is None or y_fake is None else torch.cat([y, y_fake])
            r, f = call(nets.D, joined(real, fake), both).chunk(2)
        elif rebuild is not None:
            r, logs["reconstruction"] = rebuild(nets.D, real, batch["part"])
            f = call(nets.D, fake, y_fake)
        else:
            r, f = call(nets.D, real, y), call(nets.D, fake, y_fake)
        if setting.hinge_jitter:
            total = d_hinge(r, f, batch["margin_real"], batch["margin_fake"])
        else:
            total = adversarial.d(r, f)
        logs |= {"loss_D": total, "logit_real": r.mean(), "logit_fake": f.mean()}
        if "reconstruction" in logs:
            total = total + logs["reconstruction"]
        if penalty == "gp":
            logs["penalty"] = setting.gp_weight * gradient_penalty(nets.D, real, full(fake), batch["gp_alpha"], y)
        elif penalty == "r1":
            logs["penalty"] = setting.r1_weight * r1_penalty(real, r)
        if "penalty" in logs:
            total = total + logs["penalty"]
        return total, {name: value.detach() for name, value in logs.items()}

    return Phase(
        name="D",
        trains="D",
        needs=(
            *("real", "z", *conditions(setting)),
            *(("gp_alpha",) if penalty == "gp" else ()),
            *(("augment_real", "augment_fake") if setting.augment else ()),
            *(("margin_real", "margin_fake") if setting.hinge_jitter else ()),
            *(("part",) if rebuild is not None else ()),
        ),
        times=lambda g_step: d_updates(setting.train, g_step),
        loss=loss,
        before=(lambda nets: clip(nets.D, bound)) if penalty == "clip" else None,
    )


def g_phase(setting: Setting) -> Phase:
    """Minimise G's side of the loss."""
    adversarial = LOSSES[setting.loss]

    def loss(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
        y_fake = batch.get("y_fake")
        fake = augmented(make(nets.G, batch["z"], y_fake), batch.get("augment_fake"), setting)
        total = adversarial.g(call(nets.D, fake, y_fake), None)
        return total, {"loss_G": total.detach()}

    return Phase(
        name="G",
        trains="G",
        needs=("z", *conditions(setting)[1:], *(("augment_fake",) if setting.augment else ())),
        times=lambda g_step: 1,
        loss=loss,
        stream="D" if shares_fakes(setting) else "",
    )


def in_one_pass(setting: Setting) -> bool:
    """Say whether reals and fakes go through D together.

    Where no sample reads another it is the same mathematics and faster, but for R1, whose gradient is of the
    reals alone, and for decoders, which rebuild reals alone.  A norm of the user's own may read the batch, so it is
    asked nothing.
    """
    if setting.d_batching == "joint":
        return True
    together = setting.penalty != "r1" and setting.decoders == "none"
    return setting.d_norm in WITHIN_SAMPLE and setting.mbstd == 0 and together

"""D against G on logits: the two phases of most GANs, with every loss and penalty a switch."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.norms import WITHIN_SAMPLE
from bench.objectives.losses import LOSSES
from bench.objectives.penalties import call, clip, gradient_penalty, r1_penalty
from bench.objectives.phase import Batch, Logs, Nets, Phase
from bench.schedule import d_updates
from bench.setting import Setting


def phases(setting: Setting) -> list[Phase]:
    """Return the D phase, `n_critic` times in a G update, and the G phase."""
    return [d_phase(setting), g_phase(setting)]


def conditions(setting: Setting) -> tuple[str, ...]:
    """Name the tensors of a batch that condition reals and fakes."""
    return ("y", "y_fake") if setting.gives_labels else ()


def d_phase(setting: Setting) -> Phase:
    """Minimise D's side of the loss and the penalty."""
    adversarial = LOSSES[setting.loss]
    penalty, bound = setting.penalty, setting.clip_value
    one_pass = in_one_pass(setting)

    def loss(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
        real, y, y_fake = batch["real"], batch.get("y"), batch.get("y_fake")
        with torch.no_grad():
            fake = call(nets.G, batch["z"], y_fake)
        if penalty == "r1":
            real = real.detach().requires_grad_()
        if one_pass:
            both = None if y is None or y_fake is None else torch.cat([y, y_fake])
            r, f = call(nets.D, torch.cat([real, fake]), both).chunk(2)
        else:
            r, f = call(nets.D, real, y), call(nets.D, fake, y_fake)
        total = adversarial.d(r, f)
        logs = {"loss_D": total, "logit_real": r.mean(), "logit_fake": f.mean()}
        if penalty == "gp":
            logs["penalty"] = setting.gp_weight * gradient_penalty(nets.D, real, fake, batch["gp_alpha"], y)
        elif penalty == "r1":
            logs["penalty"] = setting.r1_weight * r1_penalty(real, r)
        if "penalty" in logs:
            total = total + logs["penalty"]
        return total, {name: value.detach() for name, value in logs.items()}

    return Phase(
        name="D",
        trains="D",
        needs=("real", "z", *conditions(setting), *(("gp_alpha",) if penalty == "gp" else ())),
        times=lambda g_step: d_updates(setting.train, g_step),
        loss=loss,
        before=(lambda nets: clip(nets.D, bound)) if penalty == "clip" else None,
    )


def g_phase(setting: Setting) -> Phase:
    """Minimise G's side of the loss."""
    adversarial = LOSSES[setting.loss]

    def loss(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
        y_fake = batch.get("y_fake")
        total = adversarial.g(call(nets.D, call(nets.G, batch["z"], y_fake), y_fake), None)
        return total, {"loss_G": total.detach()}

    return Phase(name="G", trains="G", needs=("z", *conditions(setting)[1:]), times=lambda g_step: 1, loss=loss)


def in_one_pass(setting: Setting) -> bool:
    """Say whether reals and fakes go through D together.

    Where no sample reads another it is the same mathematics and faster, but for R1, whose gradient is of the
    reals alone.  A norm of the user's own may read the batch, so it is asked nothing.
    """
    if setting.d_batching == "joint":
        return True
    return setting.d_norm in WITHIN_SAMPLE and setting.mbstd == 0 and setting.penalty != "r1"

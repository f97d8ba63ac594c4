"""Image to image, as pix2pix has it: GAN, conditional GAN, L1, and their sums (Isola et al. 2017, eqs. 1 to 4).

G = gan_weight · (G's side of the loss) + l1_weight · E |target - G(input)|, images in [-1, 1].  With `gan_weight: 0`
there is no D's phase at all.  `d_sees_input` makes the GAN conditional: D is shown the input beside the output (eq. 1)
or the output alone (eq. 2).  D's phase is any GAN's, halved by `d_loss_weight` in the paper; the released Torch code
halves only the number that it prints.

A step is about one batch of pairs: G's update is given D's last, and, where both are as often, its very fakes.
"""

from __future__ import annotations

from torch import Tensor

from bench.objectives import adversarial
from bench.objectives.heads import shares_fakes
from bench.objectives.penalties import call
from bench.objectives.phase import Batch, Logs, Nets, Phase
from bench.setting import Setting


def phases(setting: Setting) -> list[Phase]:
    """Return D's phase, where the GAN has any weight, and G's."""
    trained = [adversarial.d_phase(setting)] if setting.gan_weight else []
    return [*trained, g_phase(setting)]


def g_phase(setting: Setting) -> Phase:
    """Minimise G's weighted sum.  Logs: loss_G, the GAN's part, and loss_L1, both before their weights."""

    def loss(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
        fake = call(nets.G, batch["z"], batch["y_fake"])
        logs: Logs = {}
        total = fake.new_zeros(())
        if setting.gan_weight:
            logs["loss_G"] = adversarial.g_side(setting, nets, fake, batch)
            total = total + setting.gan_weight * logs["loss_G"]
        if setting.l1_weight:
            logs["loss_L1"] = (batch["real"] - fake).abs().mean()
            total = total + setting.l1_weight * logs["loss_L1"]
        return adversarial.g_bounded(setting, nets.G, total, logs)

    return Phase(
        name="G",
        trains="G",
        needs=("real", "z", *adversarial.conditions(setting)),
        times=lambda g_step: 1,
        loss=loss,
        stream="D" if shares_fakes(setting) else "",
    )

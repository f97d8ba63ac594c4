"""D against G on logits: the two phases of most GANs, with every loss and penalty a switch."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn

from bench import precision
from bench.norms import WITHIN_SAMPLE, orthogonality
from bench.objectives.heads import augmented, full, given, joined, make, shares_fakes, unmoved
from bench.objectives.losses import d_hinge, loss_named
from bench.objectives.penalties import DIFFERENTIATES, NEEDS, call, clip, penalty_on
from bench.objectives.phase import Batch, Images, Logs, Nets, Phase
from bench.objectives.reconstruction import reconstruction
from bench.schedule import d_updates
from bench.setting import Setting


def phases(setting: Setting) -> list[Phase]:
    """Return the D phase, `n_critic` times in a G update, and the G phase."""
    return [d_phase(setting), g_phase(setting)]


def conditions(setting: Setting) -> tuple[str, ...]:
    """Name the tensors of a batch that condition reals and fakes: labels, or the inputs of pairs."""
    return ("y", "y_fake") if setting.gives_labels or setting.data.pairs != "none" else ()


def styled(setting: Setting) -> tuple[str, ...]:
    """Name the style image, where G reads one; of pairs it is the input image."""
    return ("style",) if setting.style_source == "image" and setting.data.pairs == "none" else ()


def d_phase(setting: Setting) -> Phase:
    """Minimise D's side of the loss, the penalty, and what rebuilding reals costs."""
    adversarial = loss_named(setting.loss)
    penalty, bound, every = setting.penalty, setting.clip_value, setting.penalty_every
    shared, rebuild = shares_fakes(setting), reconstruction(setting)

    def loss(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
        real, y_fake = batch["real"], batch.get("y_fake")
        with torch.no_grad(), unmoved(nets.G) if shared else contextlib.nullcontext():
            fake = make(nets.G, batch["z"], given(batch))
            fake = augmented(fake, batch.get("augment_fake"), setting)
            real = full(augmented(real, batch.get("augment_real"), setting))
        real, fake = leaves(setting, real, fake)
        logs: Logs = {}
        if rebuild is not None and not in_one_pass(setting):
            r, logs["reconstruction"] = rebuild(nets.D, real, batch["part"])
            f = call(nets.D, fake, y_fake)
        else:
            r, f = judged(setting, nets.D, real, fake, batch)
        if setting.hinge_jitter:
            total = d_hinge(r, f, batch["margin_real"], batch["margin_fake"])
        else:
            total = adversarial.d(r, f)
        logs |= {"loss_D": total, "logit_real": r.mean(), "logit_fake": f.mean()}
        logs |= bounds(setting, nets.D, real, full(fake), r, f, batch)
        for name in ("reconstruction", "penalty", "drift", "orthogonal_D"):
            if name in logs:
                total = total + logs[name]
        return setting.d_loss_weight * total, {name: value.detach() for name, value in logs.items()}

    return Phase(
        name="D",
        trains="D",
        needs=(
            *("real", "z", *conditions(setting), *styled(setting)),
            *NEEDS.get(penalty, ()),
            *(("augment_real", "augment_fake") if setting.augment else ()),
            *(("margin_real", "margin_fake") if setting.hinge_jitter else ()),
            *(("part",) if rebuild is not None else ()),
        ),
        times=lambda g_step: d_updates(setting.train, g_step),
        loss=loss,
        before=(lambda nets: clip(nets.D, bound)) if penalty == "clip" else None,
        every=every,
        spared=d_phase(setting.model_copy(update={"penalty": "none", "penalty_every": 1})) if every > 1 else None,
    )


def g_phase(setting: Setting) -> Phase:
    """Minimise G's side of the loss."""
    adversarial = loss_named(setting.loss)
    compared = ("real", *conditions(setting)[:1], *(("augment_real",) if setting.augment else ()))

    def loss(nets: Nets, batch: Batch) -> tuple[Tensor, Logs]:
        total = g_side(setting, nets, make(nets.G, batch["z"], given(batch)), batch)
        return g_bounded(setting, nets.G, total, {"loss_G": total})

    return Phase(
        name="G",
        trains="G",
        needs=(
            *("z", *conditions(setting)[1:], *styled(setting)),
            *(("augment_fake",) if setting.augment else ()),
            *(compared if adversarial.g_reads_real else ()),
        ),
        times=lambda g_step: 1,
        loss=loss,
        stream="D" if shares_fakes(setting) else "",
    )


def g_side(setting: Setting, nets: Nets, made: Images, batch: Batch) -> Tensor:
    """G's side of the loss on what it made, in D's eyes."""
    adversarial = loss_named(setting.loss)
    fake = augmented(made, batch.get("augment_fake"), setting)
    if not adversarial.g_reads_real:
        return adversarial.g(call(nets.D, fake, batch.get("y_fake")), None)
    real = full(augmented(batch["real"], batch.get("augment_real"), setting))
    r, f = judged(setting, nets.D, real, fake, batch)
    return adversarial.g(f, r)


def g_bounded(setting: Setting, G: nn.Module, total: Tensor, logs: Logs) -> tuple[Tensor, Logs]:
    """Return what G minimises, with `orthogonal_G` where asked, and all logs detached."""
    if setting.g_weight == "orthogonal":
        logs["orthogonal_G"] = setting.orthogonal_weight * orthogonality(G)
        total = total + logs["orthogonal_G"]
    return total, {name: value.detach() for name, value in logs.items()}


def judged(setting: Setting, D: nn.Module, real: Tensor, fake: Images, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits of reals and of fakes, in one pass or in two."""
    y, y_fake = batch.get("y"), batch.get("y_fake")
    if not in_one_pass(setting):
        return of_leaf(D, real, y), of_leaf(D, fake, y_fake)
    both = None if y is None or y_fake is None else torch.cat([y, y_fake])
    r, f = call(D, joined(real, fake), both).split([len(real), len(full(fake))])
    return r, f


def of_leaf(D: nn.Module, images: Images, y: Tensor | None) -> Tensor:
    """Logits of images; in float32 throughout where a penalty differentiates them."""
    leaf = full(images)
    with precision.whole(leaf.device) if leaf.is_leaf and leaf.requires_grad else contextlib.nullcontext():
        return call(D, images, y)


def leaves(setting: Setting, real: Tensor, fake: Images) -> tuple[Tensor, Images]:
    """Make reals or fakes leaves of the graph where the penalty differentiates their logits."""
    asked = DIFFERENTIATES.get(setting.penalty, ())
    if "real" in asked:
        real = real.detach().requires_grad_()
    if "fake" in asked:
        leaf = full(fake).detach().requires_grad_()
        fake = leaf if isinstance(fake, Tensor) else (leaf, fake[1])
    return real, fake


def bounds(setting: Setting, D: nn.Module, real: Tensor, fake: Tensor, r: Tensor, f: Tensor, batch: Batch) -> Logs:
    """What keeps D in bounds, each with its weight: `penalty`, `drift` and `orthogonal_D`, where asked."""
    added: Logs = {}
    penalty = penalty_on(setting, D, {"real": real, "fake": fake}, {"real": r, "fake": f}, batch)
    if penalty is not None:
        added["penalty"] = penalty
    if setting.drift:
        added["drift"] = setting.drift * r.square().mean()  # Karras et al. 2018, appendix A.1
    if setting.d_weight == "orthogonal":
        added["orthogonal_D"] = setting.orthogonal_weight * orthogonality(D)
    return added


def in_one_pass(setting: Setting) -> bool:
    """Say whether reals and fakes go through D together.

    Where no sample reads another it is the same mathematics and faster, but for R1 and R2, whose gradients are of the
    reals or the fakes alone, and for decoders, which rebuild reals alone.  A norm of the user's own may read the batch,
    so it is asked nothing; nor is a network of the user's own.
    """
    if setting.d_batching == "joint":
        return True
    together = setting.penalty not in DIFFERENTIATES and setting.decoders == "none"
    within = setting.d_norm in WITHIN_SAMPLE and ":" not in setting.network
    return within and setting.mbstd == setting.mbdiscrimination == 0 and together

"""Which combinations of settings are invalid or doubtful, and why: one table.

`deny` makes a cell an exclusion, or a mistake where the cell was named by hand; `force` in the study runs it all the
same, marked.  `warn` is said in plan and report.  Numbers are stable: studies and reports quote them.
"""

from __future__ import annotations

from bench.rule import Rule, Verdict
from bench.rules_of_classes import CLASSES
from bench.rules_of_places import PLACES
from bench.schedule import batches, levels, nimg_after
from bench.setting import Setting
from bench.sizes import makes, smallest_map

# ---------------------------------------------------------------------------------------------------------
# The table.

_GRADIENT = ("gp", "gp0", "r1", "r2", "r1r2", "dragan")


def _shared_batches(setting: Setting) -> list[int]:
    """List the batches that ranks share: those of reals, and that of fakes in G's update."""
    return [setting.train.batch, *batches(setting), setting.train.g_batch or setting.train.batch]


def _norm_batch(setting: Setting) -> int:
    """Return the smallest batch that batch norm's statistics are of."""
    batch, train = min(batches(setting)), setting.train
    return batch if train.sync_bn else batch // train.world_size


def _input_norm(setting: Setting) -> str:
    return setting.g_norm if setting.g_input_norm == "same" else setting.g_input_norm


def _instance_on(setting: Setting, side: int) -> bool:
    """Say whether a norm over the pixels of one map meets a map of `side` × `side`."""
    return smallest_map(setting) == side and (_input_norm(setting) in ("in", "adain") or setting.d_norm == "in")


def _groups_badly(setting: Setting) -> bool:
    if setting.mbstd == 0:
        return False
    if min(batches(setting)) == 1 or setting.mbstd == 1:
        return True
    shown = [*batches(setting), setting.train.g_batch or setting.train.batch]
    return setting.mbstd != "all" and any(setting.mbstd < batch and batch % setting.mbstd != 0 for batch in shown)


def _has_batch_norm(setting: Setting) -> bool:
    return bool({"bn", "selfmod_bn", "cbn"} & {setting.g_norm, _input_norm(setting), setting.d_norm})


def _bounds_weights(setting: Setting) -> bool:
    """Say whether something holds the size of D's weights."""
    return setting.d_weight in ("spectral", "orthogonal") or (
        setting.d_weight == "weight" and not setting.d_norm_affine
    )


def _one_pixel(setting: Setting) -> bool:
    """Say whether a map that carries a norm is one pixel; batch norm in ProGAN's D meets the dense layer's."""
    return smallest_map(setting) == 1 or (setting.network == "progan" and setting.d_norm == "bn")


def _ends_small(setting: Setting) -> bool:
    """Say whether a growing run is known to end before the full size is at full strength."""
    train = setting.train
    if not setting.growth or (train.kimg is None and train.g_steps is None):
        return False
    shown = 1000 * train.kimg if train.kimg is not None else nimg_after(setting, train.g_steps or 0)
    grown = 1000 * (len(levels(setting)) - 1) * (setting.growth_stable_kimg + setting.growth_fade_kimg)
    return shown <= grown


def _wants_another_y(setting: Setting) -> bool:
    labels = setting.reads_labels or setting.train.g_batch not in (None, setting.train.batch)
    return labels or setting.style_source == "image" or setting.g_loss == "feature_matching"


SMALLEST = {1: 1, 16: 8, 34: 16, 70: 32, 142: 64, 286: 128}
"""Receptive field of PatchGAN, in pixels, to the smallest power of two that leaves its last convs a pixel."""

RULES: tuple[Rule, ...] = (
    Rule(
        1,
        "deny",
        "d_norm: bn with penalty: gp, gp0, r1, r2, r1r2 or dragan",
        lambda s: s.d_norm == "bn" and s.penalty in _GRADIENT,
        "batch norm in D mixes the samples of a batch, so the penalty on one sample's gradient is undefined",
    ),
    Rule(
        3,
        "warn",
        "d_norm: in with penalty: gp, gp0, r1, r2, r1r2 or dragan",
        lambda s: s.d_norm == "in" and s.penalty in _GRADIENT,
        "instance norm hides each image's overall contrast from D",
    ),
    Rule(
        4,
        "warn",
        "d_weight: spectral with an activation norm in D",
        lambda s: s.d_weight == "spectral" and s.d_norm != "none",
        "a norm on D's activations rescales them, so spectral norm bounds D's Lipschitz constant no longer",
    ),
    Rule(
        5,
        "warn",
        "equalized with d_weight or g_weight: spectral",
        lambda s: s.equalized and "spectral" in (s.d_weight, s.g_weight),
        "W / sigma(W) cancels the equalized learning rate's factor: only the initial scale and the step remain",
    ),
    Rule(
        6,
        "deny",
        "penalty: clip with d_weight: spectral or weight, or equalized",
        lambda s: s.penalty == "clip" and (s.d_weight in ("spectral", "weight") or s.equalized),
        "clipping has no target when the effective weight is not the parameter, and 0.01 kills N(0, 1) weights",
    ),
    Rule(
        8,
        "deny",
        "loss: wasserstein with penalty: none and d_weight: none, or weight with its gain",
        lambda s: s.loss == "wasserstein" and s.penalty == "none" and not _bounds_weights(s),
        "nothing bounds the critic, so its objective has no maximum",
    ),
    Rule(
        9,
        "warn",
        "loss: wasserstein with d_weight: spectral and penalty: none",
        lambda s: s.loss == "wasserstein" and s.penalty == "none" and s.d_weight == "spectral",
        "spectral norm alone under the Wasserstein loss is legal, and reported not to train",
    ),
    Rule(
        11,
        "warn",
        "pixel_norm with an activation norm in G",
        lambda s: s.pixel_norm and s.g_norm != "none",
        "pixel norm comes after the activation, on top of the activation norm: each undoes part of the other",
    ),
    Rule(
        12,
        "deny",
        "in or adain where a map is one pixel",
        lambda s: _instance_on(s, 1),
        "the variance of one pixel is zero",
    ),
    Rule(
        12,
        "warn",
        "in or adain where a map is 2x2",
        lambda s: _instance_on(s, 2),
        "instance norm of four pixels leaves little but signs",
    ),
    Rule(
        14,
        "warn",
        "batch norm with a batch of one image (on a rank, without train.sync_bn)",
        lambda s: _norm_batch(s) == 1 and _has_batch_norm(s) and not _one_pixel(s),
        "batch norm of one image is instance norm",
    ),
    Rule(
        14,
        "deny",
        "batch norm with a batch of one image (on a rank, without train.sync_bn), where a map is one pixel",
        lambda s: _norm_batch(s) == 1 and _has_batch_norm(s) and _one_pixel(s),
        "batch norm of one value is zero",
    ),
    Rule(
        15,
        "warn",
        "equalized with train.lr below 1e-3",
        lambda s: s.equalized and s.train.lr < 1e-3,
        "the step size was tuned for plain weights; ProGAN raised it from 1e-4 to 1e-3 with equalized",
    ),
    Rule(
        16,
        "deny",
        "growth with a network other than progan",
        lambda s: s.growth and s.network != "progan",
        "growth needs an RGB layer at each level, in G and in D",
    ),
    Rule(
        16,
        "deny",
        "growth with sle: add or sle",
        lambda s: s.growth and s.sle != "none",
        "the map that a skip leads to is not there before its level is",
    ),
    Rule(
        17,
        "deny",
        "mbstd with groups that do not divide the batch, or are of one image",
        _groups_badly,
        "minibatch standard deviation needs groups of two images or more that divide the batch",
    ),
    Rule(
        17,
        "deny",
        "mbstd or mbdiscrimination with network: unet",
        lambda s: s.network == "unet" and bool(s.mbstd or s.mbdiscrimination),
        "PatchGAN judges patches, not a sample among others",
    ),
    Rule(
        25,
        "deny",
        "a data.size that the network cannot make",
        lambda s: not makes(s.network, s.data.size),
        "the network cannot make images of this size",
    ),
    Rule(
        26,
        "deny",
        "a train.world_size that does not divide train.batch, a batch of growth_batches, or train.g_batch",
        lambda s: any(batch % s.train.world_size != 0 for batch in _shared_batches(s)),
        "ranks share a batch in equal parts",
    ),
    Rule(
        60,
        "warn",
        "a train.world_size above 1 with a norm, loss or network of one's own",
        lambda s: s.train.world_size > 1 and any(":" in name for name in (s.g_norm, s.d_norm, s.loss, s.network)),
        "it is given a rank's share of the batch: what reads the batch must go through bench.ranks (mean, gather)",
    ),
    Rule(
        59,
        "warn",
        "train.sync_bn: false with train.world_size: 1, or without batch norm",
        lambda s: not s.train.sync_bn and (s.train.world_size == 1 or not _has_batch_norm(s)),
        "there are no statistics of several ranks, so the cell is the one without it",
    ),
    Rule(
        27,
        "warn",
        "in or adain on G's input block (g_input_norm: same)",
        lambda s: _input_norm(s) in ("in", "adain") and smallest_map(s) > 2,
        "instance norm of G's first map erases each channel's level and contrast, where z speaks; "
        "Kwak & Ko keep batch norm there (g_input_norm: bn)",
    ),
    Rule(
        29,
        "warn",
        "equalized with d_weight or g_weight: weight",
        lambda s: s.equalized and "weight" in (s.d_weight, s.g_weight),
        "g v / |v| cancels the equalized learning rate's factor in v, and g is not scaled",
    ),
    Rule(
        30,
        "deny",
        "loss: relativistic with a train.g_batch other than train.batch",
        lambda s: s.loss == "relativistic" and s.train.g_batch not in (None, s.train.batch),
        "each fake is compared with the real of its place in the batch",
    ),
    Rule(
        31,
        "deny",
        "a network of your own with condition: acgan or sgan, or objective: supervised",
        lambda s: ":" in s.network and (s.condition in ("acgan", "sgan") or s.objective == "supervised"),
        "a D of your own gives no class logits",
    ),
    Rule(
        32,
        "deny",
        "g_norm: cbn with condition: none or sgan",
        lambda s: s.g_norm == "cbn" and s.condition in ("none", "sgan"),
        "D is not told the classes of fakes, so nothing teaches G to make the class that it is asked for",
    ),
    Rule(
        33,
        "warn",
        "penalty: clip with train.optimizer: adam and a first beta above 0",
        lambda s: s.penalty == "clip" and s.train.optimizer == "adam" and s.train.betas[0] > 0,
        "Arjovsky et al. 2017 saw training of a clipped critic become unstable under momentum, and took RMSProp",
    ),
    Rule(
        40,
        "deny",
        "growth with a growth_start that is not below data.size",
        lambda s: s.growth and s.growth_start >= s.data.size,
        "nothing is left to grow",
    ),
    Rule(
        41,
        "warn",
        "growth that the run's length does not complete",
        _ends_small,
        "the run ends before its full size is at full strength: its last images are of a smaller size, or between two",
    ),
    Rule(
        42,
        "deny",
        "mbdiscrimination with a batch of one image",
        lambda s: s.mbdiscrimination > 0 and min(batches(s)) == 1,
        "minibatch discrimination compares an image with the others of its batch",
    ),
    Rule(
        43,
        "deny",
        "growth with condition: embed_mul",
        lambda s: s.growth and s.condition == "embed_mul",
        "the label's channel beside the image has one size",
    ),
    Rule(
        24,
        "deny",
        "decoders with d_batching: joint",
        lambda s: s.decoders != "none" and s.d_batching == "joint",
        "decoders rebuild reals alone, so reals need a pass of their own",
    ),
    Rule(
        55,
        "deny",
        "decoders or d_sle with a network other than fastgan",
        lambda s: (s.decoders, s.d_sle) != ("none", "none") and s.network != "fastgan",
        "decoders and skips in D have their places in FastGAN's D alone",
    ),
    Rule(
        56,
        "deny",
        "hinge_jitter with a loss other than hinge, or with a D of patches",
        lambda s: s.hinge_jitter > 0 and (s.loss != "hinge" or s.network == "unet" or ":" in s.network),
        "margins are the hinge's, drawn for FastGAN's 50 logits of an image or for one",
    ),
    Rule(
        57,
        "deny",
        "augment with pairs, condition: sgan or objective: supervised",
        lambda s: bool(s.augment) and (s.data.pairs != "none" or s.condition == "sgan" or s.objective == "supervised"),
        "DiffAugment changes what D sees: moved away from its input image it is another pair, and a classifier's "
        "labelled images are not fakes' counterparts",
    ),
    Rule(
        58,
        "deny",
        "network: fastgan with labels",
        lambda s: s.network == "fastgan" and (s.condition != "none" or s.g_norm == "cbn"),
        "FastGAN's D reads no labels",
    ),
    Rule(
        50,
        "deny",
        "pairs with a network other than unet, or unet without pairs",
        lambda s: ":" not in s.network and (s.data.pairs != "none") != (s.network == "unet"),
        "G of the U-Net reads an input image, and no other G does",
    ),
    Rule(
        51,
        "deny",
        "pairs with labels, a train.g_batch, style_source: image or g_loss: feature_matching",
        lambda s: s.data.pairs != "none" and _wants_another_y(s),
        "what G and D are given beside z and the image is the input, in one batch of pairs for both",
    ),
    Rule(
        52,
        "deny",
        "network: unet with a patch too large for data.size",
        lambda s: s.network == "unet" and s.data.size < SMALLEST[s.patch],
        "PatchGAN's last maps would have no pixel left",
    ),
    Rule(
        53,
        "deny",
        "l1_weight or gan_weight without pairs, or both 0",
        lambda s: (
            (s.data.pairs == "none" and (s.l1_weight > 0 or s.gan_weight != 1)) or s.l1_weight == s.gan_weight == 0
        ),
        "L1 is a distance to a pair's target, the weights are of the sum of both, and at 0 G has nothing to minimise",
    ),
    Rule(
        54,
        "warn",
        "batch norm trained on one image, sampled with sample_stats: running",
        lambda s: _norm_batch(s) == 1 and _has_batch_norm(s) and s.sample_stats == "running",
        "G learns with the statistics of each image alone and is sampled with others; pix2pix keeps `batch`",
    ),
    Rule(
        61,
        "deny",
        "penalty_every with a penalty that is no gradient's",
        lambda s: s.penalty_every > 1 and s.penalty not in _GRADIENT,
        "there is no gradient penalty to leave out",
    ),
    Rule(
        62,
        "deny",
        "train.penalty_precision: tf32 without train.precision: bf16",
        lambda s: s.train.penalty_precision != "fp32" and s.train.precision != "bf16",
        "the penalty is computed as all else is",
    ),
    *PLACES,
    *CLASSES,
)
"""Numbers to 24 are those of the literature table that the project started from; further ones are its own."""


def verdicts(setting: Setting) -> list[Verdict]:
    """Return the rules that a setting falls under, in the table's order."""
    return [Verdict(rule.number, rule.kind, rule.reason) for rule in RULES if rule.holds(setting)]

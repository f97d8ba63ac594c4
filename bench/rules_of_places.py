"""Rows of the validity table on knobs that have a place in some networks alone: styles, skips, dropout, forms."""

from __future__ import annotations

from bench.rule import Rule
from bench.setting import DEFAULTS, Setting

STYLED = ("adain", "selfmod_bn")
"""Norms that read a style."""
READ_BY = {
    "d_pool": ("resnet",),
    "kernel": ("dcgan",),
    "sndcgan_form": ("sndcgan",),
    "hidden_layers": ("mlp",),
    "maxout": ("mlp",),
    "unet_skips": ("unet",),
    "patch": ("unet",),
    "g_dropout": ("mlp", "unet"),
    "d_dropout": ("mlp", "dcgan", "sndcgan", "resnet"),
}
"""Knob → the networks that have a place for it; one of the user's own may read any."""


def reads_style(setting: Setting) -> bool:
    """Say whether a norm of G reads a style; one of the user's own may."""
    return any(norm in STYLED or ":" in norm for norm in (setting.g_norm, setting.g_input_norm))


def _takes_no_image(setting: Setting) -> bool:
    """Say whether G has no place for a style image, or y is taken."""
    network, norms = setting.network, (setting.g_norm, setting.g_input_norm)
    taken = setting.reads_labels or setting.g_loss == "feature_matching" or setting.growth
    return taken or network == "mlp" or any(":" in name for name in (network, *norms))


def unread(setting: Setting) -> list[str]:
    """List the knobs that are set and that the network does not read."""
    if ":" in setting.network:
        return []
    return [
        knob
        for knob, networks in READ_BY.items()
        if setting.network not in networks and getattr(setting, knob) != DEFAULTS[knob]
    ]


PLACES: tuple[Rule, ...] = (
    Rule(
        35,
        "deny",
        "style_source: mapping or image without a norm that reads a style (adain, selfmod_bn)",
        lambda s: s.style_source != "z" and not reads_style(s),
        "nothing in G would read the style",
    ),
    Rule(
        36,
        "deny",
        "style_source: image with labels, feature matching, growth, network: mlp, or a network or norm of one's own",
        lambda s: s.style_source == "image" and _takes_no_image(s),
        "G is given the style image where labels stand, and its statistics are of the maps of a G of the bench's own "
        "that has its full size",
    ),
    Rule(
        37,
        "deny",
        "sle with network: mlp",
        lambda s: s.sle != "none" and s.network == "mlp",
        "a skip goes from a small map to a large one, and the maps of an MLP are one pixel each",
    ),
    Rule(
        38,
        "warn",
        "a knob that the network does not read: " + ", ".join(READ_BY),
        lambda s: bool(unread(s)),
        "the knob has no place in this network, so the cell is the one without it",
    ),
)

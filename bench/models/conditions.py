"""How labels enter G and D: `condition` as a switch that any network of a G and a D with one last layer takes.

    concat      G reads z and the one-hot label side by side, D the image and K one-hot maps (Mirza & Osindero 2014).
                Newmu/dcgan_code joins the label to every hidden layer too; here to the inputs alone.
    embed_mul   G reads z times an embedding of the label; D the image and an embedded map beside it (Langr & Bok 2019,
                chapter 8, whose Keras draws embeddings from U(-0.05, 0.05); here `init` says).
    acgan       G as under concat (Odena et al. 2017); D has a second last layer, of K class logits.
    projection  D adds <embedding of the label, map summed over pixels> to its logit (Miyato & Koyama 2018, eq. 3).
    sgan        D's last layer gives K class logits l, and its logit is log sum exp l: the K + 1 classes of Salimans et
                al. 2016 with the fake class's logit held at 0.  G is not told labels.

Where batch norm of G is conditional (`g_norm: cbn`), labels reach G through it, and under acgan and projection it reads
z alone, as in sngan_projection; without it, z and the one-hot label side by side.
A supervised net is SGAN's D.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.setting import Setting

# ---------------------------------------------------------------------------------------------------------
# At the input.


class OneHot(nn.Module):
    """Join the one-hot label: z [B, n] → [B, n + K], or an image [B, C, R, R] → [B, C + K, R, R]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        label = F.one_hot(y, self.classes).to(x.dtype)
        if x.dim() == 4:
            label = label[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return torch.cat([x, label], dim=1)


class EmbedTimes(nn.Module):
    """z [B, n] times an embedding of the label."""

    def __init__(self, classes: int, n: int) -> None:
        super().__init__()
        self.embed = nn.Linear(classes, n, bias=False)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return z * embedded(self.embed, y, z.dtype)


class EmbedBeside(nn.Module):
    """Join an embedding of the label as one more channel: [B, C, R, R] → [B, C + 1, R, R]."""

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.embed = nn.Linear(classes, size * size, bias=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        channel = embedded(self.embed, y, x.dtype).view(-1, 1, self.size, self.size)
        return torch.cat([x, channel], dim=1)


def embedded(embed: nn.Module, y: Tensor, dtype: torch.dtype) -> Tensor:
    """Look up the label in a dense layer without bias, so that weight norms and `init` treat it as any other."""
    classes: Any = embed.in_features
    made: Tensor = embed(F.one_hot(y, classes).to(dtype))
    return made


def z_length(setting: Setting) -> int:
    """Length of what G's first layer reads."""
    return setting.z_dim + (classes_of(setting) if _joins_z(setting) else 0)


def image_channels(setting: Setting, channels: int) -> int:
    """Channels of what D's first layer reads, of images of `channels`."""
    return channels + {"concat": classes_of(setting), "embed_mul": 1}.get(setting.condition, 0)


def _joins_z(setting: Setting) -> bool:
    return setting.condition == "concat" or (setting.condition in ("acgan", "projection") and setting.g_norm != "cbn")


def classes_of(setting: Setting) -> int:
    """Number of classes, 0 where labels are not read.  Raises ValueError when they are and it is not filled in."""
    if setting.condition == "none" and setting.objective != "supervised":
        return 0
    if setting.data.classes is None:
        raise ValueError("data.classes is not filled in")
    return setting.data.classes


# ---------------------------------------------------------------------------------------------------------
# At the end of D.


class Seen(NamedTuple):
    """What a D makes of images."""

    logit: Tensor
    """[B]: real or fake."""
    classes: Tensor | None
    """[B, K] class logits; None where D tells none."""
    features: Tensor
    """[B, F]: what its last layer reads."""


class Judge(nn.Module):
    """A D with one last layer, `logit`, on maps [B, C, H, W] or [B, C] that `maps` makes; the rest is here."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.entry: nn.Module | None = None  # joins the label to the image
        self.aux: nn.Module | None = None  # AC-GAN's class logits
        self.embed: nn.Module | None = None  # projection's embedding
        self.tells_classes = False  # whether the last layer itself gives class logits

    def maps(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Make what the last layer reads; each family's own."""
        raise NotImplementedError

    def head(self) -> nn.Module:
        """Return the module whose `logit` is the last layer."""
        return self

    def see(self, x: Tensor, y: Tensor | None = None) -> Seen:
        """Judge images [B, C, R, R] with their labels int64 [B] where the condition reads them."""
        h = self.maps(x if self.entry is None else self.entry(x, y), y)
        last: Any = self.head().logit
        made: Tensor = last(h).flatten(1)
        features = h.flatten(1)
        if self.tells_classes:
            return Seen(made.logsumexp(dim=1), made, features)
        logit = made.flatten()
        if self.embed is not None and y is not None:
            pooled = h.sum(dim=(2, 3)) if h.dim() == 4 else h
            logit = logit + (embedded(self.embed, y, h.dtype) * pooled).sum(dim=1)
        return Seen(logit, None if self.aux is None else self.aux(h).flatten(1), features)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.see(x, y).logit


def attach(G: nn.Module, D: nn.Module, setting: Setting, channels: int) -> None:
    """Add to freshly made nets what the setting's condition needs, before weights are drawn.

    G was made for `z_length` and D for `image_channels` inputs.  Raises ValueError for a D that is no `Judge`.
    """
    classes = classes_of(setting)
    if not classes:
        return
    if _joins_z(setting):
        _enter(G, OneHot(classes))
    elif setting.condition == "embed_mul":
        _enter(G, EmbedTimes(classes, setting.z_dim))
    if not isinstance(D, Judge):
        raise ValueError(f"network {setting.network}: its D has no place for classes")
    last: Any = D.head().logit
    if setting.condition == "concat":
        D.entry = OneHot(classes)
    elif setting.condition == "embed_mul":
        D.entry = EmbedBeside(classes, setting.data.size)
    elif setting.condition == "acgan":
        D.aux = with_outputs(last, classes)
    elif setting.condition == "projection":
        D.embed = nn.Linear(classes, _width(D, channels, setting.data.size), bias=False)
    else:
        D.head().logit, D.tells_classes = with_outputs(last, classes), True


def _enter(G: nn.Module, entry: nn.Module) -> None:
    G.entry = entry
    G.register_forward_pre_hook(_join)


def _join(G: Any, given: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """Put z and y together before G reads them."""
    z, y = given
    return G.entry(z, y), y


def with_outputs(layer: nn.Module, n: int) -> nn.Module:
    """Copy a conv or dense layer, with n outputs; its weights are yet to be drawn."""
    made: Any = copy.deepcopy(layer)
    made.weight = nn.Parameter(torch.empty(n, *made.weight.shape[1:]))
    if made.bias is not None:
        made.bias = nn.Parameter(torch.empty(n))
    setattr(made, "out_features" if isinstance(made, nn.Linear) else "out_channels", n)
    copied: nn.Module = made
    return copied


@torch.no_grad()
def _width(D: Judge, channels: int, size: int) -> int:
    """Channels of the maps that the last layer reads, found without arithmetic."""
    shapes = copy.deepcopy(D).to("meta").eval()
    labels = torch.zeros(2, dtype=torch.int64, device="meta")
    return shapes.maps(torch.empty(2, channels, size, size, device="meta"), labels).shape[1]

"""Images of a two-headed G (FastGAN): D is shown the full image and a small one, both made by G."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.objectives.augment import augment
from bench.objectives.penalties import call
from bench.objectives.phase import Batch, Images
from bench.precision import raised
from bench.setting import Setting


def make(G: nn.Module, z: Tensor, y: Tensor | None) -> Images:
    """Make what D is shown: G's images, or those of both its heads."""
    heads = getattr(G, "heads", None)
    if heads is None:
        return call(G, z, y)
    image, small = heads(z, y)
    return raised(image), raised(small)


def given(batch: Batch) -> Tensor | None:
    """What G is given beside z: a style image, a label, or of pairs the input image."""
    return batch.get("style", batch.get("y_fake"))


def full(images: Images) -> Tensor:
    """Return the images themselves, without the small ones."""
    return images if isinstance(images, Tensor) else images[0]


def joined(real: Tensor, fake: Images) -> Images:
    """Put reals and fakes into one batch; of reals, the small images are sampled as D does."""
    if isinstance(fake, Tensor):
        return torch.cat([real, fake])
    small = F.interpolate(real, size=fake[1].shape[2:], mode="nearest")
    return torch.cat([real, fake[0]]), torch.cat([small, fake[1]])


def augmented(images: Images, drawn: Tensor | None, setting: Setting) -> Images:
    """Change images by the policy of the setting, both heads' by the same draws; None: not at all."""
    if drawn is None:
        return images
    if isinstance(images, Tensor):
        return augment(images, drawn, setting.augment)
    return augment(images[0], drawn, setting.augment), augment(images[1], drawn, setting.augment)


def shares_fakes(setting: Setting) -> bool:
    """Say whether G's update is shown the very fakes of D's, as FastGAN's and pix2pix's codes have it: one to one."""
    train = setting.train
    one_to_one = train.n_critic == 1 and not train.critic_warmup and train.g_batch in (None, train.batch)
    return (setting.network == "fastgan" or setting.data.pairs != "none") and one_to_one


@contextlib.contextmanager
def unmoved(G: nn.Module) -> Iterator[None]:
    """Leave running statistics and power iterations of G as they were, so that it makes the same fakes once more."""
    kept = [buffer.clone() for buffer in G.buffers()]
    yield
    for buffer, before in zip(G.buffers(), kept, strict=True):
        buffer.copy_(before)

"""What each paper fixed for its GAN, as settings, with the source beside each number.

A recipe is the lowest layer of a run's setting: the study, the cell and `--set` lie over it.  What is not said here
is the default of `bench.setting`.
"""

from __future__ import annotations

from typing import Any

from bench.recipes.classes import ACGAN, CGAN_BOOK, CGAN_MIRZA, SGAN, SGAN_SUPERVISED, SNGAN_PROJECTION
from bench.recipes.dcgan import DCGAN, DCGAN_BOOK, WGAN, WGAN_GP, WGAN_GP_CIFAR
from bench.recipes.fastgan import FASTGAN
from bench.recipes.gan import GAN, GAN_BOOK
from bench.recipes.pix2pix import PIX2PIX
from bench.recipes.progan import PROGAN, PROGAN_CIFAR
from bench.recipes.resnet import SNGAN_RESNET, WGAN_GP_RESNET, WGAN_GP_RESNET_64
from bench.recipes.sngan import SNDCGAN_GAN_LANDSCAPE, SNGAN

RECIPES: dict[str, dict[str, Any]] = {
    "gan": GAN,
    "gan_book": GAN_BOOK,
    "dcgan": DCGAN,
    "dcgan_book": DCGAN_BOOK,
    "wgan": WGAN,
    "wgan_gp": WGAN_GP,
    "wgan_gp_cifar": WGAN_GP_CIFAR,
    "wgan_gp_resnet": WGAN_GP_RESNET,
    "wgan_gp_resnet_64": WGAN_GP_RESNET_64,
    "sngan": SNGAN,
    "sngan_resnet": SNGAN_RESNET,
    "sndcgan_gan_landscape": SNDCGAN_GAN_LANDSCAPE,
    "progan": PROGAN,
    "progan_cifar": PROGAN_CIFAR,
    "fastgan": FASTGAN,
    "pix2pix": PIX2PIX,
    "sgan": SGAN,
    "sgan_supervised": SGAN_SUPERVISED,
    "cgan_mirza": CGAN_MIRZA,
    "cgan_book": CGAN_BOOK,
    "acgan": ACGAN,
    "sngan_projection": SNGAN_PROJECTION,
}

"""GANs with labels: SGAN and its supervised baseline, conditional GANs."""

from __future__ import annotations

from typing import Any

from bench.recipes.dcgan import DCGAN_BOOK
from bench.recipes.gan import GAN
from bench.recipes.resnet import SNGAN_RESNET

SGAN: dict[str, Any] = {
    # Langr & Bok 2019, "GANs in Action", chapter 7, in Keras: the nets of chapter 4, K logits, three steps of D.
    **{key: value for key, value in DCGAN_BOOK.items() if key != "train.g_steps"},
    "condition": "sgan",
    "d_dropout": 0.5,  # before the last dense layer
    "data.labels": 100,  # num_labeled
    "data.labels_drawn": "first",  # the first 100 training images, whatever their classes
    "train.batch": 32,
    "train.labelled_steps": 8000,  # iterations
}

SGAN_SUPERVISED: dict[str, Any] = {
    # The same chapter's "fully-supervised classifier": SGAN's D alone on the labelled images, 30 epochs of 4 batches.
    **{key: value for key, value in SGAN.items() if key != "condition"},
    "objective": "supervised",
    "train.labelled_steps": 120,
}

CGAN_MIRZA: dict[str, Any] = {
    # Mirza & Osindero 2014, section 4.1, recalled and not read again.  There z and the label have first layers of their
    # own, 200 and 1000 units in G, maxout 240 and 50 in D, and a joint layer of 1200 or 240; here both are read by one
    # layer as wide as the joint one.  The step falls by 1.00004 an update there, by 1.000004 here.
    **GAN,
    "condition": "concat",
    "g_dropout": 0.5,  # in both nets
}

CGAN_BOOK: dict[str, Any] = {
    # Chapter 8.  D's widths are those of chapter 4, where the book has 64, 64, 128; embeddings start as `init` says,
    # where Keras draws U(-0.05, 0.05).
    **DCGAN_BOOK,
    "condition": "embed_mul",
    "train.batch": 32,
    "train.g_steps": 12_000,  # iterations
}

ACGAN: dict[str, Any] = {
    # Odena, Olah & Shlens 2017, appendix A, for 32 px: G as there, 5x5 transposed convs of 384, 192, 96 maps; its D of
    # six 3x3 convs, 16 to 512, alternately of stride 2 and 1, is DCGAN's here.  Recalled, not read again.
    "network": "dcgan",
    "kernel": 5,
    "g_width": 96,
    "d_width": 64,
    "z_dim": 100,  # and the one-hot label: 110
    "z_dist": "normal",
    "init": "normal002",
    "g_norm": "bn",
    "d_norm": "bn",
    "d_dropout": 0.5,
    "condition": "acgan",
    "acgan_weight": [1.0, 1.0],  # L_C + L_S, L_C - L_S
    "loss": "nonsaturating",
    "train.batch": 100,
    "train.optimizer": "adam",
    "train.lr": 2e-4,
    "train.betas": [0.5, 0.999],
    "train.g_steps": 50_000,
}

SNGAN_PROJECTION: dict[str, Any] = {
    # Miyato & Koyama 2018, "cGANs with Projection Discriminator", as in pfnet-research/sngan_projection, on the nets
    # of SNGAN's CIFAR-10 ResNet; the paper has ImageNet at 128 px, 450,000 G updates and batch 256.
    **SNGAN_RESNET,
    "condition": "projection",
    "g_norm": "cbn",
}

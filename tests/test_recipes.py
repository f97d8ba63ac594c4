"""Recipes against the papers' tables, and that each one runs with data alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from bench import schedule
from bench.batches import Batches
from bench.data import Part
from bench.models import build
from bench.objectives import Nets, phases
from bench.recipes import RECIPES
from bench.setting import LENGTHS, resolve

PAPERS = {
    # DCGAN section 4: batch norm in both nets, Adam 2e-4, beta1 0.5, N(0, 0.02).
    "dcgan": ("nonsaturating", "none", "bn", "none", "adam", 2e-4, (0.5, 0.999), 1, 64, 100),
    # WGAN algorithm 1: alpha 5e-5, c 0.01, m 64, n_critic 5, RMSProp (which reads no betas).
    "wgan": ("wasserstein", "clip", "bn", "none", "rmsprop", 5e-5, None, 5, 64, 100),
    # WGAN-GP algorithm 1: lambda 10, n_critic 5, alpha 1e-4, beta1 0, beta2 0.9.
    "wgan_gp": ("wasserstein", "gp", "none", "none", "adam", 1e-4, (0.0, 0.9), 5, 64, 128),
    # SNGAN table 1, setting C: alpha 2e-4, beta1 0.5, beta2 0.999, n_dis 1.
    "sngan": ("nonsaturating", "none", "none", "spectral", "adam", 2e-4, (0.5, 0.999), 1, 64, 128),
    # GAN: mnist.yaml (batch 100, 0.1); d_obj is half the sum, maxout D, momentum below.
    "gan": ("nonsaturating", "none", "none", "none", "sgd", 0.1, None, 1, 100, 100),
    # The book, chapters 3 and 4: Keras' Adam(), batch 128.
    "gan_book": ("nonsaturating", "none", "none", "none", "adam", 1e-3, (0.9, 0.999), 1, 128, 100),
    "dcgan_book": ("nonsaturating", "none", "bn", "none", "adam", 1e-3, (0.9, 0.999), 1, 128, 100),
    # WGAN-GP's code: gan_cifar.py (betas 0.5, 0.9), gan_cifar_resnet.py (2e-4), gan_64x64.py (1e-4, layer norm).
    "wgan_gp_cifar": ("wasserstein", "gp", "none", "none", "adam", 1e-4, (0.5, 0.9), 5, 64, 128),
    "wgan_gp_resnet": ("wasserstein", "gp", "none", "none", "adam", 2e-4, (0.0, 0.9), 5, 64, 128),
    "wgan_gp_resnet_64": ("wasserstein", "gp", "ln", "none", "adam", 1e-4, (0.0, 0.9), 5, 64, 128),
    # SNGAN section 4 and sngan_projection: hinge, 2e-4, (0, 0.9), n_dis 5.
    "sngan_resnet": ("hinge", "none", "none", "spectral", "adam", 2e-4, (0.0, 0.9), 5, 64, 128),
    # compare_gan's sndcgan_celebahq128.gin: non-saturating, 2e-4, (0.5, 0.999), disc_iters 1, batch 64, z_dim 128.
    "sndcgan_gan_landscape": ("nonsaturating", "none", "none", "spectral", "adam", 2e-4, (0.5, 0.999), 1, 64, 128),
    # ProGAN appendix A.1: alpha 1e-3, beta1 0, beta2 0.99, n_critic 1, minibatch 16, 512 latents; CIFAR-10: 128.
    "progan": ("wasserstein", "gp", "none", "none", "adam", 1e-3, (0.0, 0.99), 1, 16, 512),
    "progan_cifar": ("wasserstein", "gp", "none", "none", "adam", 1e-3, (0.0, 0.99), 1, 16, 128),
    # The book, chapters 7 and 8: Keras' Adam(), batch 32.
    "sgan": ("nonsaturating", "none", "bn", "none", "adam", 1e-3, (0.9, 0.999), 1, 32, 100),
    "sgan_supervised": ("nonsaturating", "none", "bn", "none", "adam", 1e-3, (0.9, 0.999), 1, 32, 100),
    "cgan_book": ("nonsaturating", "none", "bn", "none", "adam", 1e-3, (0.9, 0.999), 1, 32, 100),
    # Mirza & Osindero section 4.1: SGD of 0.1, batches of 100, 100 noise units.
    "cgan_mirza": ("nonsaturating", "none", "none", "none", "sgd", 0.1, None, 1, 100, 100),
    # AC-GAN appendix A: Adam 2e-4, beta1 0.5, batch 100; noise and label 110 in all.
    "acgan": ("nonsaturating", "none", "bn", "none", "adam", 2e-4, (0.5, 0.999), 1, 100, 100),
    # sngan_projection: hinge, 2e-4, (0, 0.9), n_dis 5.
    "sngan_projection": ("hinge", "none", "none", "spectral", "adam", 2e-4, (0.0, 0.9), 5, 64, 128),
    # FastGAN: the released code's train.py (batch 8, 2e-4, beta1 0.5, nz 256).
    "fastgan": ("hinge", "none", "bn", "spectral", "adam", 2e-4, (0.5, 0.999), 1, 8, 256),
    # pix2pix section 2.3 and appendix 6.2: 2e-4, beta1 0.5, batch 1, z by dropout alone.
    "pix2pix": ("nonsaturating", "none", "bn", "none", "adam", 2e-4, (0.5, 0.999), 1, 1, 8),
}

SMALL: dict[str, dict[str, object]] = {
    **{name: {"data.size": 32} for name in ("sngan_resnet", "wgan_gp_resnet", "wgan_gp_resnet_64")},
    **{name: {"data.size": 28, "data.labels": 3} for name in ("dcgan_book", "sgan", "sgan_supervised", "cgan_book")},
    "sngan_projection": {"data.size": 32},
    "progan": {"growth_batches": [4], "max_width": 16},
    "progan_cifar": {"max_width": 16},
    "fastgan": {"data.size": 64, "reconstruction": "l1"},
    "pix2pix": {"data.size": 32, "data.pairs": "edges", "data.jitter": 4},
}
"""What a recipe needs at the least."""


def test_every_recipe_is_checked() -> None:
    assert set(PAPERS) == set(RECIPES)


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipe_says_what_its_paper_says(name: str) -> None:
    s = resolve(RECIPES[name])
    betas = s.train.betas if s.train.optimizer == "adam" else None
    train = s.train
    said = (s.loss, s.penalty, s.d_norm, s.d_weight, train.optimizer, train.lr, betas, train.n_critic, train.batch)
    assert (*said, s.z_dim) == PAPERS[name]
    assert sum(key in RECIPES[name] for key in LENGTHS) == 1


@pytest.mark.parametrize("name", ["dcgan", "wgan", "wgan_gp", "sngan"])
def test_recipe_without_further_factors(name: str) -> None:
    s = resolve(RECIPES[name])
    assert (s.g_norm, s.ema, s.equalized, s.pixel_norm, s.mbstd, s.sle) == ("bn", 0.0, False, False, 0, "none")


def test_wgan_clips_and_warms_up_and_wgan_gp_weighs_ten() -> None:
    wgan, gp = resolve(RECIPES["wgan"]), resolve(RECIPES["wgan_gp"])
    assert (wgan.clip_value, wgan.train.critic_warmup) == (0.01, True)
    assert (gp.gp_weight, gp.init, gp.train.critic_warmup) == (10.0, "wgan_gp", False)


def test_resnets_have_two_batches_and_fall_to_zero_and_wgan_gps_has_noise_on_reals() -> None:
    sngan, gp = resolve(RECIPES["sngan_resnet"]), resolve(RECIPES["wgan_gp_resnet"])
    for s, steps in ((sngan, 50_000), (gp, 100_000)):
        assert (s.train.g_batch, s.train.lr_decay, s.train.g_steps) == (128, "linear", steps)
    assert (sngan.dequantize, gp.dequantize) == (0.0, 1 / 128)
    assert (sngan.d_pool, gp.d_pool) == ("sum", "mean")


def test_gan_has_the_schedules_of_its_code() -> None:
    s = resolve(RECIPES["gan"])
    assert (s.train.momentum, s.train.final_momentum, s.train.momentum_epochs) == (0.5, 0.7, 250)
    assert (s.train.lr_decay, s.d_loss_weight, s.init) == ("exponential", 0.5, "uniform")


def test_progan_has_what_appendix_a1_says() -> None:
    """Drift 0.001, G averaged by 0.999, 800k images a level and a fade; 14, 6 and 3 images at 256, 512 and 1024 px."""
    paper, cifar = resolve(RECIPES["progan"], {"data.size": 1024}), resolve(RECIPES["progan_cifar"])
    for s, kimg in ((paper, 800), (cifar, 400)):
        assert (s.drift, s.ema, s.growth_stable_kimg, s.growth_fade_kimg) == (1e-3, 0.999, kimg, kimg)
        assert (s.equalized, s.pixel_norm, s.z_normalized, s.growth_reset) == (True, True, True, True)
    assert dict(zip(schedule.levels(paper), schedule.batches(paper), strict=True)) == {
        **dict.fromkeys((4, 8, 16, 32, 64, 128), 16),
        **{256: 14, 512: 6, 1024: 3},
    }
    assert (paper.gp_target, cifar.gp_target) == (1.0, 750.0)


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipe_takes_a_step_with_data_alone(name: str) -> None:
    small = {"data.size": 16, "data.channels": 3, "g_width": 8, "d_width": 8, "train.batch": 4}
    s = resolve(RECIPES[name], small, SMALL.get(name, {}))
    if s.reads_labels:
        s = resolve(RECIPES[name], small, SMALL.get(name, {}), {"data.classes": 3})
    G, D = build(s)
    side = s.data.size + s.data.jitter
    images = torch.randint(256, (5, 3, side, side), dtype=torch.uint8)
    inputs = None if s.data.pairs == "none" else images[:, :1]
    batches = Batches(s, Part(images, torch.tensor([0, 1, 2, 0, 1]), inputs), "cpu")
    for phase in phases(s):
        if phase.before is not None:
            phase.before(Nets(G, D))
        loss, _ = phase.loss(Nets(G, D), batches.draw(phase, 0))
        assert loss.isfinite()


def test_pix2pix_has_what_its_appendix_says() -> None:
    s = resolve(RECIPES["pix2pix"], {"data.size": 256})
    assert (s.l1_weight, s.gan_weight, s.d_loss_weight, s.g_dropout) == (100.0, 1.0, 0.5, 0.5)
    assert (s.data.size + s.data.jitter, s.data.mirror, s.train.epochs) == (286, True, 200)
    assert (s.patch, s.unet_skips, s.d_sees_input, s.sample_stats) == (70, True, True, "batch")


def test_sgan_and_its_baseline_are_the_same_classifier() -> None:
    """Chapter 7: 100 labels, the first ones; 8000 iterations, against 30 epochs of 4 batches."""
    sgan, alone = resolve(RECIPES["sgan"]), resolve(RECIPES["sgan_supervised"])
    for s, steps in ((sgan, 8000), (alone, 120)):
        assert (s.data.labels, s.data.labels_drawn, s.train.labelled_steps) == (100, "first", steps)
        assert (s.d_dropout, s.d_width, s.bn_momentum, s.bn_eps, s.init) == (0.5, 32, 0.01, 1e-3, "glorot")
    assert (sgan.condition, alone.condition, alone.objective) == ("sgan", "none", "supervised")


def test_recipes_import_no_torch() -> None:
    code = "import sys, bench.recipes; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

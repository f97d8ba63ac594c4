"""ProGAN: the paper's 1024 px nets, and its CIFAR-10 run."""

from __future__ import annotations

from typing import Any

PROGAN: dict[str, Any] = {
    # Karras et al. 2018, "Progressive Growing of GANs", appendix A.1 and table 2.  Numbers as in the released code,
    # tkarras/progressive_growing_of_gans: config.py's preset v1-1gpu, which is the paper's, and the Theano original.
    # Presets v2 have larger batches at the small sizes (128 at 4 to 16 px).
    "network": "progan",
    "data.mirror": True,  # mirror_augment, for CelebA and CelebA-HQ
    "g_width": 16,  # fmap_base 8192 at 1024 px; at R px, the same nets are 16384 / R wide
    "d_width": 16,
    "max_width": 512,  # fmap_max
    "z_dim": 512,  # latent_size
    "z_dist": "normal",
    "z_normalized": True,  # normalize_latents
    "init": "he",  # where `equalized` is turned off: use_wscale false
    "g_norm": "none",
    "d_norm": "none",
    "equalized": True,  # use_wscale
    "pixel_norm": True,  # use_pixelnorm
    "mbstd": 16,  # mbstd_group_size of the preset: the whole batch, as in the Theano code; later presets: 4
    "loss": "wasserstein",
    "penalty": "gp",
    "gp_weight": 10.0,  # wgan_lambda
    "drift": 1e-3,  # wgan_epsilon
    "growth": True,
    "growth_start": 4,  # lod_initial_resolution
    "growth_stable_kimg": 800,  # lod_training_kimg of the preset; the code's default is 600
    "growth_fade_kimg": 800,  # lod_transition_kimg
    "growth_batches": [16, 16, 16, 16, 16, 16, 14, 6, 3],  # minibatch_dict: 14 at 256 px, 6 at 512, 3 at 1024
    "growth_reset": True,  # reset_opt_for_new_lod
    "ema": 0.999,  # G_smoothing
    "ema_buffers": "copy",
    "train.batch": 16,  # minibatch_base
    "train.n_critic": 1,
    "train.optimizer": "adam",
    "train.lr": 1e-3,  # the Theano code rises to it over the first 40 kimg; the TensorFlow code does not
    "train.betas": [0.0, 0.99],
    "train.kimg": 19_000,  # total_kimg
}

PROGAN_CIFAR: dict[str, Any] = {
    # Section 6.5, "CIFAR10 inception scores"; the Theano code's config.py.  There G and D are updated at once, from the
    # same fakes; here one after the other.
    **PROGAN,
    "data.mirror": False,  # mirror_augment
    "g_width": 256,  # fmap_base 4096 at 32 px
    "d_width": 256,
    "max_width": 128,  # fmap_max
    "z_dim": 128,  # latent_size
    "mbstd": "all",  # mbstat_avg
    "gp_target": 750.0,  # iwass_target; the penalty's weight is divided by its square
    "growth_stable_kimg": 400,
    "growth_fade_kimg": 400,
    "growth_batches": [],  # minibatch_overrides
    "train.kimg": 20_000,
}

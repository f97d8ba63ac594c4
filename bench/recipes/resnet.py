"""The ResNets of SNGAN and WGAN-GP.  Widths are those at the first-named size; the others stand beside."""

from __future__ import annotations

from typing import Any

SNGAN_RESNET: dict[str, Any] = {
    # Miyato et al. 2018, table 4 (CIFAR-10), as in pfnet-research/sngan_projection: blocks, initial weights.
    "network": "resnet",
    "g_width": 256,  # 32 px; at 48 to 128 px 64 (tables 5 and 6)
    "d_width": 128,  # 32 px; at 48 to 128 px 64
    "max_width": 1024,  # table 6
    "d_pool": "sum",
    "z_dim": 128,
    "z_dist": "normal",
    "init": "glorot",  # gain sqrt(2) in residual convs
    "g_norm": "bn",
    "d_norm": "none",
    "d_weight": "spectral",
    "loss": "hinge",  # section 4: ResNets were trained by it
    "train.batch": 64,
    "train.g_batch": 128,
    "train.n_critic": 5,
    "train.optimizer": "adam",
    "train.lr": 2e-4,
    "train.betas": [0.0, 0.9],
    "train.lr_decay": "linear",
    "train.g_steps": 50_000,
}

WGAN_GP_RESNET: dict[str, Any] = {
    # Gulrajani et al. 2017, igul222/improved_wgan_training gan_cifar_resnet.py, without its labels (there AC-GAN, of
    # weight 1 in D and 0.1 in G: `condition: acgan`, `g_norm: cbn`).
    "network": "resnet",
    "g_width": 128,  # DIM_G, 32 px
    "d_width": 128,  # DIM_D
    "d_pool": "mean",
    "z_dim": 128,
    "z_dist": "normal",
    "init": "wgan_gp",
    "g_norm": "bn",  # NORMALIZATION_G
    "d_norm": "none",  # NORMALIZATION_D
    "loss": "wasserstein",
    "penalty": "gp",
    "gp_weight": 10.0,
    "dequantize": 1 / 128,  # U(0, 1/128) there, on levels k / 128 - 1; here centred, on levels k / 127.5 - 1
    "train.batch": 64,  # BATCH_SIZE
    "train.g_batch": 128,  # GEN_BS_MULTIPLE
    "train.n_critic": 5,  # N_CRITIC
    "train.optimizer": "adam",
    "train.lr": 2e-4,  # LR
    "train.betas": [0.0, 0.9],
    "train.lr_decay": "linear",  # DECAY
    "train.g_steps": 100_000,  # ITERS
}

WGAN_GP_RESNET_64: dict[str, Any] = {
    # The same, gan_64x64.py: GoodGenerator and GoodDiscriminator.  G's output conv starts there with He's spread, here
    # with Glorot's.
    "data.size": 64,
    "network": "resnet",
    "g_width": 64,  # DIM: 512, 512, 256, 128, 64
    "d_width": 64,  # 64, 128, 256, 512, 512
    "max_width": 512,  # 8 * DIM
    "d_pool": "flat",
    "z_dim": 128,
    "z_dist": "normal",
    "init": "wgan_gp",
    "g_norm": "bn",
    "d_norm": "ln",  # Normalize: layer norm in the critic
    "loss": "wasserstein",
    "penalty": "gp",
    "gp_weight": 10.0,  # LAMBDA
    "train.batch": 64,
    "train.n_critic": 5,  # CRITIC_ITERS
    "train.optimizer": "adam",
    "train.lr": 1e-4,
    "train.betas": [0.0, 0.9],
    "train.g_steps": 200_000,  # ITERS
}

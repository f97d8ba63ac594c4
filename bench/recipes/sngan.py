"""SNGAN."""

from __future__ import annotations

from typing import Any

SNGAN: dict[str, Any] = {
    # Miyato et al. 2018, "Spectral Normalization for GANs": standard CNN (table 3) under setting C (table 1).
    "network": "sndcgan",
    "g_width": 64,  # table 3: 512, 256, 128, 64
    "d_width": 64,  # table 3: 64, 64, 128, 128, 256, 256, 512
    "z_dim": 128,  # table 3
    "z_dist": "normal",
    "init": "normal002",  # chainer-gan-lib common/net.py: wscale 0.02
    "g_norm": "bn",  # table 3
    "g_input_norm": "none",  # table 3 has batch norm from the first transposed conv on
    "d_norm": "none",
    "d_weight": "spectral",  # every layer, one power iteration
    "loss": "nonsaturating",  # section 4: the alternate cost of G, used for the standard CNN
    "train.batch": 64,
    "train.n_critic": 1,  # setting C
    "train.optimizer": "adam",
    "train.lr": 2e-4,  # setting C
    "train.betas": [0.5, 0.999],  # setting C
    "train.g_steps": 100_000,  # chainer-gan-lib train.py: max_iter
}

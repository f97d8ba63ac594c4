"""The original GAN and the book's first one."""

from __future__ import annotations

from typing import Any

GAN: dict[str, Any] = {
    # Goodfellow et al. 2014, "Generative Adversarial Nets": MNIST, numbers as in goodfeli/adversarial mnist.yaml.
    # There G and D step at once on the same fakes, here D first; G's output biases start from the pixels' means there,
    # here from 0.
    "network": "mlp",
    "hidden_layers": 2,
    "g_width": 1200,  # RectifiedLinear dim
    "d_width": 240,  # Maxout num_units
    "max_width": 1200,
    "maxout": 5,  # num_pieces
    "z_dim": 100,  # nvis
    "z_dist": "uniform",  # noise: 'uniform'; of unit variance there, U(-sqrt 3, sqrt 3), here U(-1, 1)
    "init": "uniform",  # irange: .05 in G, .005 in D
    "g_norm": "none",
    "d_norm": "none",
    "d_dropout": 0.5,  # discriminator_default_input_include_prob; of the pixels 0.8 are kept
    "loss": "nonsaturating",  # AdversaryCost2: G's target is 1; the paper's algorithm 1 has minimax
    "d_loss_weight": 0.5,  # d_obj = 0.5 * (...)
    "train.batch": 100,  # batch_size
    "train.n_critic": 1,
    "train.optimizer": "sgd",
    "train.lr": 0.1,  # learning_rate
    "train.momentum": 0.5,  # init_momentum
    "train.final_momentum": 0.7,  # final_momentum
    "train.momentum_epochs": 250,  # saturate
    "train.lr_decay": "exponential",  # decay_factor 1.000004, min_lr 1e-6
    "train.epochs": 250,  # the code stops by hand; until momentum has risen
}

GAN_BOOK: dict[str, Any] = {
    # Langr & Bok 2019, "GANs in Action", chapter 3, in Keras.  There D takes one step on reals and one on fakes, here
    # one step on both.
    "network": "mlp",
    "hidden_layers": 1,
    "g_width": 128,
    "d_width": 128,
    "maxout": 0,  # LeakyReLU(0.01), tanh
    "z_dim": 100,
    "z_dist": "normal",
    "init": "glorot",  # Keras
    "g_norm": "none",
    "d_norm": "none",
    "loss": "nonsaturating",
    "d_batching": "separate",
    "train.batch": 128,
    "train.n_critic": 1,
    "train.optimizer": "adam",
    "train.lr": 1e-3,  # Adam() of Keras
    "train.betas": [0.9, 0.999],
    "train.g_steps": 20_000,
}

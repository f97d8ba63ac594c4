"""DCGAN, the book's DCGAN, WGAN and WGAN-GP on the DCGAN family."""

from __future__ import annotations

from typing import Any

DCGAN: dict[str, Any] = {
    # Radford, Metz & Chintala 2016, "DCGAN"; numbers as in soumith/dcgan.torch main.lua and pytorch/examples dcgan.
    "network": "dcgan",
    "g_width": 64,  # ngf
    "d_width": 64,  # ndf
    "z_dim": 100,  # nz
    "z_dist": "normal",  # noise = 'normal' (the paper and the Theano code draw from U(-1, 1))
    "init": "normal002",  # paper section 4: N(0, 0.02); gains of batch norm N(1, 0.02) in the code
    "g_norm": "bn",  # paper section 3: in all layers but G's output and D's input
    "d_norm": "bn",
    "loss": "nonsaturating",  # G is trained against the label 1
    "d_batching": "separate",  # reals and fakes in two passes
    "train.batch": 64,  # batchSize (the paper: 128)
    "train.optimizer": "adam",
    "train.lr": 2e-4,  # paper section 4
    "train.betas": [0.5, 0.999],  # paper section 4
    "train.epochs": 25,  # niter
}

WGAN: dict[str, Any] = {
    # Arjovsky, Chintala & Bottou 2017, "Wasserstein GAN", algorithm 1; the rest as in martinarjovsky/WassersteinGAN
    # main.py and models/dcgan.py.
    "network": "dcgan",
    "g_width": 64,  # ngf
    "d_width": 64,  # ndf
    "z_dim": 100,  # nz
    "z_dist": "normal",
    "init": "normal002",  # weights_init
    "g_norm": "bn",
    "d_norm": "bn",  # in the released critic too
    "loss": "wasserstein",
    "penalty": "clip",
    "clip_value": 0.01,  # algorithm 1: c
    "d_batching": "separate",
    "train.batch": 64,  # algorithm 1: m
    "train.n_critic": 5,  # algorithm 1
    "train.critic_warmup": True,  # main.py: 100 critic updates for 25 G updates and for every 500th
    "train.optimizer": "rmsprop",
    "train.lr": 5e-5,  # algorithm 1: alpha
    "train.epochs": 25,  # niter
}

WGAN_GP: dict[str, Any] = {
    # Gulrajani et al. 2017, "Improved Training of Wasserstein GANs": algorithm 1 on the DCGAN family, which is
    # the reference cell of Kwak & Ko 2020.  igul222/improved_wgan_training gan_cifar.py has the same shape with 5x5
    # kernels, a base width of 128 ("overfits substantially; you're probably better off with 64") and betas (0.5, 0.9).
    "network": "dcgan",
    "g_width": 64,  # Kwak & Ko's DCGAN-128: 1024, 512, 256, 128, 64
    "d_width": 64,
    "z_dim": 128,  # gan_cifar.py
    "z_dist": "normal",
    "init": "wgan_gp",  # tflib/ops: uniform, He's spread before ReLU, Glorot's elsewhere
    "g_norm": "bn",
    "d_norm": "none",  # section 4: batch norm in the critic makes the penalty invalid
    "loss": "wasserstein",
    "penalty": "gp",
    "gp_weight": 10.0,  # algorithm 1: lambda
    "train.batch": 64,  # algorithm 1 leaves m open; 64 in the code
    "train.n_critic": 5,  # algorithm 1
    "train.optimizer": "adam",
    "train.lr": 1e-4,  # algorithm 1: alpha
    "train.betas": [0.0, 0.9],  # algorithm 1
    "train.g_steps": 200_000,  # gan_cifar.py: ITERS
}

DCGAN_BOOK: dict[str, Any] = {
    # Langr & Bok 2019, "GANs in Action", chapter 4, in Keras: a net of its own at 28 px.  There D takes one step on
    # reals and one on fakes, here one step on both.
    "data.size": 28,
    "network": "dcgan",
    "g_width": 64,  # 256, 128, 64
    "d_width": 32,  # 32, 64, 128
    "z_dim": 100,
    "z_dist": "normal",
    "init": "glorot",  # Keras
    "g_norm": "bn",
    "g_input_norm": "none",  # the dense layer goes straight into the first transposed conv
    "d_norm": "bn",  # in all but the first conv
    "bn_momentum": 0.01,  # Keras: momentum 0.99
    "bn_eps": 1e-3,  # Keras
    "loss": "nonsaturating",
    "d_batching": "separate",
    "train.batch": 128,
    "train.n_critic": 1,
    "train.optimizer": "adam",
    "train.lr": 1e-3,  # Adam() of Keras
    "train.betas": [0.9, 0.999],
    "train.g_steps": 20_000,
}

WGAN_GP_CIFAR: dict[str, Any] = {
    # Gulrajani et al. 2017, igul222/improved_wgan_training gan_cifar.py.  Batch norm of G's first map is there over
    # each of its 4x4x512 values, here over each channel.
    **WGAN_GP,
    "g_width": 128,  # DIM: 512, 256, 128
    "d_width": 128,
    "kernel": 5,
    "train.betas": [0.5, 0.9],  # not algorithm 1's (0, 0.9)
}

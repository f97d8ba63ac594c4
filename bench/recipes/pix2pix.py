"""pix2pix."""

from __future__ import annotations

from typing import Any

PIX2PIX: dict[str, Any] = {
    # Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks": sections 3 and 6; the rest
    # as in phillipi/pix2pix train.lua and models.lua.  Which pairs is the study's to say (`data.pairs`).
    "network": "unet",
    "g_width": 64,  # ngf
    "d_width": 64,  # ndf
    "max_width": 512,  # appendix 6.1: C512 is the widest
    "unet_skips": True,  # appendix 6.1: U-Net
    "patch": 70,  # section 3.2.2: 70 x 70 PatchGAN
    "z_dim": 8,  # section 2.1: chance is dropout's alone; no layer of this recipe reads z
    "g_dropout": 0.5,  # appendix 6.1: CD layers, at test too
    "init": "normal002",  # appendix 6.2: N(0, 0.02); gains of batch norm N(1, 0.02) in the code
    "g_norm": "bn",
    "d_norm": "bn",
    "loss": "nonsaturating",  # section 2.3: maximise log D(x, G(x, z))
    "gan_weight": 1.0,  # eq. 4
    "l1_weight": 100.0,  # eq. 4: lambda
    "d_sees_input": True,  # eq. 1
    "d_loss_weight": 0.5,  # section 2.3: the objective is halved while D learns (train.lua halves what it prints)
    "d_batching": "separate",
    "sample_stats": "batch",  # section 2.3: statistics of the test batch
    "data.jitter": 30,  # appendix 6.2: resized to 286, cropped to 256; of other sizes, an eighth or so
    "data.mirror": True,
    "train.batch": 1,  # appendix 6.2: facades (1 to 10 elsewhere)
    "train.n_critic": 1,  # section 2.3: one step on D, then one on G
    "train.optimizer": "adam",
    "train.lr": 2e-4,  # section 2.3
    "train.betas": [0.5, 0.999],  # section 2.3
    "train.epochs": 200,  # appendix 6.2: facades (the authors' PyTorch port: 100, and 100 more with falling lr)
}

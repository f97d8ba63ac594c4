"""Papers and definitions that a methods section names: what each recipe follows, what each metric is."""

from __future__ import annotations

from typing import NamedTuple

_GULRAJANI = "Gulrajani et al. 2017, “Improved Training of Wasserstein GANs”"
_KARRAS = "Karras et al. 2018, “Progressive Growing of GANs for Improved Quality, Stability, and Variation”"
_LANGR = "Langr & Bok 2019, “GANs in Action”"
_MIYATO = "Miyato et al. 2018, “Spectral Normalization for Generative Adversarial Networks”"
_SALIMANS = "Salimans et al. 2016, “Improved Techniques for Training GANs”"
_WANG = "Wang et al. 2004, “Image Quality Assessment: From Error Visibility to Structural Similarity”"

RECIPES: dict[str, str] = {
    "gan": "Goodfellow et al. 2014, “Generative Adversarial Nets”",
    "gan_book": f"{_LANGR}, chapter 3",
    "dcgan": "Radford, Metz & Chintala 2016, “Unsupervised Representation Learning with Deep Convolutional Generative "
    "Adversarial Networks”",
    "dcgan_book": f"{_LANGR}, chapter 4",
    "wgan": "Arjovsky, Chintala & Bottou 2017, “Wasserstein GAN”",
    "wgan_gp": _GULRAJANI,
    "wgan_gp_cifar": _GULRAJANI,
    "wgan_gp_resnet": _GULRAJANI,
    "wgan_gp_resnet_64": _GULRAJANI,
    "sngan": _MIYATO,
    "sngan_resnet": _MIYATO,
    "sndcgan_gan_landscape": "Kurach et al. 2019, “A Large-Scale Study on Regularization and Normalization in GANs”",
    "progan": _KARRAS,
    "progan_cifar": _KARRAS,
    "fastgan": "Liu et al. 2021, “Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image "
    "Synthesis”",
    "pix2pix": "Isola et al. 2017, “Image-to-Image Translation with Conditional Adversarial Networks”",
    "sgan": f"{_LANGR}, chapter 7",
    "sgan_supervised": f"{_LANGR}, chapter 7",
    "cgan_mirza": "Mirza & Osindero 2014, “Conditional Generative Adversarial Nets”",
    "cgan_book": f"{_LANGR}, chapter 8",
    "acgan": "Odena, Olah & Shlens 2017, “Conditional Image Synthesis with Auxiliary Classifier GANs”",
    "sngan_projection": "Miyato & Koyama 2018, “cGANs with Projection Discriminator”",
}
"""Recipe → the paper or book whose numbers it has; beside each number `bench.recipes` says where it stands."""


class Definition(NamedTuple):
    """What a metric is, in a sentence or two."""

    text: str
    source: str = ""
    """Where it was proposed; "" for a plain statistic."""


_FRECHET = (
    "Fréchet distance |m₁ − m₂|² + tr(S₁ + S₂ − 2 (S₁S₂)^(1/2)) between Gaussians fitted to the features of reals and "
    "of fakes"
)
_HEUSEL = (
    "Heusel et al. 2017, “GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium”; "
    "Parmar et al. 2022, “On Aliased Resizing and Surprising Subtleties in GAN Evaluation”"
)

METRICS: dict[str, Definition] = {
    "fid": Definition(f"{_FRECHET}, with Inception’s features.", _HEUSEL),
    "fd": Definition(f"{_FRECHET}; the extractor is named in brackets, and is not FID’s.", _HEUSEL.partition(";")[0]),
    "fid_infinity": Definition(
        "The Fréchet distance extrapolated to infinitely many fakes: the intercept of a line in 1/N over 15 subset "
        "sizes.",
        "Chong & Forsyth 2020, “Effectively Unbiased FID and Inception Score and Where to Find Them”",
    ),
    "is": Definition(
        "exp of the mean KL divergence of p(y|x) from p(y), mean over contiguous splits of the fakes.", _SALIMANS
    ),
    "kid": Definition(
        "Unbiased squared MMD with the kernel (x·y/d + 1)³ on features, mean over subsets, times 10³.",
        "Bińkowski et al. 2018, “Demystifying MMD GANs”",
    ),
    "prdc": Definition(
        "By balls from each point to its k-th neighbour in its own set: the share of fakes in some real’s ball "
        "(precision) and of reals in some fake’s (recall), the mean number of reals’ balls around a fake over k "
        "(density), and the share of reals whose ball holds a fake (coverage).",
        "Kynkäänniemi et al. 2019, “Improved Precision and Recall Metric for Assessing Generative Models”; "
        "Naeem et al. 2020, “Reliable Fidelity and Diversity Metrics for Generative Models”",
    ),
    "nearest": Definition(
        "Mean distance of fakes to their nearest real in feature space, over that of reals to their nearest other real."
    ),
    "modes": Definition(
        "The number of classes that a classifier takes some fake for, and the reverse KL divergence of the fakes’ "
        "class frequencies from the reals’.",
        "Metz et al. 2017, “Unrolled Generative Adversarial Networks”",
    ),
    "label_agreement": Definition("Per cent of fakes that a classifier takes for the class they were asked to be."),
    "accuracy": Definition("Per cent of the test part that D classifies right."),
    "edits": Definition(
        "Per cent of fresh images whose measured attribute rises when z moves along the mean z of exemplars that have "
        "it minus that of exemplars that lack it; and the cosine between such directions.",
        "after Radford, Metz & Chintala 2016",
    ),
    "paths": Definition(
        "Fréchet distance to the reals of images at midpoints of arcs between two z, over that of images at their ends."
    ),
    "swd": Definition(
        "Sliced Wasserstein distance between 7×7 patches of the levels of a Laplacian pyramid, 512 random directions, "
        "mean over levels, times 10³.",
        _KARRAS,
    ),
    "ms_ssim": Definition(
        "Mean multi-scale structural similarity of pairs of fakes; judged against the real set’s own value, since less "
        "similar is not better by itself.",
        f"{RECIPES['acgan']}; {_KARRAS}",
    ),
    "colour": Definition(
        "Root mean square over channels of the differences from the reals in mean and in standard deviation, in "
        "grey levels."
    ),
    "edge_energy": Definition("Mean length of the pixel gradient of fakes over that of reals."),
    "l1": Definition("Mean absolute difference to the target, in grey levels."),
    "psnr": Definition("Peak signal-to-noise ratio to the target, 10 log₁₀(255² / MSE), mean over images."),
    "ssim": Definition("Structural similarity to the target, 11-tap Gaussian windows, mean over images.", _WANG),
    "input_dependence": Definition(
        "Variance of outputs across inputs, beyond that of dropout, over the variance of the targets."
    ),
}
"""Metric as a study asks for it → what it is; docs/metrics.md has each in full."""

"""Every knob of a run: its name, type, default and meaning.

A default means "as in the plainest GAN of the family": a knob that is added later changes no run that does not say it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# ---------------------------------------------------------------------------------------------------------
# The words of the field.  A name `pkg.module:Name` of the user's own is accepted wherever `OwnName` stands.

OwnName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]

DatasetName = Literal[
    "faces", "digits", "mnist", "fashion_mnist", "cifar10", "celeba", "stacked_mnist", "stacked_digits", "folder"
]
Pairing = Literal["none", "ab", "folders", "edges", "grayscale", "downscale"]
NetworkName = Literal["mlp", "dcgan", "sndcgan", "resnet", "progan", "fastgan", "unet"]
GNorm = Literal["none", "bn", "in", "ln", "gn", "adain", "selfmod_bn", "cbn"]
DNorm = Literal["none", "bn", "ln", "in", "gn"]
WeightNorm = Literal["none", "spectral", "weight", "orthogonal"]
SkipKind = Literal["none", "add", "sle"]
Loss = Literal[
    "minimax", "nonsaturating", "wasserstein", "hinge", "leastsquares", "relativistic", "relativistic_average"
]
Penalty = Literal["none", "clip", "gp", "gp0", "r1", "r2", "r1r2", "dragan"]
Condition = Literal["none", "concat", "embed_mul", "acgan", "projection", "sgan"]
Init = Literal["normal002", "wgan_gp", "he", "glorot", "uniform"]
Augment = Literal["color", "translation", "cutout"]
Optimizer = Literal["adam", "rmsprop", "sgd"]
Precision = Literal["fp32", "tf32", "bf16"]

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Strict(BaseModel):
    """A frozen model that refuses unknown keys and silent conversions (but a whole number is a float)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Data(Strict):
    """What is shown to D."""

    name: DatasetName = "faces"
    """The set: embedded (faces, digits), downloaded by torchvision, or `folder`."""
    folder: Annotated[str | None, Field(json_schema_extra={"identity": False})] = None
    """With `name: folder`: a folder or zip of images, nested as you like; sub-folders are labels."""
    size: Annotated[int, Field(ge=4, le=1024)] = 32
    """Side of the square images, in pixels."""
    channels: Literal[1, 3] | None = None
    """1 for grey, 3 for RGB; unset: as the set has it."""
    resize_filter: Literal["box", "bilinear", "bicubic", "lanczos"] = "lanczos"
    """Antialiased filter of the resize; the shorter side is resized, then the centre is cropped."""
    non_faces: bool = False
    """`faces` only: add the 100 non-faces as a second class."""
    subset: PositiveInt | None = None
    """Few-shot: only so many images of the training part, the same ones in every run."""
    mirror: bool = False
    """Show each real mirrored with probability one half."""
    labels: PositiveInt | None = None
    """Label budget: how many training images have a label that is shown; unset: all of them."""
    labels_drawn: Literal["balanced", "first"] = "balanced"
    """Which: as many of each class, drawn from the seed, or the first ones of the training part."""
    classes: PositiveInt | None = None
    """Number of classes, where the setting reads labels.  Filled by the plan."""
    pairs: Pairing = "none"
    """Input images for image-to-image: A|B halves of each picture, a second folder, or made from the image itself."""
    input_folder: Annotated[str | None, Field(json_schema_extra={"identity": False})] = None
    """With `pairs: folders`: the folder of input images, named as those in `folder`."""
    direction: Literal["a_to_b", "b_to_a"] = "a_to_b"
    """With `pairs: ab`: which half is G's input and which its target."""
    jitter: Annotated[int, Field(ge=0)] = 0
    """Show crops of `size` out of reals that are so many pixels larger, each time another (pix2pix: 30 at 256 px)."""
    fingerprint: str = ""
    """Content of the set: published checksums and files present, or a folder's content hash.  Filled by the plan."""

    @property
    def input_channels(self) -> int | None:
        """Channels of the input images of pairs; None where there are none, or `channels` is not filled in."""
        if self.pairs == "none":
            return None
        return 1 if self.pairs in ("edges", "grayscale") else self.channels


class Train(Strict):
    """How long and how."""

    kimg: PositiveFloat | None = None
    """Length in thousands of real images shown to D."""
    epochs: PositiveFloat | None = None
    """Length in passes of D over the training part."""
    g_steps: PositiveInt | None = None
    """Length in G updates."""
    labelled_steps: PositiveInt | None = None
    """Length in updates on labelled images (`condition: sgan`, `objective: supervised`)."""
    snapshots_kimg: tuple[PositiveFloat, ...] | None = None
    """Where G_ema is kept; unset: at 25, 50, 75 and 100 % of the length."""
    snapshots_epochs: tuple[PositiveFloat, ...] | None = None
    """The same, in passes over the training part."""
    snapshots_g_steps: tuple[PositiveInt, ...] | None = None
    """The same, in G updates."""
    batch: Annotated[int, Field(ge=1)] = 64
    """Images in one D update (over all ranks), and fakes in one G update."""
    g_batch: PositiveInt | None = None
    """Fakes in one G update, where it is another number."""
    n_critic: Annotated[int, Field(ge=1)] = 1
    """D updates in one G update."""
    critic_warmup: bool = False
    """WGAN's schedule: 100 D updates for each of the first 25 G updates and for every 500th."""
    optimizer: Optimizer = "adam"
    """For both nets."""
    lr: PositiveFloat = 2e-4
    """Step size of G, and of D unless `d_lr` is set."""
    d_lr: PositiveFloat | None = None
    """Step size of D."""
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    """Adam's betas; RMSProp and SGD do not read them."""
    momentum: Fraction = 0.0
    """SGD's momentum, at the start."""
    final_momentum: Fraction | None = None
    """SGD's momentum after `momentum_epochs`, risen linearly; unset: as at the start."""
    momentum_epochs: PositiveFloat = 250.0
    """Passes over the training part in which momentum rises."""
    lr_decay: Literal["none", "linear", "second_half", "exponential"] = "none"
    """`linear`: to zero over the run's length; `second_half`: the same, from its middle on; `exponential`: divided by
    1.000004 in each step, down to 1e-6 (Goodfellow et al. 2014, released code)."""
    precision: Precision = "fp32"
    """Arithmetic of the forward and backward passes: float32, TF32 products (CUDA), or bfloat16 by autocast."""
    penalty_precision: Literal["fp32", "tf32"] = "fp32"
    """`precision: bf16`: arithmetic of what a penalty differentiates, and of all else that stays in float32."""
    world_size: Annotated[int, Field(ge=1)] = 1
    """Ranks (processes, each with a GPU where there are GPUs) that share one batch."""
    sync_bn: bool = True
    """Several ranks: batch norm's statistics are of the whole batch, as one rank has them; else of each rank's part."""


class Setting(Strict):
    """One run, whole.  Field names are the words of a study file."""

    data: Data = Data()
    train: Train = Train()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """The replicate: draws initial weights, data order, z and all else, each from its own stream."""

    # Networks.
    objective: Literal["gan", "supervised"] = "gan"
    """What is trained: G against D, or D alone as a classifier of the labelled images."""
    network: NetworkName | OwnName = "dcgan"
    """Family of G and D."""
    g_width: PositiveInt = 64
    """Channels of G's last hidden map; each map at half the resolution has twice as many, up to `max_width`."""
    d_width: PositiveInt = 64
    """Channels of D's first map; doubled at each halving of the resolution, up to `max_width`."""
    max_width: PositiveInt = 1024
    """No map is wider."""
    z_dim: PositiveInt = 100
    """Length of z."""
    z_dist: Literal["normal", "uniform"] = "normal"
    """N(0, I) or U(-1, 1)."""
    z_normalized: bool = False
    """Scale each z to unit mean square before G reads it (ProGAN)."""
    init: Init = "normal002"
    """`normal002`: N(0, 0.02) weights (DCGAN); `wgan_gp`: He-uniform before ReLU, Glorot-uniform elsewhere; `he`:
    N(0, gain / sqrt(fan_in)), what `equalized` starts from in effect (ProGAN); `glorot`: Glorot-uniform, in residual
    convs times sqrt(2) (SNGAN); `uniform`: ±0.05 in G, ±0.005 in D (GAN 2014)."""
    activation: Literal["family", "relu", "lrelu"] = "family"
    """Of G's hidden layers; `family`: as the network's paper has it."""
    output: Literal["family", "tanh", "linear"] = "family"
    """Of G's last layer."""
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of a batch in batch norm's running statistics (torch's convention; Keras says 1 minus this)."""
    bn_eps: PositiveFloat = 1e-5
    """Added to batch norm's variance."""
    g_dropout: Fraction = 0.0
    """Dropout rate in G, where its family has a place for it; kept at sampling."""
    d_dropout: Fraction = 0.0
    """Dropout rate in D, where its family has a place for it."""
    g_noise: bool = False
    """Noise maps added after each conv of G, with a learned strength (StyleGAN, FastGAN)."""
    unet_skips: bool = True
    """`network: unet`: the skip connections; without them it is the encoder-decoder."""
    patch: Literal[1, 16, 34, 70, 142, 286] = 70
    """`network: unet`: receptive field of PatchGAN, in pixels."""
    d_pool: Literal["sum", "mean", "flat"] = "sum"
    """`network: resnet`: how D pools its last map; `flat`: not at all, WGAN-GP's critic of 64 px: it begins with a
    plain conv and ends with a dense layer of a whole 4x4 map."""
    kernel: Literal[4, 5] = 4
    """`network: dcgan`, but at 28 px: side of the strided convs' kernels."""
    sndcgan_form: Literal["paper", "gan_landscape"] = "paper"
    """`network: sndcgan`: D doubles its width after each strided conv (Miyato et al., table 3), or at it (compare_gan,
    the code of Kurach et al. 2019)."""
    hidden_layers: PositiveInt = 2
    """`network: mlp`: hidden layers of G and of D."""
    maxout: Annotated[int, Field(ge=0)] = 5
    """`network: mlp`: linear pieces of D's units; 0: LeakyReLU(0.01) in both nets and tanh at G's end."""
    growth: bool = False
    """ProGAN: begin at a low resolution and fade in one level after the other."""
    growth_start: Literal[4, 8, 16, 32] = 4
    """Resolution of the first level."""
    growth_stable_kimg: PositiveFloat = 600.0
    """Length of a level at full strength."""
    growth_fade_kimg: PositiveFloat = 600.0
    """Length of the fade to the next level."""
    growth_batches: tuple[PositiveInt, ...] = ()
    """Batch of each level from the first; the last counts for all above.  Empty: `train.batch`."""
    growth_reset: bool = True
    """Forget the optimizers' moments where a level begins and where its fade ends."""

    # The factors.
    g_norm: GNorm | OwnName = "bn"
    """Activation norm of G's hidden layers, before the activation."""
    g_input_norm: Literal["same", "none", "bn"] = "same"
    """Norm of G's first block (z to 4x4); `same`: as `g_norm`.  Kwak & Ko keep batch norm there."""
    d_norm: DNorm | OwnName = "none"
    """Activation norm of D's hidden layers but the first."""
    d_norm_affine: bool = True
    """Whether D's activation norms and `d_weight: weight` learn a gain and a shift (in SNGAN's comparison: not)."""
    g_weight: WeightNorm = "none"
    """Weight norm of every layer of G."""
    d_weight: WeightNorm = "none"
    """Weight norm of every layer of D."""
    equalized: bool = False
    """Equalized learning rate in G and D: N(0, 1) weights, scaled at run time by gain / sqrt(fan_in)."""
    pixel_norm: bool = False
    """ProGAN's pixelwise feature normalization in G, after each activation."""
    style_source: Literal["z", "mapping", "image"] = "z"
    """What AdaIN's and self-modulation's affine reads: z, StyleGAN's mapping of z, or a style image's statistics."""
    mapping_layers: PositiveInt = 8
    """`style_source: mapping`: dense layers from z to the style."""
    mapping_lr: PositiveFloat = 0.01
    """Step size of the mapping, relative to G's."""
    condition: Condition = "none"
    """How labels enter G and D."""
    acgan_weight: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = (1.0, 0.1)
    """`condition: acgan`: weight of the classification loss in D and in G."""
    mbdiscrimination: Annotated[int, Field(ge=0)] = 0
    """Kernels of minibatch discrimination in D (Salimans et al. 2016); 0: none."""
    mbstd: Literal["all"] | Annotated[int, Field(ge=0)] = 0
    """Group size of the minibatch standard deviation in D; 0: none; `all`: the whole batch."""
    sle: SkipKind = "none"
    """Skip connection from G's 4x4 map: none, plain addition (the control), or skip-layer excitation."""
    d_sle: SkipKind = "none"
    """The same in D, where its family has a place for it (FastGAN)."""
    decoders: Literal["none", "whole", "part", "both"] = "none"
    """FastGAN: small decoders that make D rebuild real images from its maps: the whole, a crop, or both."""
    reconstruction: Literal["perceptual", "ssim", "l1"] = "l1"
    """What `decoders` minimise; `perceptual` needs torchvision's VGG weights."""
    loss: Loss | OwnName = "nonsaturating"
    """Adversarial loss on D's logits."""
    g_loss: Literal["adversarial", "feature_matching"] = "adversarial"
    """What G minimises: the loss's own side, or the distance of D's mean features (Salimans et al. 2016)."""
    gan_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the adversarial loss in G; 0: no D at all."""
    l1_weight: Annotated[float, Field(ge=0)] = 0.0
    """Pairs: weight of |target - G(input)| in G (pix2pix: 100)."""
    d_sees_input: bool = True
    """Pairs: D is shown the input image beside the output (conditional), or the output alone."""
    d_loss_weight: PositiveFloat = 1.0
    """Factor on D's loss (pix2pix halves it)."""
    hinge_jitter: Fraction = 0.0
    """The hinge's margin is drawn from U(1 - this, 1) for each logit (FastGAN: 0.2)."""
    augment: tuple[Augment, ...] = ()
    """DiffAugment, on reals and fakes alike before D."""
    dequantize: Annotated[float, Field(ge=0)] = 0.0
    """Noise U(-this / 2, this / 2) added to reals, on the scale of [-1, 1]."""
    penalty: Penalty = "none"
    """What keeps D in bounds."""
    penalty_every: PositiveInt = 1
    """A gradient penalty is added in every so many-th D update, that many times as heavy (Karras et al. 2020, B)."""
    gp_weight: PositiveFloat = 10.0
    """Lambda of the gradient penalty (WGAN-GP)."""
    r1_weight: PositiveFloat = 10.0
    """Gamma of R1, in gamma / 2 * E |grad D(real)|^2 (StyleGAN's convention), and of R2 on fakes."""
    gp_target: Annotated[float, Field(gt=0)] = 1.0
    """Norm of the gradient that the penalty asks for."""
    drift: Annotated[float, Field(ge=0)] = 0.0
    """ProGAN: weight of E D(real)^2, which keeps the critic near zero."""
    orthogonal_weight: PositiveFloat = 1e-4
    """`d_weight` or `g_weight: orthogonal`: weight of |W W' - I|^2 in that net's loss."""
    clip_value: PositiveFloat = 0.01
    """With `penalty: clip`: D's parameters are clamped to [-c, c] before each D update (WGAN)."""
    d_batching: Literal["separate", "joint"] = "separate"
    """Whether D sees reals and fakes in two passes or in one (another algorithm when statistics cross the batch)."""

    # How G is sampled.
    ema: Fraction = 0.0
    """Decay of G_ema in one G update; 0: G_ema is G."""
    ema_buffers: Literal["copy", "average"] = "copy"
    """What G_ema does with G's running statistics."""
    sample_stats: Literal["running", "batch"] = "running"
    """Batch norm at sampling: running statistics, or those of the sampled batch (of pairs, of `train.batch` images, as
    in training)."""

    deterministic: bool = True
    """Ask torch for deterministic kernels, so that a resumed run is bit-exact on CUDA too."""
    forced: bool = False
    """This combination is denied by the rules and runs all the same, marked."""
    sources: dict[str, str] = Field(default_factory=dict)
    """Source hash of each module of the user's own.  Filled by the plan."""

    @property
    def has_latents(self) -> bool:
        """Whether what G makes is told by z alone."""
        plain = self.objective == "gan" and self.data.pairs == "none"
        return plain and not self.gives_labels and self.style_source != "image"

    @property
    def reads_labels(self) -> bool:
        """Whether anything in this run is told the classes of images."""
        return self.condition != "none" or self.objective == "supervised" or self.g_norm == "cbn"

    @property
    def classifies(self) -> bool:
        """Whether D tells the classes of images, and is scored for it."""
        return self.condition == "sgan" or self.objective == "supervised"

    @property
    def gives_labels(self) -> bool:
        """Whether G and D are called with labels, so that fakes have classes too."""
        return self.condition not in ("none", "sgan") or self.g_norm == "cbn"

"""Every knob of a run: its name, type, default and meaning; and from them the run's identity.

A `Setting` is the whole input of one run, resolved to the last number: recipe, then what the study fixes,
then the cell, then the seed.  Two runs with equal settings are the same run, whichever study asks for them.
This module imports no torch: a plan is made on a login node in about a second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

NUMERICS = 1
"""Version of the arithmetic.  Whoever changes a default or what a run computes must raise it: every id changes."""

# ---------------------------------------------------------------------------------------------------------
# The words of the field.  A name `pkg.module:Name` of the user's own is accepted wherever `OwnName` stands.

OwnName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]

DatasetName = Literal["faces", "digits", "mnist", "fashion_mnist", "cifar10", "celeba", "folder"]
NetworkName = Literal["dcgan", "sndcgan"]
GNorm = Literal["none", "bn", "in", "adain", "selfmod_bn"]
DNorm = Literal["none", "bn", "ln", "in"]
WeightNorm = Literal["none", "spectral"]
SkipKind = Literal["none", "add", "sle"]
Loss = Literal["minimax", "nonsaturating", "wasserstein", "hinge"]
Penalty = Literal["none", "clip", "gp", "r1"]
Optimizer = Literal["adam", "rmsprop", "sgd"]
Precision = Literal["fp32"]

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
    fingerprint: str = ""
    """Content of the set: published checksums and files present, or a folder's content hash.  Filled by the plan."""


class Train(Strict):
    """How long and how."""

    kimg: PositiveFloat | None = None
    """Length in thousands of real images shown to D."""
    epochs: PositiveFloat | None = None
    """Length in passes of D over the training part."""
    g_steps: PositiveInt | None = None
    """Length in G updates."""
    snapshots_kimg: tuple[PositiveFloat, ...] | None = None
    """Where G_ema is kept; unset: at 25, 50, 75 and 100 % of the length."""
    snapshots_epochs: tuple[PositiveFloat, ...] | None = None
    """The same, in passes over the training part."""
    snapshots_g_steps: tuple[PositiveInt, ...] | None = None
    """The same, in G updates."""
    batch: Annotated[int, Field(ge=1)] = 64
    """Images in one D update (over all ranks), and fakes in one G update."""
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
    """SGD's momentum."""
    lr_decay: Literal["none", "linear"] = "none"
    """`linear`: to zero over the run's length."""
    precision: Precision = "fp32"
    """Arithmetic of the forward and backward passes."""
    world_size: Annotated[int, Field(ge=1)] = 1
    """Ranks that share one batch."""


class Setting(Strict):
    """One run, whole.  Field names are the words of a study file."""

    data: Data = Data()
    train: Train = Train()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """The replicate: draws initial weights, data order, z and all else, each from its own stream."""

    # Networks.
    network: NetworkName = "dcgan"
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
    init: Literal["normal002", "wgan_gp"] = "normal002"
    """`normal002`: N(0, 0.02) weights (DCGAN); `wgan_gp`: He-uniform before ReLU, Glorot-uniform elsewhere."""

    # The factors.
    g_norm: GNorm | OwnName = "bn"
    """Activation norm of G's hidden layers, before the activation."""
    g_input_norm: Literal["same", "none", "bn"] = "same"
    """Norm of G's first block (z to 4x4); `same`: as `g_norm`.  Kwak & Ko keep batch norm there."""
    d_norm: DNorm | OwnName = "none"
    """Activation norm of D's hidden layers but the first."""
    g_weight: WeightNorm = "none"
    """Weight norm of every layer of G."""
    d_weight: WeightNorm = "none"
    """Weight norm of every layer of D."""
    equalized: bool = False
    """Equalized learning rate in G and D: N(0, 1) weights, scaled at run time by gain / sqrt(fan_in)."""
    pixel_norm: bool = False
    """ProGAN's pixelwise feature normalization in G, after each activation."""
    mbstd: Literal["all"] | Annotated[int, Field(ge=0)] = 0
    """Group size of the minibatch standard deviation in D; 0: none; `all`: the whole batch."""
    sle: SkipKind = "none"
    """Skip connection from G's 4x4 map: none, plain addition (the control), or skip-layer excitation."""
    loss: Loss = "nonsaturating"
    """Adversarial loss on D's logits."""
    penalty: Penalty = "none"
    """What keeps D in bounds."""
    gp_weight: PositiveFloat = 10.0
    """Lambda of the gradient penalty (WGAN-GP)."""
    r1_weight: PositiveFloat = 10.0
    """Gamma of R1, in gamma / 2 * E |grad D(real)|^2 (StyleGAN's convention)."""
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
    """Batch norm at sampling: running statistics, or those of the sampled batch."""

    deterministic: bool = True
    """Ask torch for deterministic kernels, so that a resumed run is bit-exact on CUDA too."""
    forced: bool = False
    """This combination is denied by the rules and runs all the same, marked."""
    sources: dict[str, str] = Field(default_factory=dict)
    """Source hash of each module of the user's own.  Filled by the plan."""


# ---------------------------------------------------------------------------------------------------------
# Settings as flat, dotted keys: the form in which recipes, cells and `--set` speak.


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `("train.lr", 1e-4)` for `{"train": {"lr": 1e-4}}`; `sources` is one value."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and prefix + key != "sources":
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def unflatten(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """Invert `flatten`."""
    tree: dict[str, Any] = {}
    for key, value in dotted.items():
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


LENGTHS = ("train.kimg", "train.epochs", "train.g_steps")
SNAPSHOTS = ("train.snapshots_kimg", "train.snapshots_epochs", "train.snapshots_g_steps")


def overlay(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge dotted layers, later over earlier.

    A layer that states a length replaces the earlier length and its snapshots; one that states snapshots
    replaces the earlier snapshots.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        if any(key in layer for key in LENGTHS):
            merged = {key: value for key, value in merged.items() if key not in LENGTHS + SNAPSHOTS}
        if any(key in layer for key in SNAPSHOTS):
            merged = {key: value for key, value in merged.items() if key not in SNAPSHOTS}
        merged.update(layer)
    return merged


def resolve(*layers: Mapping[str, Any]) -> Setting:
    """Overlay dotted layers and validate the result.

    Raises pydantic.ValidationError with one entry for each mistake.
    """
    return Setting.model_validate_json(json.dumps(unflatten(overlay(*layers))))


def resolved(setting: Setting) -> dict[str, Any]:
    """All knobs of a setting with their values, dotted."""
    return dict(flatten(setting.model_dump(mode="json")))


# ---------------------------------------------------------------------------------------------------------
# Identity.


def _identity_free(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("identity") is False:
            yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _identity_free(field.annotation, f"{prefix}{name}.")


IDENTITY_FREE = frozenset(_identity_free(Setting))
DEFAULTS = resolved(Setting())


def identity(setting: Setting) -> dict[str, Any]:
    """What makes this run this run: the knobs that differ from the defaults, the seed, and `NUMERICS`."""
    differing = {
        key: value for key, value in resolved(setting).items() if key not in IDENTITY_FREE and value != DEFAULTS[key]
    }
    return {**differing, "seed": setting.seed, "numerics": NUMERICS}


def run_id(setting: Setting) -> str:
    """Sixteen hex digits: the hash of `identity`, blind to key order, paths, resources and labels."""
    return digest(identity(setting))


def digest(content: Any, length: int = 16) -> str:
    """Hash JSON-able content, blind to key order."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]

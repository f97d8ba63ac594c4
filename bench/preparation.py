"""What many runs need once, made before any of them starts."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import torch

from bench import data, datasets, draws, evaluate, fetch, gallery, norms, sample
from bench.files import publish
from bench.harmless import complain
from bench.metrics import inception
from bench.metrics.dinov2 import DinoV2
from bench.metrics.failure import MetricError
from bench.models import build
from bench.models.own import check_own_network
from bench.objectives.losses import check_own_loss
from bench.orders import Orders
from bench.protocol import requests
from bench.setting import Data, Setting, run_id

Part = Literal["all", "driver", "task"]
PARTS: tuple[Part, ...] = get_args(Part)
"""On a cluster it comes in two parts: the driver has the network, its tasks have the cores."""


class DeviceError(Exception):
    """This process was given a GPU that torch cannot use; the message names the host and the remedy."""


def prepare(orders: Orders, settings: Sequence[Setting], study: Path, part: Part = "all") -> None:
    """Do before any run starts what would fail or be made many times: data, own modules, reference statistics.

    Raises DataError, NormError, OwnModuleError or MetricError with the place and the remedy.
    """
    prepare_torch(settings[0], orders)
    if part != "task":
        check_own(settings)
    placed = [orders.placed(setting) for setting in settings]
    for setting in {setting.data: setting for setting in placed}.values():
        if part == "driver":
            fetch_downloads(orders, setting)
        else:
            prepare_data(orders, setting, study)


def check_own(settings: Sequence[Setting]) -> None:
    """Try each norm, loss and network of the user's own.  Raises NormError or OwnModuleError."""
    in_g = {(s.g_norm, s.z_dim, s.data.classes) for s in settings}
    in_d = {(s.d_norm, None, s.data.classes) for s in settings}
    for name, z_dim, classes in sorted(in_g | in_d, key=str):
        if ":" in name:
            norms.check_own(name, z_dim, classes)
    for name in sorted({s.loss for s in settings if ":" in s.loss}):
        check_own_loss(name)
    whole = [s.model_copy(update={"seed": 0}) for s in settings if ":" in s.network]
    for setting in {run_id(setting): setting for setting in whole}.values():
        check_own_network(*build(setting), setting)


def fetch_downloads(orders: Orders, setting: Setting) -> None:
    """Download what one set needs and is not here; raises DataError.

    Weights of an extractor that cannot be had are said: their scores will fail with that reason.
    """
    source = datasets.describe(setting.data, orders.data_root)
    if not source.present:
        fetch.fetch(source, orders.data_root)
    asked = requests(orders.metrics, orders.evaluate, setting.data, "", "", source)
    extractors = {request.settings.get("extractor") for request in asked}
    try:
        if "inception" in extractors:
            inception.locate(orders.data_root)
        if "dinov2" in extractors:
            DinoV2()
    except MetricError as error:
        complain(error)


def prepare_data(orders: Orders, setting: Setting, study: Path) -> None:
    """Decode one set, draw a sheet of its reals, make its reference statistics."""
    cache = study.parent.parent / "cache"
    dataset = data.load(setting.data, orders.data_root, cache)
    for file, reason in dataset.unreadable[:20]:
        complain(f"not readable, left out: {file}: {reason}")
    if len(dataset.unreadable) > 20:
        complain(f"… and {len(dataset.unreadable) - 20} more")
    if setting.data.jitter:
        data.load(larger(setting.data), orders.data_root, cache)
    images = dataset.part("train").images
    reals = images[draws.permutation(len(images), sample.SHEET_SEED, "sheet_reals", 0)]
    if (pairs := sample.sheet_pairs(dataset)) is not None:
        reals = pairs.images
        publish(study / "inputs.png", sample.sheet(pairs.inputs))
    publish(study / "reals.png", sample.sheet(reals))
    evaluate.prepare(setting.data, orders.evaluate, orders.metrics, root=orders.data_root, cache=cache)
    gallery.Gallery(setting, dataset, orders, cache).prepare()


def larger(data: Data) -> Data:
    """Return the set out of which `data.jitter` crops."""
    return data.model_copy(update={"size": data.size + data.jitter, "jitter": 0})


def devices() -> list[Path]:
    """The device files of this host's NVIDIA GPUs."""
    return sorted(Path("/dev").glob("nvidia[0-9]*"))


def prepare_torch(setting: Setting, orders: Orders, gpu_share: float = 1.0) -> torch.device:
    """Set threads, determinism, device and its memory for this process.

    Raises DeviceError rather than train on the CPU what was given a GPU.
    """
    torch.set_num_threads(orders.cpu_threads)
    # fp32 means fp32: convolutions on CUDA would use TF32 otherwise.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    cuda = torch.cuda.is_available()
    if not cuda and (given := os.environ.get("CUDA_VISIBLE_DEVICES", "").replace("-1", "")) and devices():
        why = "cannot use it: its driver may be broken" if torch.version.cuda else "is built for the CPU alone"
        raise DeviceError(
            f"{socket.gethostname()}: this job has GPU {given}, and torch {why}. "
            "Leave the node out, install a torch for CUDA, or train on the CPU by resources.gpus: 0."
        )
    # Our CPU kernels repeat bit for bit at equal thread counts; asking for it here costs 1.6 s of imports.
    if setting.deterministic and cuda:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    if cuda and gpu_share < 1.0:
        torch.cuda.set_per_process_memory_fraction(gpu_share)
    return torch.device("cuda" if cuda else "cpu")

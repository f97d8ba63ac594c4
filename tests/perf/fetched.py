"""Peers' own code, imported from checkouts that lie beside this one; nothing of theirs is kept here.

Each `*_step` returns a function that does one G update with its D updates by the peer's own step functions, on reals
that lie ready in memory as floats: kinder to them than their loaders, which decode each image.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import tempfile
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import packaging.version
import torch
from torch import Tensor

from bench.setting import Setting

WHERE = {
    "mimicry": "git clone https://github.com/kwotsin/mimicry",
    "studiogan": "git clone https://github.com/POSTECH-CVLab/PyTorch-StudioGAN",
    "stylegan2-ada": "git clone https://github.com/NVlabs/stylegan2-ada-pytorch",
}


def checkout(name: str, folder: Path | None) -> Path | None:
    """The folder of a checkout; None, with a line that says how to get it, when there is none."""
    if folder is not None and folder.is_dir():
        return folder.resolve()
    said = "not given" if folder is None else f"{folder} is no folder"
    print(f"{name}: {said}, left out.  {WHERE[name]}   and then --{name} FOLDER", flush=True)
    return None


def parameters(net: torch.nn.Module) -> str:
    """How many numbers its parameters are."""
    return f"{sum(p.numel() for p in net.parameters()) / 1e6:.3f} M"


class Stubs:
    """Finds modules that a peer imports and a step does not use, where they are not installed."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name.partition(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        return mock.MagicMock(__spec__=spec, __path__=[], __name__=spec.name)

    def exec_module(self, module: object) -> None: ...


def use(folder: Path, stubs: Sequence[str] = ()) -> None:
    """Have the peer's modules found, and stubs for those that are not installed."""
    warnings.simplefilter("ignore")
    here = str(Path(__file__).resolve().parent)  # where a `metrics` lies that is not the peer's
    sys.path[:] = [str(folder), *(place for place in sys.path if place != here)]
    sys.meta_path.append(Stubs(stubs))
    if (
        "pkg_resources" not in sys.modules and importlib.util.find_spec("pkg_resources") is None
    ):  # setuptools dropped it
        sys.modules["pkg_resources"] = types.ModuleType("pkg_resources")
        sys.modules["pkg_resources"].parse_version = packaging.version.parse  # type: ignore[attr-defined]
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):  # one that does not fit this torch
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.meta_path.insert(0, Stubs(["torchvision"]))


class InMemory:
    """A data loader's face on float reals in [-1, 1] in memory: (images, labels), shuffled in each pass."""

    def __init__(self, images: Tensor, batch_size: int, device: torch.device) -> None:
        self.images, self.batch_size = images.float() / 127.5 - 1, batch_size
        self.labels = torch.zeros(len(images), dtype=torch.int64)
        self.pin = device.type == "cuda"

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.randperm(len(self.images)).split(self.batch_size)[: len(self)]:
            images, labels = self.images[rows], self.labels[rows]
            yield (images.pin_memory(), labels.pin_memory()) if self.pin else (images, labels)


# ---------------------------------------------------------------------------------------------------------


def mimicry_step(folder: Path, setting: Setting, images: Tensor, device: torch.device) -> Callable[[], None]:
    """SNGAN-32 or WGAN-GP-32 of torch_mimicry, trained as its `Trainer.train` does: a batch fetched for each D update.

    Left out: what `Trainer` prints and writes.
    """
    use(folder, ("tensorflow", "tensorboard"))
    for package in ("torch_mimicry", "torch_mimicry.training", "torch_mimicry.nets"):
        # Without their __init__, which import metrics and with them tensorflow.
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = [str(folder.joinpath(*package.split(".")))]
    sys.modules["torch.utils.tensorboard"] = mock.MagicMock()
    metric_log, trainer = (
        importlib.import_module(f"torch_mimicry.training.{name}") for name in ("metric_log", "trainer")
    )
    scheduler = importlib.import_module("torch_mimicry.training.scheduler")
    kind, name = ("sngan", "SNGAN") if setting.loss == "hinge" else ("wgan_gp", "WGANGP")
    nets = importlib.import_module(f"torch_mimicry.nets.{kind}.{kind}_32")
    netG = getattr(nets, f"{name}Generator32")(nz=setting.z_dim, ngf=setting.g_width).to(device)
    netD = getattr(nets, f"{name}Discriminator32")(ndf=setting.d_width).to(device)
    print(f"mimicry: G {parameters(netG)}, D {parameters(netD)} parameters")
    train = setting.train
    optG, optD = (torch.optim.Adam(net.parameters(), train.lr, train.betas) for net in (netG, netD))
    loader = InMemory(images, train.batch, device)
    rates = scheduler.LRScheduler(lr_decay="linear", optD=optD, optG=optG, num_steps=1_000_000)
    state: dict[str, Any] = {"iterator": iter(loader), "step": 0}
    fetcher = types.SimpleNamespace(dataloader=loader, device=device)

    def step() -> None:
        log = metric_log.MetricLog()
        shared = {"log_data": log, "global_step": state["step"], "device": device}
        for _ in range(train.n_critic):
            state["iterator"], real = trainer.Trainer._fetch_data(fetcher, iter_dataloader=state["iterator"])
            netD.train_step(real_batch=real, netG=netG, optD=optD, **shared)
        netG.train_step(real_batch=real, netD=netD, optG=optG, **shared)
        state["step"] += 1
        rates.step(log_data=log, global_step=state["step"])

    return step


STUDIOGAN = """
DATA: {{name: CIFAR10, img_size: 32, num_classes: 10}}
MODEL: {{backbone: resnet, g_cond_mtd: W/O, d_cond_mtd: W/O, apply_d_sn: {spectral}, z_dim: {z_dim},
        g_conv_dim: {g_conv_dim}, d_conv_dim: {d_conv_dim}}}
LOSS: {{adv_loss: {loss}, apply_gp: {gp}, gp_lambda: 10.0}}
OPTIMIZATION: {{batch_size: {batch}, d_updates_per_step: {n_critic}, g_lr: {lr}, d_lr: {lr}, beta1: {b1}, beta2: {b2}}}
"""
UNUSED = ("wandb", "seaborn", "h5py", "tensorflow", "cv2", "kornia", "ninja", "psutil", "click")


def studiogan_step(folder: Path, setting: Setting, images: Tensor, device: torch.device) -> Callable[[], None]:
    """StudioGAN's `WORKER.train_discriminator` and `train_generator` on its 32 px ResNet, without labels.

    Its G is four times `g_conv_dim` wide and its D twice `d_conv_dim`.  With batch norm in D's place of spectral norm
    (its WGAN-GP) the networks differ from ours.
    """
    use(folder / "src", UNUSED)
    config, worker, model = (importlib.import_module(name) for name in ("config", "worker", "models.model"))
    train = setting.train
    text = STUDIOGAN.format(
        spectral=setting.d_weight == "spectral", z_dim=setting.z_dim, loss=setting.loss, gp=setting.penalty == "gp",
        g_conv_dim=setting.g_width // 4, d_conv_dim=setting.d_width // 2, batch=train.batch, n_critic=train.n_critic,
        lr=train.lr, b1=train.betas[0], b2=train.betas[1],
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "config.yaml").write_text(text)
        cfgs = config.Configurations(str(Path(place) / "config.yaml"))
    off = ("mixed_precision", "distributed_data_parallel", "synchronized_bn", "batch_statistics", "empty_cache")
    cfgs.update_cfgs({**dict.fromkeys(off, False), "freezeD": -1, "train": True}, super="RUN")
    nets = (cfgs.DATA, cfgs.OPTIMIZATION, cfgs.MODEL, cfgs.STYLEGAN, cfgs.MODULES, cfgs.RUN)
    G, mapping, synthesis, D, *averaged = model.load_generator_discriminator(*nets, device, mock.MagicMock())
    print(f"StudioGAN: G {parameters(G)}, D {parameters(D)} parameters")
    cfgs.define_optimizer(G, D)
    loader = InMemory(images, train.batch * train.n_critic, device)
    names = worker.WORKER.__init__.__code__.co_varnames[1 : worker.WORKER.__init__.__code__.co_argcount]
    known = {"cfgs": cfgs, "Gen": G, "Gen_mapping": mapping, "Gen_synthesis": synthesis, "Dis": D, "local_rank": device}
    known |= dict(zip(("Gen_ema", "Gen_ema_mapping", "Gen_ema_synthesis", "ema"), averaged, strict=True))
    works = worker.WORKER(**{name: known.get(name) for name in names} | {"global_rank": 1, "train_dataloader": loader})
    works.prepare_train_iter(0)
    state = {"step": 0}

    def step() -> None:
        works.train_discriminator(state["step"])
        works.train_generator(state["step"])
        state["step"] += 1

    return step

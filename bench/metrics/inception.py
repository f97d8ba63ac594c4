"""The Inception network of the FID literature (2015-12-05), by clean-fid's resize and wrapper.

Its TorchScript file is looked for in $BENCH_INCEPTION (a folder), the data folder, and clean-fid's own place; when
it is nowhere, it is downloaded into the data folder, aloud.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import torch
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from torch import Tensor

from bench.metrics.failure import MetricError

FILE = "inception-2015-12-05.pt"
URL = f"https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/{FILE}"
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
SIZE_MB = 96
VARIABLE = "BENCH_INCEPTION"
CLEAN_FID_PLACE = Path("/tmp")  # where clean-fid leaves the file
TIMEOUT_S = 20


class Inception:
    """Features [B, 2048] before the last layer, and its logits without the bias, as the Inception score has them.

    `mode`: clean-fid's `clean` (antialiased bicubic, not quantised), `legacy_pytorch` or `legacy_tensorflow`.
    Grey images count as three equal channels.
    """

    name = "inception"

    def __init__(self, folder: Path, mode: str) -> None:
        self.weights = _sha256(folder / FILE)
        self.mode = mode
        with _quiet():
            self._resize = build_resizer(mode)
            self._net = InceptionV3W(str(folder), download=False, resize_inside=mode == "legacy_tensorflow")
            self._net.requires_grad_(False)
        try:
            self._output: Tensor = self._net.base.output.weight.detach().float()
        except AttributeError as error:
            raise MetricError(f"{folder / FILE} has no `output.weight`: not the network that is meant") from error
        self.classes, self.dim = self._output.shape

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of uint8 [B, C, H, W]; on the images' device."""
        rgb = images.expand(-1, 3, -1, -1)
        if self.mode == "legacy_tensorflow":
            resized = rgb.float()
        else:
            pixels = rgb.permute(0, 2, 3, 1).cpu().numpy()
            with _quiet():
                rows = np.stack([self._resize(image) for image in pixels])
            resized = torch.from_numpy(rows).permute(0, 3, 1, 2).to(images.device)
        features = self._net.to(images.device)(resized)
        return features, features @ self._output.to(images.device).T


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep clean-fid's and TorchScript's deprecations, and clean-fid's change of the warning filters, to themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def places(root: Path) -> list[Path]:
    """Folders that are searched, in order."""
    said = os.environ.get(VARIABLE)
    return [*([Path(said)] if said else []), root, CLEAN_FID_PLACE]


def locate(root: Path, *, download: bool = True) -> Path:
    """Return the folder that holds the network; `root` is the data folder, and where a download goes.

    A file in $BENCH_INCEPTION is taken as it is, its checksum recorded; elsewhere it must be the published one.
    Raises MetricError that names the file, its size, and where to put it.
    """
    said = os.environ.get(VARIABLE)
    for folder in places(root):
        path = folder / FILE
        if path.is_file():
            if not (said and folder == Path(said)) and (actual := _sha256(path)) != SHA256:
                raise MetricError(
                    f"{path} is damaged or another file (sha256 {actual[:16]}…, not {SHA256[:16]}…): remove it, "
                    f"or set {VARIABLE} to its folder to use it as it is"
                )
            return folder
    if said:
        raise MetricError(f"{VARIABLE}={said}: there is no {FILE} in that folder ({SIZE_MB} MB, from {URL})")
    if not download:
        raise MetricError(_absent(root, "and scoring downloads nothing"))
    _download(root)
    return root


def _download(root: Path) -> None:
    print(f"downloading {URL} ({SIZE_MB} MB) to {root / FILE}", file=sys.stderr, flush=True)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".inception-", dir=root) as draft:
            partial = Path(draft) / FILE
            with urllib.request.urlopen(URL, timeout=TIMEOUT_S) as answer, partial.open("wb") as file:
                actual = _copy(answer, file)
            if actual != SHA256:
                raise OSError(f"what came is not the published file (sha256 {actual[:16]}…)")
            os.replace(partial, root / FILE)
    except OSError as error:
        raise MetricError(_absent(root, f"the download failed: {error}")) from error


def _absent(root: Path, why: str) -> str:
    return (
        f"Inception's weights are not on this machine ({why}). Fetch {URL} ({SIZE_MB} MB) where there is a network "
        f"and put it at {root / FILE}, or set {VARIABLE} to the folder that holds it. Offline, `fd` scores by a "
        "stand-in extractor."
    )


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    hashed = hashlib.sha256()
    while block := source.read(1 << 20):
        hashed.update(block)
        target.write(block)
    return hashed.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

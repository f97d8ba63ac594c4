"""Downloads of the named sets through torchvision, said before they start."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType

from bench import datasets
from bench.datasets import IDX, DataError, Source

log = logging.getLogger(__name__)

CELEBA_DRIVE = {  # as in torchvision.datasets.CelebA
    "img_align_celeba.zip": "0B7EVK8r0v71pZjFTYXZWM3FlRnM",
    "list_eval_partition.txt": "0B7EVK8r0v71pY0NSMzRuSXJEVkk",
}


def fetch(source: Source, root: Path) -> None:
    """Download a set that is absent into `root`; files appear there whole and checked, or not at all.

    Raises DataError, naming the files and where they may be put, when torchvision or the network is missing.
    """
    remedy = f"Get it elsewhere and put {source.where}"
    module = "torchvision.datasets" if source.name in IDX else "torchvision.datasets.utils"
    try:
        torchvision = importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # a torchvision built for another torch ends in RuntimeError
        raise DataError(
            f"{source.name} is not here, and torchvision, which would download it, cannot be imported "
            f"({error}). {remedy}"
        ) from error
    try:
        root.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".download-", dir=root))
    except OSError as error:
        raise DataError(f"{root}: cannot be written ({error.strerror}); set BENCH_DATA to a folder that can") from error
    try:
        log.warning("downloading %s: %.1f MB into %s", source.name, source.download_mb, root.absolute())
        _download(source.name, torchvision, draft)
        for file in sorted(path for path in draft.rglob("*") if path.is_file()):
            target = root / file.relative_to(draft)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
    except Exception as error:
        # torchvision, gdown and urllib raise all kinds; each means that the files could not be had.
        raise DataError(f"{source.name} could not be downloaded ({type(error).__name__}: {error}). {remedy}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _download(name: str, torchvision: ModuleType, draft: Path) -> None:
    if name in IDX:
        getattr(torchvision, IDX[name].torchvision)(draft, download=True)
        for file in list(draft.rglob("*-ubyte")):  # torchvision unpacks each; the packed one is enough
            file.unlink()
    elif name == "cifar10":
        # The binary version: torchvision's own class unpickles the Python one.
        torchvision.download_url(datasets.CIFAR10_URL, draft, datasets.CIFAR10_ARCHIVE, datasets.CIFAR10_MD5)
    else:
        for file_name, drive in CELEBA_DRIVE.items():
            md5 = datasets.CELEBA_MD5[file_name]
            torchvision.download_file_from_google_drive(drive, draft / "celeba", file_name, md5)

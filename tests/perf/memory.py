"""Peak memory of scoring many images, beside the images themselves: `python tests/perf/memory.py`.

An extractor that costs nothing stands for a network of 2,048 features.  Precision to coverage of 200,000 against 50,000
takes hours on a CPU and no more memory than a smaller set's, so it is left out unless `--metrics` names it.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor

from bench import evaluate
from bench.metrics.suite import Side
from bench.protocol import Evaluate, requests
from bench.reals import ReferenceSet
from bench.setting import Data


class Cheap:
    """2,048 pixels of an image as its features, 10 as logits."""

    name, weights, dim, classes = "cheap", "", 2048, 10

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of uint8 [B, C, H, W]."""
        x = images.flatten(1)[:, :2048].float() / 255
        return x, 10 * x[:, :10]


def peak_mb() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the peak after each metric."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reals", type=int, default=200_000)
    parser.add_argument("--fakes", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--metrics", default="swd,ms_ssim,colour,fd,fid_infinity,is,kid,modes")
    given = parser.parse_args()
    g = torch.Generator().manual_seed(0)
    real, fake = (
        torch.randint(0, 256, (n, 3, given.size, given.size), dtype=torch.uint8, generator=g)
        for n in (given.reals, given.fakes)
    )
    before = peak_mb()
    print(f"images: {(real.numel() + fake.numel()) / 2**20:.0f} MB, process with them: {before:.0f} MB", flush=True)
    with tempfile.TemporaryDirectory() as place:
        reals = ReferenceSet(real, {"name": "perf"}, root=Path(place), cache=Path(place))
        settings = Evaluate(fakes=given.fakes, extractor="random")
        shape = type("Shape", (), {"channels": 3, "classes": ()})
        listed = requests(given.metrics.split(","), settings, Data(size=given.size), "", "", shape)
        reals._extractors["random", None] = Cheap()
        side = Side(fake, lambda settings: reals.extract(fake, settings), real=False)
        for request in evaluate.images_first(listed):
            started = time.perf_counter()
            record = evaluate.scored(request, reals, side)
            print(
                f"{request.metric:14} {record['status']:7} {time.perf_counter() - started:7.1f} s   "
                f"peak {peak_mb() - before:6.0f} MB beside the images {record['reason'] or ''}",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""What the metrics cost beside the usual tools, on the same arrays: `python tests/perf/metrics.py`.

One thread, in turns, medians of the processor's own time, so that a busy machine moves both sides alike.  Nothing here
decides anything: it prints ratios, with what was asked for beside them.  `--progan FILE`: sliced_wasserstein.py of
github.com/tkarras/progressive_growing_of_gans, which is not ours to keep.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from bench.metrics import frechet_distance, gaussian, ms_ssim, swd, with_root  # noqa: E402

D, N = 2048, 10_000


def cost(work: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> float:
    """Seconds of one call."""
    started = clock()
    work()
    return clock() - started


def race(rounds: int, **works: Callable[[], Any]) -> dict[str, float]:
    """Median seconds of each, taken in turns."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(cost(work))
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def say(what: str, ratio: float, asked: float | None, seconds: str) -> None:
    """Print one line."""
    bar = "" if asked is None else f"asked {asked:g}"
    print(f"{what:64} {ratio:7.2f} ×   {bar:12} {seconds}", flush=True)


def without_torchvision() -> Any:
    """The tools import it; what is timed of them does not need it, and it need not fit this torch."""
    parts = ("", ".datasets", ".io", ".ops", ".models", ".transforms", ".transforms.functional")
    return mock.patch.dict(sys.modules, {f"torchvision{part}": mock.MagicMock(__spec__=None) for part in parts})


def pictures(n: int, side: int, seed: int) -> torch.Tensor:
    """Smooth random images with some noise, uint8 [n, 3, side, side]."""
    g = torch.Generator().manual_seed(seed)
    smooth = torch.nn.functional.interpolate(torch.rand((n, 3, 6, 6), generator=g), size=side, mode="bicubic")
    return (255 * smooth + 8 * torch.randn(smooth.shape, generator=g)).clamp(0, 255).to(torch.uint8)


def frechet(rounds: int) -> None:
    """Against clean-fid's distance (SciPy's sqrtm)."""
    with without_torchvision():
        from cleanfid.fid import frechet_distance as theirs

    rng = np.random.default_rng(0)
    scale = np.linspace(1, 1e-3, D)
    a, b = ((np.abs(rng.standard_normal((N, D))) * scale * by).astype(np.float32) for by in (1.0, 1.05))
    ours = [gaussian(x) for x in (a, b)]
    rooted = with_root(ours[0])
    moments = [(x.mean(axis=0), np.cov(x, rowvar=False)) for x in (a, b)]
    step = race(rounds, ours=lambda: frechet_distance(rooted, ours[1]), theirs=lambda: theirs(*moments[0], *moments[1]))
    statistics_ = race(
        rounds,
        ours=lambda: gaussian(b),
        theirs=lambda: (b.mean(axis=0), np.cov(b, rowvar=False)),
        root=lambda: with_root(ours[0]),
    )
    whole = step["theirs"] + 2 * statistics_["theirs"]
    both = 2 * statistics_["ours"] + statistics_["root"] + step["ours"]
    cached = statistics_["ours"] + step["ours"]
    say("Fréchet step, both statistics given", step["theirs"] / step["ours"], 9, f"{step['ours']:.2f} s")
    say("Fréchet distance of two 10,000 × 2,048 arrays", whole / both, 3.8, f"{both:.2f} s")
    say("the same, reference statistics kept", whole / cached, 5.5, f"{cached:.2f} s")


def similarity(rounds: int, pairs: int) -> None:
    """Against torchmetrics and pytorch-msssim, with all pairs in one call, and in the batches that suit them best."""
    from pytorch_msssim import ms_ssim as theirs

    with without_torchvision():
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as metric

    a, b = pictures(pairs, 64, 0), pictures(pairs, 64, 1)

    def by_torchmetrics(batch: int) -> None:
        for x, y in zip(a.split(batch), b.split(batch), strict=True):
            metric(x.float(), y.float(), data_range=255.0, betas=(0.0448, 0.2856, 0.3001), reduction="none")

    def by_msssim(batch: int) -> None:
        for x, y in zip(a.split(batch), b.split(batch), strict=True):
            theirs(x.float(), y.float(), data_range=255, win_size=3, size_average=False)

    for batch, how in ((pairs, "one call"), (32, "their best batch, 32")):
        took = race(
            rounds,
            ours=lambda: ms_ssim(a, b),
            torchmetrics=lambda batch=batch: by_torchmetrics(batch),
            msssim=lambda batch=batch: by_msssim(batch),
        )
        asked = (10, 3.5) if batch == pairs else (None, None)
        seconds = f"{took['ours']:.2f} s"
        say(
            f"MS-SSIM, {pairs} pairs, 64 px: torchmetrics, {how}",
            took["torchmetrics"] / took["ours"],
            asked[0],
            seconds,
        )
        say(f"MS-SSIM, {pairs} pairs, 64 px: pytorch-msssim, {how}", took["msssim"] / took["ours"], asked[1], seconds)


def sliced(rounds: int, progan: Path | None, n: int = 512) -> None:
    """Against the ProGAN authors' own code; and on more threads."""
    a, b = pictures(n, 64, 0), pictures(n, 64, 1)
    works: dict[str, Callable[[], Any]] = {"ours": lambda: swd(a, b)}
    if progan is None:
        print(f"{'SWD against the ProGAN reference':64} not measured (--progan)")
    else:
        spec = importlib.util.spec_from_file_location("progan_swd", progan)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)

        def reference() -> None:
            kept: list[list[list[Any]]] = []
            for images in (a, b):
                levels: list[list[Any]] = [[], [], []]
                for part in images.split(64):
                    for level, made in zip(levels, module.generate_laplacian_pyramid(part.numpy(), 3), strict=True):
                        level.append(module.get_descriptors_for_minibatch(made, 7, 128))
                kept.append([module.finalize_descriptors(level) for level in levels])
            for of_a, of_b in zip(*kept, strict=True):
                module.sliced_wasserstein(of_a, of_b, 4, 128)

        works["progan"] = reference
    took = race(rounds, **works)
    if "progan" in took:
        say(f"SWD, {n} images, 64 px: ProGAN's", took["progan"] / took["ours"], 1.7, f"{took['ours']:.2f} s")
    cores = len(os.sched_getaffinity(0))
    walls: dict[int, list[float]] = {1: [], cores: []}
    for _ in range(rounds):
        for threads, seen in walls.items():
            torch.set_num_threads(threads)
            seen.append(cost(works["ours"], time.perf_counter))
    torch.set_num_threads(1)
    one, many = (statistics.median(seen) for seen in walls.values())
    say(f"SWD, wall time of 1 thread over {cores}", one / many, None, f"{many:.2f} s")


def on_a_gpu(rounds: int, n: int = 2048, pairs: int = 2000) -> None:
    """SWD and MS-SSIM of images that lie on a CUDA device, wall time, against one CPU thread's time."""
    if not torch.cuda.is_available():
        print(f"{'SWD and MS-SSIM on a GPU':64} not measured: there is no CUDA device")
        return
    a, b = pictures(n, 64, 0), pictures(n, 64, 1)
    works: dict[str, tuple[int, Callable[[torch.Tensor, torch.Tensor], Any]]] = {
        f"SWD, {n} images, 64 px": (n, swd),
        f"MS-SSIM, {pairs} pairs, 64 px": (pairs, lambda x, y: ms_ssim(x, y).cpu()),
    }
    print(f"CUDA device: {torch.cuda.get_device_name()}")
    for what, (count, work) in works.items():
        x, y = a[:count], b[:count]
        there = x.cuda(), y.cuda()
        work(*there)  # kernels load, memory is had
        torch.cuda.synchronize()
        here = statistics.median(cost(lambda: work(x, y)) for _ in range(rounds))  # noqa: B023
        gpu = statistics.median(cost(lambda: work(*there), time.perf_counter) for _ in range(rounds))  # noqa: B023
        say(f"{what}: a CPU's time over a GPU's", here / gpu, 50, f"{gpu:.4f} s")


class Timed(torch.nn.Module):
    """A network, and the seconds of its own forward passes."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net, self.seconds = net, 0.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        started = time.process_time()
        seen = self.net(images)
        self.seconds += time.process_time() - started
        return seen


def suite(n: int) -> None:
    """All metrics on Inception's features, against that network's forward passes alone plus SWD.

    The passes are timed where they happen: minutes later a busy machine is another machine.
    """
    import inception_graph

    from bench import evaluate
    from bench.metrics.inception import FILE, VARIABLE
    from bench.metrics.suite import Side
    from bench.protocol import Evaluate, requests
    from bench.reals import ReferenceSet
    from bench.setting import Data

    reals, fakes = pictures(n, 64, 0), pictures(n, 64, 1)
    with tempfile.TemporaryDirectory() as place:
        inception_graph.save(Path(place) / FILE)
        os.environ[VARIABLE] = place
        reference = ReferenceSet(reals, {"name": "perf"}, root=Path(place), cache=Path(place) / "cache")
        asked = ("swd", "ms_ssim", "colour", "fid", "is", "kid", "prdc", "fid_infinity")
        shape = type("Shape", (), {"channels": 3, "classes": ()})
        listed = requests(asked, Evaluate(fakes=n, extractor="inception"), Data(size=64), "", "", shape)
        for request in listed:
            reference.baseline(request)
        extractor: Any = reference.extractor({"extractor": "inception", "resize": "clean"})
        extractor._net = net = Timed(extractor._net)
        side = Side(fakes, lambda settings: reference.extract(fakes, settings), real=False)
        took = {request.metric: cost(lambda request=request: check(evaluate.scored(request, reference, side)))
                for request in listed}  # fmt: skip
    whole = sum(took.values())
    print(f"suite, {n} images, 64 px: {', '.join(f'{name} {seconds:.1f} s' for name, seconds in took.items())}")
    print(f"{'suite over the forward passes plus SWD':64} {whole / (net.seconds + took['swd']):7.3f}     asked ≤ 1.15  "
          f"forward {net.seconds:.1f} s")  # fmt: skip


def check(record: dict[str, Any]) -> None:
    """Refuse to time a failure."""
    assert record["status"] == "ok", record["reason"]


def main() -> None:
    """Print all ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--progan", type=Path, metavar="FILE", help="the ProGAN authors' sliced_wasserstein.py")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--images", type=int, default=2000, help="of the whole suite")
    parser.add_argument("--only", nargs="*", default=["frechet", "similarity", "sliced", "gpu", "suite"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    works: dict[str, Callable[[], None]] = {
        "frechet": lambda: frechet(given.rounds),
        "similarity": lambda: similarity(given.rounds, given.pairs),
        "sliced": lambda: sliced(given.rounds, given.progan),
        "gpu": lambda: on_a_gpu(given.rounds),
        "suite": lambda: suite(given.images),
    }
    with torch.no_grad():
        for name in given.only:
            works[name]()


if __name__ == "__main__":
    main()

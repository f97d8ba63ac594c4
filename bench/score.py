"""Score one set of images against another: `python -m bench.score REAL FAKE --metrics fid,kid,swd,ms_ssim,prdc`.

REAL and FAKE are folders, zips or .npz files of images.  Numbers, names and protocols are those of a study's scores.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from rich.progress import Progress
from rich.table import Table
from rich.text import Text
from torch import Tensor

from bench import datasets, evaluate, picture_sets, protocol
from bench.command import BAD_INPUT, OK, exit_code
from bench.folders import DataError
from bench.harmless import complain
from bench.metrics.failure import MetricError
from bench.metrics.inception import locate
from bench.metrics.suite import Side
from bench.own_modules import OwnModuleError
from bench.picture_sets import PictureSet
from bench.reals import ReferenceSet
from bench.setting import Data
from bench.terminal import Terminal

DEFAULT = "fid,kid,swd,ms_ssim,prdc"
OF_FILES = [name for name, metric in protocol.METRICS.items() if metric.of in ("fakes", "targets")]
"""The metrics that need no run beside the images."""


def arguments(said: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.score",
        description="Score FAKE against REAL, each a folder, a zip or an .npz of images.",
        epilog="Exit codes: 0 every metric has a value, 2 bad input or a metric that it does not allow.",
    )
    parser.add_argument("real", type=Path, metavar="REAL")
    parser.add_argument("fake", type=Path, metavar="FAKE")
    names = ", ".join(OF_FILES)
    parser.add_argument("--metrics", default=DEFAULT, help=f"any of {names}; default {DEFAULT}")
    parser.add_argument(
        "--extractor",
        default="inception",
        help="inception (default), dinov2, random or pkg.module:Name; for all but fid",
    )
    parser.add_argument("--resize", default="clean", help="before Inception: clean, legacy_pytorch, legacy_tensorflow")
    parser.add_argument("--size", type=int, metavar="PX", help="bring all images to this side first")
    parser.add_argument("--reals", type=int, metavar="N", help="at most so many reals, drawn by the seed")
    parser.add_argument("--fakes", type=int, metavar="N", help="at most so many fakes, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0, help="draws subsets, directions, patches, pairs, limits")
    parser.add_argument("--batch", type=int, default=64, metavar="N", help="images in one pass of the extractor")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep what is made of REAL, by content, for next time"
    )
    parser.add_argument("--json", action="store_true", help="print records with their protocols instead of a table")
    return parser.parse_args(said)


def run(given: argparse.Namespace) -> int:
    """Read, score, show."""
    asked = _metrics(given.metrics)
    quiet = Terminal(stderr=True)
    with Progress(console=quiet, transient=True, disable=not quiet.is_terminal) as bar:
        real, fake = _read(given, bar)
        for found in (real, fake):
            for name, reason in found.unreadable[:20]:
                quiet.print(f"not readable, left out: {found.place}: {name}: {reason}", soft_wrap=True)
            if len(found.unreadable) > 20:
                quiet.print(f"… and {len(found.unreadable) - 20} more")
        records = list(_scores(given, asked, real, fake, bar))
    if given.json:
        print(json.dumps({"real": str(real.place), "fake": str(fake.place), "scores": records}, indent=1))
    else:
        Terminal().print(table(records, len(real.images), len(fake.images), real.images.shape[-1]))
    failed = [record for record in records if record["status"] != "ok"]
    for record in failed:
        complain(f"{record['metric']} has no value: {record['reason']}")
    return BAD_INPUT if failed else OK


def _metrics(said: str) -> list[str]:
    asked = [name.strip() for name in said.split(",") if name.strip()]
    if strange := [name for name in asked if name not in OF_FILES]:
        raise DataError(f"no such metric of two sets: {', '.join(strange)}; there are {', '.join(OF_FILES)}")
    if not asked:
        raise DataError("--metrics names no metric")
    return asked


def _read(given: argparse.Namespace, bar: Progress) -> tuple[PictureSet, PictureSet]:
    real, fake = (picture_sets.look(place) for place in (given.real, given.fake))
    size = picture_sets.side(real, fake, given.size)
    channels = max(real.channels, fake.channels)
    found = []
    for source, limit, what in ((real, given.reals, "reals"), (fake, given.fakes, "fakes")):
        if limit is not None and limit < 2:
            raise DataError(f"--{what} {limit}: two images are needed")
        task = bar.add_task(f"reading {what}", total=min(limit or source.count, source.count))
        found.append(
            picture_sets.read(
                source, size, channels, limit=limit, seed=given.seed, fixed=given.size is None,
                progress=functools.partial(bar.advance, task),
            )
        )  # fmt: skip
    return found[0], found[1]


class _Shape(NamedTuple):
    channels: int
    classes: Sequence[str] = ()


def _scores(
    given: argparse.Namespace, asked: Sequence[str], real: PictureSet, fake: PictureSet, bar: Progress
) -> Iterator[dict[str, Any]]:
    """Yield each metric's record, as a study's score has it."""
    n, channels, size, _ = fake.images.shape
    try:
        settings = protocol.Evaluate(
            fakes=n, seed=given.seed, extractor=given.extractor, batch=given.batch, resize=given.resize
        )
        data = Data(name="folder", size=size, channels=1 if channels == 1 else 3, fingerprint=real.fingerprint)
        requests = protocol.requests(asked, settings, data, fake.fingerprint, "", _Shape(channels))
    except (ValidationError, OwnModuleError) as error:
        raise DataError(_plainly(error)) from error
    said = {**protocol.reference_set(data, "all"), "resize_filter": picture_sets.FILTER if given.size else None}
    passes = bar.add_task("features", total=None)
    reals = ReferenceSet(
        real.images,
        said,
        root=datasets.data_root(),
        cache=given.cache,
        progress=lambda count: bar.update(passes, advance=count),
    )
    one_to_one = len(real.images) == n and not real.unreadable and not fake.unreadable
    targets = torch.arange(n) if one_to_one else None
    side = Side(fake.images, lambda settings: reals.extract(fake.images, settings), real=False, targets=targets)
    task = bar.add_task("metrics", total=len(requests))
    for request in evaluate.images_first(requests):
        bar.update(task, description=request.metric)
        yield _record(request, reals, side, fake.images)
        bar.advance(task)


def _record(request: protocol.Request, reals: ReferenceSet, side: Side, images: Tensor) -> dict[str, Any]:
    try:
        if request.settings.get("extractor") == "inception":
            locate(reals.root)  # this command may download it; `evaluate` does not
    except MetricError as error:
        return evaluate.failed(request, str(error))
    record = evaluate.scored(request, reals, side)
    if record["status"] == "ok":
        record["protocol"] |= {"quantisation": "uint8 as stored"}
    return record


def _plainly(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return f"--extractor: {error}"
    return "; ".join(f"--{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())


ARROWS = {"lower": "↓", "higher": "↑", "reference": "→ real"}


def table(records: Sequence[dict[str, Any]], n_real: int, n_fake: int, size: int) -> Table:
    """Lay out one row a value: fakes, their sd within one evaluation, the reals' own, and real against real."""
    shown = Table(title=f"{n_fake} fakes against {n_real} reals, {size} px", title_justify="left")
    for heading in ("", "better", "fakes", "± evaluation", "reals alone"):
        shown.add_column(heading, justify="left" if heading in ("", "better") else "right")
    floors = {record["protocol"].get("n_floor") for record in records} - {None}
    shown.add_column(f"real against real\n({' or '.join(map(str, floors))} each)" if floors else "", justify="right")
    for record in records:
        if record["status"] != "ok":
            shown.add_row(record["metric"], "", Text("failed", style="red"), "", "", "")
            continue
        for name, value in record["values"].items():
            shown.add_row(
                name,
                ARROWS[protocol.measure(name).direction],
                _digits(value),
                _digits(record["spread"].get(name, {}).get("sd")),
                _digits(record["real"].get(name)),
                _digits(record["floor"].get(name)),
            )
    return shown


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def main(said: Sequence[str] | None = None) -> int:
    """The command."""
    return exit_code(lambda: run(arguments(said)))


if __name__ == "__main__":
    sys.exit(main())

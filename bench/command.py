"""What the commands share: the arguments that name a study, and what they mean."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench import datasets, site, study
from bench.datasets import Source
from bench.design import Design, expand, needs_confirmation, noise_run
from bench.files import StoreError
from bench.harmless import complain
from bench.orders import Orders
from bench.protocol import reference_set
from bench.schedule import batches, schedule
from bench.setting import Data
from bench.store import Store

OK, BAD_INPUT, STOPPED, INTERRUPTED = 0, 2, 75, 130


def add_study_arguments(parser: argparse.ArgumentParser, *, selection: bool = True) -> None:
    """Add STUDY and what overrides it, where results and reports lie, and what selects within it."""
    parser.add_argument("study", help="a study file, or the name of a shipped study")
    parser.add_argument("--profile", help="overlay one of the study's profiles")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting, e.g. train.kimg=100"
    )
    parser.add_argument("--yes", action="store_true", help="go on with thousands of runs")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    parser.add_argument("--reports", type=Path, default=Path("reports"), metavar="DIR")
    if not selection:
        return
    parser.add_argument(
        "--only", action="append", default=[], metavar="FACTOR=LEVEL,...", help="only these cells and seeds"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N runs")


def open_design(given: argparse.Namespace, *, whole: bool = False) -> tuple[Design, Store]:
    """Load, resolve and expand the study that the arguments name, with the site's defaults under its resources.

    `whole`: without --only and --limit.

    Raises StudyError with every mistake of the file, DataError, StoreError.
    """
    store = Store(given.results.resolve())
    loaded = study.load(study.find(given.study), profile=given.profile, overrides=given.set)
    loaded = replace(loaded, resources=loaded.resources.over(site.load().resources))
    many = needs_confirmation(loaded)
    if many and not given.yes:
        raise study.StudyError([study.Problem(str(loaded.path), "", f"{many}: if you mean it, say --yes")])
    only, limit = ((), None) if whole else (given.only, given.limit)
    return expand(loaded, root=datasets.data_root(), cache=store.cache, only=only, limit=limit), store


def report_command(given: argparse.Namespace) -> list[str]:
    """The command that rebuilds the report of the study that the arguments name, from any folder."""
    named = [str(study.find(given.study).resolve()), *(["--profile", given.profile] if given.profile else [])]
    overridden = [f"--set={said}" for said in given.set] + (["--yes"] if given.yes else [])
    places = ["--results", str(given.results.resolve()), "--reports", str(given.reports.resolve())]
    return [sys.executable, "-m", "bench.report", *named, *overridden, *places]


def sources_of(design: Design) -> dict[Data, Source]:
    """Describe each set that the design's runs are trained on, and check that the runs fit them.

    Raises DataError for a set that cannot be read; StudyError with each cell whose batch is larger than the training
    part or whose snapshots lie beyond its end, and for cells that would be scored against unlike reals.
    """
    asked = design.study
    problems: list[study.Problem] = []
    sources: dict[Data, Source] = {}
    for cell in {run.cell.name: run for run in design.runs}.values():
        data = cell.setting.data
        if data not in sources:
            sources[data] = datasets.describe(data, datasets.data_root())
        try:
            datasets.check_batch(sources[data], max(batches(cell.setting)))
            schedule(cell.setting, sources[data].parts["train"])
        except (datasets.DataError, ValueError) as error:
            key = ("train", "batch") if isinstance(error, datasets.DataError) else ("train",)
            problems.append(asked.problem(key, f"{cell.cell.name}: {error}"))
    part = asked.evaluate.part
    scored_against = {repr(reference_set(data, part, source.channels)) for data, source in sources.items()}
    if len(scored_against) > 1 and asked.metrics:
        unlike = sorted({f"{data.name} at {data.size} px" for data in sources})
        said = f"scores against unlike reals ({', '.join(unlike)}) cannot stand in one table: make each a study"
        problems.append(asked.problem(("data",), said))
    if problems:
        raise study.StudyError(problems)
    return sources


def orders_of(design: Design) -> Orders:
    """What the study asks of its jobs.  `design`: the whole study's, whatever part of it is worked on."""
    asked, noisy = design.study, noise_run(design)
    sets = [run.setting.data for run in design.runs]
    return Orders(
        data_root=datasets.data_root(),
        folders={data.fingerprint: _whole(data.folder) for data in sets if data.folder},
        input_folders={data.fingerprint: _whole(data.input_folder) for data in sets if data.input_folder},
        metrics=asked.metrics,
        evaluate=asked.evaluate,
        probes=asked.probes,
        probe_every_kimg=asked.probe_every_kimg,
        noise_run=noisy.run_id if noisy else None,
        cpu_threads=asked.resources.cpu_threads,
        checkpoint_minutes=asked.resources.checkpoint_minutes,
        cuda_graphs=asked.resources.cuda_graphs,
        packed=asked.resources.runs_per_gpu > 1,
    )


def _whole(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def exit_code(main: Callable[[], int]) -> int:
    """Run a command; say bad input on standard error, without a traceback, with exit code 2."""
    try:
        return main()
    except (study.StudyError, datasets.DataError, StoreError) as error:
        complain(error)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK

"""How to make a study again: the commands, the versions, and what keeps the bytes from being equal."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.render import methods
from bench.render.content import plural
from bench.render.part import Given, Part


def part(given: Given) -> Part:
    """Gather `reproduce`: commands, and notes on what they leave open."""
    runs = [run for run in given.content["runs"] if run["commit"]]
    commits = Counter(run["commit"].removesuffix("-dirty") for run in runs)
    software = methods.versions(given.design, given.store)
    said = {
        "commands": list(_commands(given, commits, software)),
        "notes": list(_notes(given, runs, commits, software)),
    }
    return Part({"reproduce": said})


def _commands(given: Given, commits: Mapping[str, int], software: Mapping[str, Sequence[str]]) -> Iterator[str]:
    if commits:
        yield f"git checkout {_most_used(commits)}"
    single = {name: known[0].partition("+")[0] for name, known in software.items() if len(known) == 1}
    python = single.pop("python", None)
    if python:
        yield f"python --version   # {python}"
    pins = [shlex.quote(f"{name}=={version}") for name, version in sorted(single.items())]
    yield " ".join(["pip install -e .", *pins])
    command = given.content["study"]["command"]
    yield f"{command} --dry-run   # must list the {plural(len(given.design.runs), 'run id')} of this page"
    yield command


def _most_used(commits: Mapping[str, int]) -> str:
    return max(sorted(commits), key=lambda commit: commits[commit])


def _notes(
    given: Given,
    runs: Sequence[Mapping[str, Any]],
    commits: Mapping[str, int],
    software: Mapping[str, Sequence[str]],
) -> Iterator[str]:
    if not runs:
        yield "No commit is known of any run."
    if len(commits) > 1:
        first = _most_used(commits)
        others = ", ".join(f"{name} ({plural(n, 'run')})" for name, n in sorted(commits.items()) if name != first)
        yield f"Other runs were trained with other commits: {others}."
    if dirty := [run for run in runs if run["dirty"]]:
        yield (
            f"{plural(len(dirty), 'run')} had changes that are in no commit; each keeps them as changes.diff in the "
            "folder of its attempt."
        )
    for name, known in software.items():
        if len(known) > 1:
            yield f"{name} was {' and '.join(known)}."
        elif "+" in known[0]:
            yield f"{name} was the build {known[0]}."
    for one in methods.sets(given.design):
        yield f"Data: {one['name']}, fingerprint {one['fingerprint'] or 'unknown'}; BENCH_DATA says where it lies."
    devices = sorted({str(run["device"]) for run in runs if run["device"]})
    threads = sorted({int(run["threads"]) for run in runs if run["threads"]})
    if devices:
        on = f"{', '.join(devices)}, {' or '.join(map(str, threads))} threads" if threads else ", ".join(devices)
        yield f"Weights are equal bit by bit only on the same kind of device with the same torch and threads ({on})."

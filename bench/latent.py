"""`python -m bench.latent RUN`: arithmetic and interpolation in the latent space of a trained run's G.

Without exemplars it draws a numbered sheet to pick them from.  With `--a`, `--b`, `--c` it draws A - B + C from the
mean z of the exemplars of each; with `--attribute` the exemplars are those that measure highest (A) and lowest (B).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bench import draws, snapshot
from bench.batches import draw_z
from bench.command import OK, exit_code
from bench.files import StoreError, write_bytes
from bench.latents import ATTRIBUTES, PATHS, concept, images_at
from bench.models import set_chance
from bench.render import latent as figures
from bench.setting import Setting
from bench.store import RunFolder, Store

STEPS = 9
"""Images along a path, both ends among them."""
NEIGHBOURS = 0.25
"""The result is shown among neighbours at U(-0.25, 0.25) from it, as in the paper's figure 7."""


class Latents:
    """A snapshot's G, and a sheet of its images with known z."""

    def __init__(self, folder: RunFolder, label: str, *, seed: int, count: int, y: int) -> None:
        self.setting = folder.setting()
        if not (self.setting.has_latents or self.setting.gives_labels):
            raise StoreError(f"run {folder.path.name} has no latent space of its own: z alone does not say its images")
        last = (self.setting.data.classes or 1) - 1
        if self.setting.gives_labels and not 0 <= y <= last:
            raise StoreError(f"--label {y}: run {folder.path.name} has classes 0 to {last}")
        self.G = _generator(folder, label, self.setting)
        self.seed, self.y = seed, y
        self.z = draw_z(self.setting, count, seed, "latent_z", 0)

    def images(self, z: Tensor) -> Tensor:
        """Make uint8 images [N, C, H, W] of z [N, z_dim].  Raises StoreError when G makes NaN."""
        set_chance(self.G, self.seed, "latent", 0)
        try:
            return images_at(self.G, z, self.setting.data.size, y=self.y if self.setting.gives_labels else None)
        except FloatingPointError as error:
            raise StoreError(f"this snapshot shows nothing: {error}") from error


def _generator(folder: RunFolder, label: str, setting: Setting) -> nn.Module:
    try:
        return snapshot.load(setting, folder.snapshots / f"{label}.pt")["G"].train(setting.sample_stats == "batch")
    except snapshot.SnapshotError as error:
        raise StoreError(str(error)) from error


def find_run(results: Path, named: str) -> RunFolder:
    """Find a run by its folder, its id, or the first letters of it.  Raises StoreError for none or several."""
    if (Path(named) / "setting.json").is_file():
        return RunFolder(Path(named))
    found = sorted((Store(results).root / "runs").glob(f"{named}*/setting.json"))
    if len(found) == 1:
        return RunFolder(found[0].parent)
    what = "no run" if not found else f"{len(found)} runs"
    raise StoreError(f"{results / 'runs'} has {what} whose id begins with {named!r}; python -m bench.status lists them")


def choose_snapshot(folder: RunFolder, label: str | None) -> str:
    """Return the snapshot asked for, or the last.  Raises StoreError when there is none."""
    kept = sorted(path.stem for path in folder.snapshots.glob("*.pt"))
    if not kept:
        raise StoreError(f"run {folder.path.name} has no snapshot yet")
    if label is None:
        return kept[-1]
    if label not in kept:
        raise StoreError(f"run {folder.path.name} has no snapshot {label}; it has {', '.join(kept)}")
    return label


def arguments(said: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.latent", description=__doc__.split("\n\n")[0])
    parser.add_argument("run", metavar="RUN", help="a run's id, its first letters, or its folder")
    for name, what in (("a", "start from these"), ("b", "without these"), ("c", "added to these")):
        parser.add_argument(f"--{name}", type=_indices, metavar="I,J,K", help=f"exemplars by their number: {what}")
    parser.add_argument("--average", type=int, default=3, metavar="N", help="exemplars that make a concept (3)")
    parser.add_argument("--interpolate", choices=list(PATHS), default="slerp", help="the path between two z")
    parser.add_argument("--attribute", choices=list(ATTRIBUTES), help="take A and B by what is measured of the images")
    parser.add_argument("--snapshot", metavar="KIMG", help="as 000008.000; the last when unsaid")
    parser.add_argument("--count", type=int, default=64, metavar="N", help="images on the numbered sheet (64)")
    parser.add_argument("--seed", type=int, default=0, help="of the sheet's z")
    parser.add_argument("--label", type=int, default=0, metavar="Y", help="class of all images, where G is told one")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    parser.add_argument("--reports", type=Path, default=Path("reports"), metavar="DIR")
    given = parser.parse_args(said)
    if given.average < 1 or given.count < 2:
        parser.error("--average must be at least 1 and --count at least 2")
    if given.average > given.count:
        parser.error(f"--average {given.average}: the sheet has {given.count} images (--count)")
    if given.attribute is None and any(getattr(given, name) for name in "abc") and not all((given.a, given.b, given.c)):
        parser.error("--a, --b and --c go together")
    if given.attribute is not None and (given.a or given.b):
        parser.error("--attribute picks A and B itself: leave out --a and --b")
    for name in "abc":
        beyond = [index for index in getattr(given, name) or () if index >= given.count]
        if beyond:
            parser.error(f"--{name}: {beyond[0]} is not on the sheet, whose last is {given.count - 1} (--count)")
        if getattr(given, name) and len(getattr(given, name)) < given.average:
            parser.error(f"--{name}: {given.average} exemplars are averaged, {len(getattr(given, name))} are named")
    return given


def _indices(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: numbers are due, as 3,17,20") from None
    if min(found) < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: the sheet's numbers begin at 0")
    return found


def run(given: argparse.Namespace) -> int:
    """Draw the sheet, and the arithmetic when exemplars are named."""
    folder = find_run(given.results, given.run)
    label = choose_snapshot(folder, given.snapshot)
    latents = Latents(folder, label, seed=given.seed, count=given.count, y=given.label)
    place = given.reports / "latent" / f"{folder.path.name}-{label}"
    shown = latents.images(latents.z)
    write_bytes(place / "sheet.png", figures.sheet(shown))
    print(f"numbered sheet: {place / 'sheet.png'}")
    if given.attribute:
        order = ATTRIBUTES[given.attribute](shown).argsort(kind="stable")
        given.a, given.b = (tuple(order[::-1][: given.average].tolist()), tuple(order[: given.average].tolist()))
        middle = len(order) // 2
        given.c = given.c or tuple(order[middle : middle + given.average].tolist())
        print(f"by {given.attribute}: A {_said(given.a)}, B {_said(given.b)}, C {_said(given.c)}")
    if given.a:
        draw(latents, given, place, shown)
    return OK


def _said(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def draw(latents: Latents, given: argparse.Namespace, place: Path, shown: Tensor) -> None:
    """Draw A - B + C with its neighbours, and the paths from C to it and from A to B."""
    named = {name: getattr(given, name)[: given.average] for name in "abc"}
    means = {name: concept(latents.z, indices, given.average) for name, indices in named.items()}
    result = means["a"] - means["b"] + means["c"]
    around = result + draws.uniform((9, len(result)), given.seed, "neighbours", 0, -NEIGHBOURS, NEIGHBOURS)
    around[4] = result
    concepts = latents.images(torch.stack([*means.values(), result]))
    rows = {f"{name.upper()} {_said(indices)}": shown[list(indices)] for name, indices in named.items()}
    write_bytes(place / "arithmetic.png", figures.arithmetic(rows, concepts, latents.images(around)))
    along = PATHS[given.interpolate]
    t = torch.linspace(0, 1, STEPS)
    paths = {
        "C to result": latents.images(along(means["c"], result, t)),
        "A to B": latents.images(along(means["a"], means["b"], t)),
    }
    write_bytes(place / "interpolation.png", figures.interpolation(paths, given.interpolate))
    print(f"A - B + C: {place / 'arithmetic.png'}\n{given.interpolate}: {place / 'interpolation.png'}")


def main(said: Sequence[str] | None = None) -> int:
    """The command."""
    return exit_code(lambda: run(arguments(said)))


if __name__ == "__main__":
    sys.exit(main())

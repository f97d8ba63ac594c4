"""What types cannot say about a study: that what it names exists, and that a run can be made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench import own_modules, protocol, sizes
from bench.probes import MEASURES
from bench.setting import LENGTHS, SNAPSHOTS, overlay
from bench.study_file import SETTING_LEAVES, FractionDesign
from bench.study_layers import Draft
from bench.study_levels import Levels, touched
from bench.yaml_places import Trail, nearest

OUTCOMES = ("collapsed", "never_learned", "diverged", "done")
"""What a claim may measure besides metrics and the measures of probes."""


class Check(Levels):
    """One draft, checked throughout; what was wrong stands in `problems`."""

    def __init__(self, draft: Draft, *, complete: bool) -> None:
        super().__init__(draft, complete=complete)
        self.sources: dict[str, str] = {}
        self._metrics()
        self.reference = self._reference()
        for name in ("exclude", "force"):
            for number, item in enumerate(getattr(self.keys, name)):
                self._cells((name, number, "where"), item.where)
        self._claims()
        self._design()
        self._seeds()
        self._data()
        self._lengths()
        self._sizes()
        self._own_modules()

    def _metrics(self) -> None:
        for number, name in enumerate(self.keys.metrics):
            if name not in protocol.METRICS:
                options = ", ".join(protocol.METRICS)
                self.say(("metrics", number), f"{name!r} is not one of {options}{nearest(name, protocol.METRICS)}")
            elif name in self.keys.metrics[:number]:
                self.say(("metrics", number), f"{name} stands here twice")

    # -- cells named in other places ----------------------------------------------------------------------

    def _reference(self) -> dict[str, str]:
        said = dict(self.keys.reference)
        self._cells(("reference",), said)
        if self.rows:
            return said or {"row": next(iter(self.rows))}
        return {name: said.get(name, next(iter(levels), "")) for name, levels in self.factors.items()}

    def _cells(self, trail: Trail, where: Mapping[str, str | tuple[str, ...]]) -> None:
        """Check that the factors and levels exist."""
        known = {"row": self.rows} if self.keys.rows else self.factors
        for factor, levels in where.items():
            here = (*trail, factor)
            if factor not in known:
                names = self.rows if self.keys.rows else known
                kind = "row" if self.keys.rows else "factor"
                if not self.draft.was_cut("rows" if self.keys.rows else "factors"):
                    self.say(here, f"no {kind} {factor!r}{nearest(factor, names)}", of_key=True)
                continue
            if not known[factor] or (factor == "row" and self.draft.was_cut("rows")):
                continue
            for number, level in enumerate([levels] if isinstance(levels, str) else levels):
                if level not in known[factor]:
                    place = here if isinstance(levels, str) else (*here, number)
                    options = ", ".join(known[factor])
                    self.say(place, f"{factor} has no level {level!r}; it has {options}{nearest(level, known[factor])}")

    def _claims(self) -> None:
        for number, claim in enumerate(self.keys.claims):
            trail: Trail = ("claims", number)
            for name in ("left", "right", "cells"):
                where = getattr(claim, name, None)
                if isinstance(where, dict):
                    self._cells((*trail, name), where)
                for part, one in enumerate(where if isinstance(where, tuple) else ()):
                    self._cells((*trail, name, part), one)
            if claim.kind == "interaction":
                for part, factor in enumerate(claim.factors):
                    if factor not in self.factors:
                        self.say((*trail, "factors", part), f"no factor {factor!r}{nearest(factor, self.factors)}")
                    elif factor in claim.factors[:part]:
                        self.say((*trail, "factors", part), f"{factor} stands here twice")
            for name in ("measure", "x", "y"):
                if isinstance(measure := getattr(claim, name, None), str):
                    self._measure((*trail, name), measure)
            if hasattr(claim, "left") and claim.left == claim.right:
                self.say((*trail, "right"), "left and right are the same cells")
            self._margin(trail, claim)
            self._moment((*trail, "at"), claim.at)

    def _measure(self, trail: Trail, name: str) -> None:
        if name in protocol.METRICS or name in OUTCOMES or name in MEASURES:
            return
        try:
            protocol.measure(name)
        except KeyError:
            options = [*protocol.METRICS, *OUTCOMES, *MEASURES]
            hint = nearest(name, options)
            self.say(trail, f"{name!r} is no metric, outcome or probe's measure: {', '.join(options)}{hint}")

    def _margin(self, trail: Trail, claim: Any) -> None:
        """An equivalence needs one; that of a ratio is a ratio."""
        if claim.margin is None:
            if claim.kind == "equivalence":
                self.say(trail, "an equivalence needs a margin: how far apart is still alike")
            return
        if claim.kind != "correlation" and claim.margin <= 1 and self._is_ratio(claim.measure):
            self.say((*trail, "margin"), f"{claim.measure} is compared by ratios: a margin above 1 is due, as 1.2")

    def _is_ratio(self, name: str) -> bool:
        if name in MEASURES:
            return MEASURES[name].scale == "log"
        try:
            return (protocol.METRICS.get(name) or protocol.measure(name)).scale == "log"
        except KeyError:
            return False

    def _moment(self, trail: Trail, at: Any) -> None:
        if isinstance(at, str):
            if at.endswith("%") and not 0 < float(at[:-1]) <= 100:
                self.say(trail, f"{at} is not within a run")
        elif len(at.model_dump(exclude_none=True)) != 1:
            self.say(trail, "one of kimg, epoch, g_steps, seconds is due")

    # -- the design ---------------------------------------------------------------------------------------

    def _design(self) -> None:
        design = self.keys.design
        if design != "full" and self.keys.rows:
            self.say(("design",), "rows are the design; `design` is for factors", of_key=True)
        if not isinstance(design, FractionDesign):
            return
        for name, levels in self.factors.items():
            if len(levels) != 2 and levels:
                self.say(("factors", name), f"a fraction needs two levels in each factor, not {len(levels)}")
        if self.keys.exclude:
            self.say(("exclude",), "a fraction is made of all its cells: nothing can be excluded", of_key=True)
        erased = int(design.fraction[2:]).bit_length() - 1
        if erased >= len(self.factors) and all(self.factors.values()):
            said = f"{design.fraction} of 2^{len(self.factors)} cells leaves nothing to compare"
            self.say(("design", "fraction"), said)
        for name, factors in (design.generators or {}).items():
            for part, factor in enumerate((name, *factors)):
                if factor not in self.factors:
                    here: Trail = ("design", "generators", name, *([part - 1] if part else []))
                    self.say(here, f"no factor {factor!r}{nearest(factor, self.factors)}", of_key=not part)
                elif part and factor in (design.generators or {}):
                    here = ("design", "generators", name, part - 1)
                    self.say(here, f"{factor} is itself generated: a generator is a product of the other factors")
        if design.generators and len(design.generators) != erased:
            self.say(("design", "generators"), f"{design.fraction} takes {erased} generators, one a halving")

    def _seeds(self) -> None:
        seeds = self.keys.seeds
        if isinstance(seeds, tuple):
            for number, seed in enumerate(seeds):
                if seed in seeds[:number]:
                    self.say(("seeds", number), f"the seed {seed} stands here twice")

    # -- what a setting must be ---------------------------------------------------------------------------

    def _layers(self) -> Iterator[tuple[Trail, dict[str, Any], set[str]]]:
        """Yield where settings come from, those of a run as far as they are known there, and those said right there."""
        if self.rows:
            for name, settings in self.rows.items():
                yield ("rows", name), settings, set(settings)
            return
        base = overlay(self.recipe(), self.draft.fixed)
        yield (), base, set(base)
        for name, levels in self.factors.items():
            for number, (level, said) in enumerate(levels.items()):
                step: str | int = number if name in SETTING_LEAVES else level
                yield ("factors", name, step), overlay(base, said), set(said)

    def _data(self) -> None:
        varied = {key for levels in self.factors.values() for level in levels.values() for key in level}
        if varied & {"data.name", "data.folder", "data.non_faces", "data.pairs", "data.input_folder"}:
            return
        for trail, settings, _ in self._layers():
            if trail[:1] == ("factors",):
                continue
            name, folder = settings.get("data.name", "faces"), settings.get("data.folder")
            if name == "folder" and folder is None:
                self.say((*trail, "data", "name"), "say data.folder too: a folder or zip of images")
            elif name != "folder" and folder is not None:
                self.say((*trail, "data", "folder"), f"is read only with `name: folder`, not with {name}", of_key=True)
            if name != "faces" and settings.get("data.non_faces"):
                self.say((*trail, "data", "non_faces"), f"is for faces only, not for {name}", of_key=True)
            pairs = settings.get("data.pairs", "none")
            if pairs in ("ab", "folders") and name != "folder":
                self.say((*trail, "data", "pairs"), f"{pairs} is for `name: folder`, not for {name}")
            if pairs == "folders" and settings.get("data.input_folder") is None:
                self.say((*trail, "data", "pairs"), "say data.input_folder too: the folder of input images")
            elif pairs != "folders" and settings.get("data.input_folder") is not None:
                self.say((*trail, "data", "input_folder"), "is read only with `pairs: folders`", of_key=True)

    def has_pairs(self) -> bool:
        """Say whether some cell makes images of input images."""
        return any(settings.get("data.pairs", "none") != "none" for _, settings, _ in self._layers())

    def _lengths(self) -> None:
        fixed = self.draft.fixed
        for unit in (LENGTHS, SNAPSHOTS):
            doubled = [key for key in unit if fixed.get(key) is not None]
            for key in doubled[1:]:
                self.say(tuple(key.split(".")), f"{doubled[0]} says it too: one of them is due", of_key=True)
        decided = {key for levels in self.factors.values() for level in levels.values() for key in touched(level)}
        for trail, settings, said in self._layers():
            in_factor = trail[:1] == ("factors",)
            known = any(settings.get(key) is not None for key in LENGTHS) or bool(decided & set(LENGTHS))
            if self.complete and not known and not in_factor and not self.draft.was_cut("train"):
                self.say(
                    (*trail, "train"),
                    f"no length: say one of {', '.join(LENGTHS)}",
                    of_key=True,
                )
            for length, snapshots in zip(LENGTHS, SNAPSHOTS, strict=False):
                kept, end = settings.get(snapshots), settings.get(length)
                if kept is None or not said & {length, snapshots}:
                    continue
                here = trail if in_factor else (*trail, *snapshots.split("."))
                if not kept or list(kept) != sorted(set(kept)):
                    self.say(here, "snapshots are due in rising order, at least one")
                elif end is not None and kept[-1] > end:
                    self.say(here, f"the snapshot at {kept[-1]:g} lies beyond the end at {end:g}")

    def _sizes(self) -> None:
        """A size that the network cannot make is a mistake, unless another factor may bring the right network."""
        deciding = {"network", "data.size"}
        involved = [n for n, levels in self.factors.items() if any(deciding & set(level) for level in levels.values())]
        for trail, settings, _ in self._layers():
            in_factor = trail[:1] == ("factors",)
            if (involved and not in_factor) or (in_factor and involved != [trail[1]]):
                continue
            message = sizes.size_mistake(settings.get("network", "dcgan"), settings.get("data.size", 32))
            if message:
                here = trail if in_factor else (*trail, "data", "size")
                self.say(here, f"data.size: {message}" if in_factor or trail else message)

    def _own_modules(self) -> None:
        named: dict[str, Trail] = {}
        for trail, settings, _ in self._layers():
            for key in own_modules.OWN_KEYS:
                if ":" in str(settings.get(key, "")):
                    named.setdefault(settings[key], trail if trail[:1] == ("factors",) else (*trail, key))
        if ":" in self.keys.evaluate.extractor:
            named.setdefault(self.keys.evaluate.extractor, ("evaluate", "extractor"))
        for own, trail in named.items():
            try:
                self.sources[own.partition(":")[0]] = own_modules.source_hash(own)
            except own_modules.OwnModuleError as error:
                self.say(trail, f"{own}: {error}")

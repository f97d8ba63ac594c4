"""A study file, one of its profiles and the `--set` options, laid over each other.

Each layer is validated by itself, so that mistakes in a profile that is not selected are said too.  What is wrong is
reported and cut out; the rest goes on, so that the next check can say what else is wrong.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from bench.mistakes import mistakes
from bench.setting import flatten, overlay, unflatten
from bench.study_file import SETTING_KEYS, ProfileKeys, StudyKeys
from bench.yaml_places import Parsed, Problem, Trail, nearest, parse, show_path

GROUPS = ("data", "train", "evaluate", "collapse", "resources")
"""Maps of which a later layer says only what it changes."""
_LISTS = ("claims", "exclude", "force")


@dataclass
class Source:
    """The file, the options, and what was wrong with them so far."""

    name: str
    parsed: Parsed
    tree: dict[str, Any]
    """The file, as far as it is right."""
    sets: list[tuple[str, dict[str, Any]]]
    """Each `--set` as the tree that it says, by its place."""
    problems: list[Problem]
    cut: set[Trail] = field(default_factory=set)
    """What was wrong and is no longer in the trees."""
    dropped: dict[Trail, list[int]] = field(default_factory=dict)
    """Positions that were cut from a list; those after them have moved."""

    def original(self, trail: Trail) -> Trail:
        """Translate a trail in the trees to where it stands in the file."""
        moved: Trail = ()
        for part in trail:
            if isinstance(part, int):
                for position in sorted(self.dropped.get(moved, ())):
                    part += position <= part
            moved = (*moved, part)
        return moved


@dataclass(frozen=True)
class Draft:
    """What the layers say together, by type, and where each of it was said."""

    source: Source
    keys: Any
    """A `ProfileKeys`."""
    fixed: dict[str, Any]
    """Dotted settings, as JSON values."""
    origin: dict[Trail, Trail]
    """Part → the layer that said it."""
    layers: tuple[Trail, ...]

    def problem(self, trail: Trail, message: str, *, of_key: bool = False) -> Problem:
        """Make a problem of what stands at `trail` of the draft."""
        layer = next((self.origin[trail[:n]] for n in range(len(trail), 0, -1) if trail[:n] in self.origin), ())
        whole = self.source.original((*layer, *trail))
        place = self.source.parsed.place(whole, of_key=of_key)
        return Problem(place, show_path(trail if place.startswith("--set") else whole), message)

    def was_cut(self, *trail: str) -> bool:
        """Say whether something at or below `trail` was wrong in a layer that counts here."""
        return any(
            cut[: len(layer)] == layer and cut[len(layer) :][: len(trail)] == trail
            for cut in self.source.cut
            for layer in self.layers
        )


def read(text: str, name: str, stem: str, overrides: Sequence[str]) -> Source:
    """Parse a file and the options, and cut out whatever has the wrong key or type."""
    parsed = parse(text, name)
    source = Source(name, parsed, {}, [], list(parsed.problems))
    if isinstance(parsed.value, dict):
        source.tree = _sift({"study": stem, **parsed.value}, StudyKeys, source, ())
        if "study" not in parsed.value:
            source.problems.append(Problem(parsed.place(()), "study", "is missing: the study's name, the file's stem"))
    elif not parsed.problems:
        empty = parsed.value is None
        message = "the file is empty" if empty else "a map is due at the top, as `study: …` with one key a line"
        source.problems.append(Problem(parsed.place(()), "", message))
    for override in overrides:
        _read_override(override, source)
    return source


def _read_override(override: str, source: Source) -> None:
    place = f"--set {override}"
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        source.problems.append(Problem(place, "", "KEY=VALUE is due, as --set train.kimg=100"))
        return
    parsed = parse(value, place, place=place)
    source.problems += parsed.problems
    if parsed.problems:
        return
    group, _, rest = key.strip().partition(".")
    # A factor and a level keep their dots: factors.train.lr is the factor train.lr.
    path = [group, rest] if group in ("factors", "reference") and rest else key.strip().split(".")
    tree: Any = parsed.value
    for part in reversed(path):
        tree = {part: tree}
    source.parsed.values[(place,)] = place
    sifted = _sift(tree, ProfileKeys, source, (place,))
    if sifted:
        source.sets.append((place, sifted))


def _sift(tree: dict[str, Any], model: type[BaseModel], source: Source, prefix: Trail) -> dict[str, Any]:
    """Validate a layer, report its mistakes, and return it without them."""
    tree = copy.deepcopy(tree)
    first_round = True
    while True:
        try:
            model.model_validate_json(json.dumps(tree))
            return tree
        except ValidationError as error:
            found = mistakes(error, tree, model)
        if first_round:  # what comes in later rounds is only what the cuts leave behind
            for mistake in found:
                trail = (*prefix, *mistake.trail)
                place = source.parsed.place(trail, of_key=mistake.about_key)
                shown = show_path(mistake.trail)
                source.problems.append(Problem(place, shown, mistake.message))
        first_round = False
        before = json.dumps(tree)
        for trail in sorted({_to_cut(mistake.trail) for mistake in found}, key=_last_first, reverse=True):
            _cut(tree, trail, source, prefix)
        if model is StudyKeys:
            tree.setdefault("study", "")
        if json.dumps(tree) == before:
            raise RuntimeError(f"nothing to cut for {found}")


def _last_first(trail: Trail) -> tuple[Any, ...]:
    return tuple((isinstance(part, int), part) for part in trail)


def _to_cut(trail: Trail) -> Trail:
    """Say how much to cut where something is wrong: a whole setting, a whole claim, a key of a group."""
    head = 2 if len(trail) > 2 and trail[0] == "profiles" else 0
    within = trail[head:]
    if within[0] == "rows":
        length = 4 if len(within) > 3 and within[2] in GROUPS else 3
    else:
        length = 2 if within[0] in (*GROUPS, *_LISTS, "reference", "profiles") else 1
    return trail[: head + length]


def _cut(tree: Any, trail: Trail, source: Source, prefix: Trail) -> None:
    *parents, last = trail
    for part in parents:
        tree = tree[part] if not isinstance(tree, Mapping) or part in tree else {}
    if isinstance(tree, list) and isinstance(last, int):
        inside = (*prefix, *trail[:-1])
        del tree[last]
        source.dropped.setdefault(inside, []).append(source.original((*prefix, *trail))[-1])  # type: ignore[arg-type]
    elif isinstance(tree, dict):
        tree.pop(last, None)
    source.cut.add((*prefix, *trail))


# ---------------------------------------------------------------------------------------------------------
# Laying over.


def draft(source: Source, profile: str | None, *, with_sets: bool) -> Draft:
    """Lay a profile over the file, and the options over both when `with_sets`."""
    base = {key: value for key, value in source.tree.items() if key not in ("study", "profiles")}
    layers: list[tuple[Trail, dict[str, Any]]] = [((), base)]
    if profile is not None:
        layers.append((("profiles", profile), source.tree["profiles"][profile]))
    sets: list[tuple[Trail, dict[str, Any]]] = [((place,), tree) for place, tree in source.sets] if with_sets else []
    origin: dict[Trail, Trail] = {}
    merged: dict[str, Any] = {}
    for prefix, tree in layers:
        _replace(merged, tree, prefix, origin)
    for prefix, tree in sets:
        _merge(merged, _without_settings(tree), prefix, origin, ())
    said = [_dotted([layer], origin) for layer in layers] + [_dotted(sets, origin)]
    for number, later in enumerate(said):
        for earlier in said[:number] if "data.name" in later else ():
            for of_another_set in ("data.folder", "data.non_faces"):
                earlier.pop(of_another_set, None)
    settings = overlay(*said)
    tree = {**merged, **unflatten(settings)}
    keys = ProfileKeys.model_validate_json(json.dumps(tree))
    typed = dict(flatten(keys.model_dump(mode="json", include=set(SETTING_KEYS), exclude_unset=True)))
    prefixes = tuple(prefix for prefix, _ in (*layers, *sets))
    return Draft(source, keys, {key: typed[key] for key in settings}, origin, prefixes)


def _without_settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tree.items() if key not in SETTING_KEYS}


def _replace(merged: dict[str, Any], tree: Mapping[str, Any], prefix: Trail, origin: dict[Trail, Trail]) -> None:
    """A profile's key replaces the file's; of a group, only what it says."""
    for key, value in _without_settings(tree).items():
        if key in GROUPS:
            _merge(merged, {key: value}, prefix, origin, ())
            continue
        for said in [trail for trail in origin if trail[0] == key]:
            del origin[said]
        merged[key] = copy.deepcopy(value)
        origin[(key,)] = prefix
        if key in ("factors", "rows"):
            other = "rows" if key == "factors" else "factors"
            if other not in tree:
                merged.pop(other, None)


def _merge(
    merged: dict[str, Any], tree: Mapping[str, Any], prefix: Trail, origin: dict[Trail, Trail], above: Trail
) -> None:
    """An option changes one key, however deep it stands; a factor's levels are replaced whole."""
    for key, value in tree.items():
        here = (*above, key)
        deep = above[:1] not in (("factors",), ("reference",))
        if isinstance(value, dict) and isinstance(merged.get(key), dict) and deep:
            _merge(merged[key], value, prefix, origin, here)
        else:
            merged[key] = copy.deepcopy(value)
            origin[here] = prefix


def _dotted(layers: Sequence[tuple[Trail, Mapping[str, Any]]], origin: dict[Trail, Trail]) -> dict[str, Any]:
    """Return the settings that layers of one rank say."""
    said: dict[str, Any] = {}
    for prefix, tree in layers:
        for key, value in _settings(tree):
            said[key] = value
            origin[tuple(key.split("."))] = prefix
    return said


def _settings(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from flatten({key: value for key, value in tree.items() if key in SETTING_KEYS})


def select_profile(source: Source, profile: str | None) -> str | None:
    """Return the profile if the file has it; else note the problem and return None."""
    profiles = source.tree.get("profiles", {})
    if profile is None or profile in profiles:
        return profile
    had = f"it has {', '.join(profiles)}" if profiles else "it has none"
    message = f"{source.name} has no such profile; {had}{nearest(profile, profiles)}"
    source.problems.append(Problem(f"--profile {profile}", "", message))
    return None

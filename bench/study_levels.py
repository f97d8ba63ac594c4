"""The cells of a study as its file says them: factors and their levels, or rows, down to dotted settings.

A `Levels` walks one draft (the file with one profile laid over it) and notes every problem on the way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from bench.mistakes import mistakes, unknown_setting
from bench.recipes import RECIPES
from bench.setting import LENGTHS, SNAPSHOTS, flatten, overlay, unflatten
from bench.study_file import SETTING_GROUPS, SETTING_LEAVES, SettingKeys, label
from bench.study_layers import Draft
from bench.yaml_places import Problem, Trail, nearest

RESERVED = frozenset(
    [
        "attempt",
        "cause",
        "cell",
        "commit",
        "extractor",
        "kimg",
        "metric",
        "n_fake",
        "n_real",
        "protocol",
        "real",
        "reason",
        "row",
        "run",
        "run_id",
        "score_id",
        "score_status",
        "sd_eval",
        "seed",
        "seeds",
        "snapshot",
        "status",
        "study",
        "value",
    ]
)
"""Columns of runs.csv: no factor of the user's own may be called so."""
_NAME = re.compile(r"[^\s,=]+")


def touched(keys: Mapping[str, Any]) -> set[str]:
    """Return the settings that saying `keys` decides: a length decides all lengths and snapshots (see `overlay`)."""
    found = set(keys)
    if found & set(LENGTHS):
        found |= {*LENGTHS, *SNAPSHOTS}
    if found & set(SNAPSHOTS):
        found |= set(SNAPSHOTS)
    return found


class Levels:
    """A draft's factors or rows, typed.  `complete`: this draft is what will run, so it must also be whole."""

    def __init__(self, draft: Draft, *, complete: bool) -> None:
        self.draft, self.keys, self.complete = draft, draft.keys, complete
        self.problems: list[Problem] = []
        self.factors: dict[str, dict[str, dict[str, Any]]] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self._recipe_names((), self.keys.recipe)
        self._factors()
        self._rows()
        self._overlaps()

    def say(self, trail: Trail, message: str, *, of_key: bool = False) -> None:
        """Note a problem at `trail`."""
        self.problems.append(self.draft.problem(trail, message, of_key=of_key))

    # -- what the run is made of ------------------------------------------------------------------------

    def recipe(self) -> dict[str, Any]:
        """Return the study's recipe; nothing where it has none."""
        return RECIPES.get(self.keys.recipe, {})

    def _recipe_names(self, trail: Trail, name: str) -> None:
        if name and name not in RECIPES:
            options = ", ".join(RECIPES)
            self.say((*trail, "recipe"), f"{name!r} is not one of {options}{nearest(name, RECIPES)}")

    # -- factors ----------------------------------------------------------------------------------------

    def _factors(self) -> None:
        if self.keys.factors and self.keys.rows:
            self.say(("rows",), "factors or rows, not both: rows are cells named one by one", of_key=True)
        whole = self.keys.factors or self.keys.rows or self.draft.was_cut("factors") or self.draft.was_cut("rows")
        if self.complete and not whole:
            self.say(("factors",), "is missing: a study compares the levels of factors, or rows", of_key=True)
        for name, levels in self.keys.factors.items():
            self.factors[name] = self._levels(name, levels)

    def _levels(self, name: str, levels: Any) -> dict[str, dict[str, Any]]:
        trail: Trail = ("factors", name)
        if name in SETTING_LEAVES:
            if not isinstance(levels, list) or not levels:
                self.say(trail, f"a list of {name}'s levels is due, as [a, b]")
                return {}
            return self._values(name, levels)
        if name in SETTING_GROUPS or not isinstance(levels, dict):
            said = unknown_setting(name)
            if name in SETTING_GROUPS:
                said = f"a group of settings, not one (as {name}.{next(iter(SETTING_GROUPS[name].model_fields))})"
            own = "a factor of your own maps each level to its settings, as {A: {train.lr: 1e-4}, B: {train.lr: 1e-3}}"
            self.say(trail, f"{said}; {own}", of_key=True)
            return {}
        if name in RESERVED or not _NAME.fullmatch(name):
            why = "a column of the results" if name in RESERVED else "not a name: no spaces, commas, equals signs"
            self.say(trail, f"{name!r} is {why}; call the factor something else", of_key=True)
        if not levels:
            self.say(trail, "a map of levels is due, as {A: {train.lr: 1e-4}}")
        return {level: self._named(trail, level, said) for level, said in levels.items()}

    def _named(self, trail: Trail, level: str, said: Any) -> dict[str, Any]:
        self._name((*trail, level), level)
        return self.settings((*trail, level), said)

    def _name(self, trail: Trail, name: str, *, of_key: bool = True) -> None:
        if not _NAME.fullmatch(name):
            self.say(trail, f"{name!r} cannot name a level: no spaces, commas or equals signs", of_key=of_key)

    def _values(self, name: str, values: list[Any]) -> dict[str, dict[str, Any]]:
        levels: dict[str, dict[str, Any]] = {}
        for number, value in enumerate(values):
            trail: Trail = ("factors", name, number)
            try:
                level = label(value)
            except ValueError as error:
                named = f"; name such levels: {{A: {{{name}: …}}, B: {{{name}: …}}}} under a name of your own"
                self.say(trail, f"{error}{named if isinstance(value, list | dict) else ''}")
                continue
            self._name(trail, level, of_key=False)
            if level in levels:
                self.say(trail, f"the level {level} stands here twice")
            levels[level] = self.settings(trail, {name: value}, at_value=True)
        return levels

    def settings(self, trail: Trail, said: Any, *, at_value: bool = False) -> dict[str, Any]:
        """Type the dotted (or nested) settings of a level or row; what is wrong is noted and left out."""
        if not isinstance(said, dict):
            self.say(trail, "a map of settings is due, as {train.lr: 1e-4}")
            return {}
        typed: dict[str, Any] = {}
        for key, value, below in _leaves(said):
            here = trail if at_value else (*trail, *below)
            if key in typed:
                self.say(here, f"{key} is said twice", of_key=True)
            tree = unflatten({key: value})
            try:
                found = SettingKeys.model_validate_json(json.dumps(tree))
            except ValidationError as error:
                for mistake in mistakes(error, tree, SettingKeys):
                    message = unknown_setting(key) if mistake.about_key else mistake.message
                    self.say(here, message, of_key=mistake.about_key)
                continue
            typed |= flatten(found.model_dump(mode="json", exclude_unset=True))
        for unit in (LENGTHS, SNAPSHOTS):
            if len(doubled := [key for key in unit if typed.get(key) is not None]) > 1:
                self.say(trail, f"{' and '.join(doubled)}: one of them is due", of_key=not at_value)
        return typed

    def _overlaps(self) -> None:
        """A setting that two factors decide, or a factor and the fixed part, would be decided by their order."""
        decided = {
            name: {key for level in levels.values() for key in touched(level)} for name, levels in self.factors.items()
        }
        said = {name: {key for level in levels.values() for key in level} for name, levels in self.factors.items()}
        for number, (name, keys) in enumerate(decided.items()):
            for key in (key for key in self.draft.fixed if key in keys and self.draft.fixed[key] is not None):
                trail = tuple(key.split("."))
                layer = self.draft.origin.get(trail, ())
                how = f": --set factors.{name}=[…] changes its levels" if layer[:1] and layer[0] != "profiles" else ""
                factor = "a factor too" if key == name else f"decided by the factor {name} too"
                self.say(trail, f"{key} is fixed here and {factor}: say one of them{how}", of_key=True)
            for other in list(decided)[:number]:
                for key in sorted(keys & said[other] | said[name] & decided[other]):
                    self.say(("factors", name), f"{key} is decided by the factor {other} too", of_key=True)

    # -- rows -------------------------------------------------------------------------------------------

    def _rows(self) -> None:
        own: dict[str, dict[str, Any]] = {}
        for name, row in self.keys.rows.items():
            trail: Trail = ("rows", name)
            self._name(trail, name)
            self._recipe_names(trail, row.recipe)
            if row.from_ and row.from_ not in self.keys.rows and not self.draft.was_cut("rows", row.from_):
                options = f"no row {row.from_!r}{nearest(row.from_, self.keys.rows)}"
                self.say((*trail, "from"), options)
            nested = row.model_dump(mode="json", exclude_unset=True, exclude={"from_", "recipe", "set"})
            dotted = self.settings((*trail, "set"), row.set)
            own[name] = dict(flatten(nested))
            for key in own[name].keys() & dotted.keys():
                self.say((*trail, "set", key), f"{key} is said twice in this row", of_key=True)
            own[name] |= dotted
        for name in own:
            chain = self._chain(name)
            recipe = next((self.keys.rows[link].recipe for link in chain if self.keys.rows[link].recipe), "")
            lowest = RECIPES.get(recipe or self.keys.recipe, {})
            self.rows[name] = overlay(lowest, self.draft.fixed, *(own[link] for link in reversed(chain)))

    def _chain(self, name: str) -> list[str]:
        chain = [name]
        while (link := self.keys.rows[chain[-1]].from_) in self.keys.rows:
            if link in chain:
                self.say(("rows", name, "from"), f"{' from '.join([*chain, link])}: this goes in a circle")
                break
            chain.append(link)
        return chain


def _leaves(said: Mapping[str, Any], above: Trail = ()) -> Iterator[tuple[str, Any, Trail]]:
    """Yield (dotted setting, value, trail) of settings that are nested, dotted, or both."""
    for key, value in said.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, key))
        else:
            yield ".".join(str(part) for part in (*above, key)), value, (*above, key)

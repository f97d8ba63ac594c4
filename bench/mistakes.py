"""pydantic's errors as one readable problem for each thing that is wrong.

A value that fits none of a union's types comes as several errors; here they are folded into one that names
everything that would be allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from bench.knobs import OwnName
from bench.study_file import FILLED_BY_THE_PLAN, SETTING_LEAVES
from bench.yaml_places import Trail, nearest

_OWN_NAME = OwnName.__metadata__[0].metadata[0].pattern  # type: ignore[attr-defined]

_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a word",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "list_type": "a list",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}
_BOOLEAN_WORDS = {"on": "true", "yes": "true", "y": "true", "off": "false", "no": "false", "n": "false"}


class Mistake(NamedTuple):
    """What is wrong at one place of a tree."""

    trail: Trail
    message: str
    about_key: bool
    """The key is wrong, not its value."""


def mistakes(error: ValidationError, tree: Any, model: type[BaseModel]) -> list[Mistake]:
    """Fold the errors of validating `tree` as `model` into one mistake for each place."""
    groups: dict[Trail, list[Any]] = {}
    for entry in error.errors(include_url=False, include_input=False):
        groups.setdefault(_trail(entry, tree), []).append(entry)
    # A map that fits one branch of a union but for a mistake inside: that mistake is the one to tell.
    inner = {
        trail[:depth] for trail in groups for depth in range(len(trail)) if isinstance(at(tree, trail[:depth]), dict)
    }
    return [_fold(trail, group, tree, model) for trail, group in groups.items() if trail not in inner]


def _trail(entry: Any, tree: Any) -> Trail:
    """Drop from an error's location what names a branch of a union, not a part of the tree."""
    node, trail = tree, []
    for part in entry["loc"]:
        if (isinstance(node, Mapping) and part in node) or (isinstance(node, list) and isinstance(part, int)):
            if isinstance(node, list) and part >= len(node):
                break
            node = node[part]
            trail.append(part)
    if entry["type"] == "missing" and isinstance(entry["loc"][-1], str):
        trail.append(entry["loc"][-1])
    return tuple(trail)


def at(tree: Any, trail: Trail) -> Any:
    """Return the part of a tree at `trail`, None when there is none."""
    for part in trail:
        if isinstance(tree, Mapping):
            tree = tree.get(part)
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            return None
    return tree


def _fold(trail: Trail, group: list[Any], tree: Any, model: type[BaseModel]) -> Mistake:
    value = at(tree, trail)
    kinds = {entry["type"] for entry in group}
    if "extra_forbidden" in kinds:
        return Mistake(trail, _unknown_key(trail, tree, model), True)
    if "missing" in kinds and isinstance(trail[-1] if trail else None, str) and value is None:
        return Mistake(trail, "is missing", True)
    if "missing" in kinds:
        return Mistake(trail, "has too few values", False)
    if "union_tag_not_found" in kinds:
        return Mistake((*trail, "kind"), "is missing", True)
    if "union_tag_invalid" in kinds:
        return _wrong_kind(trail, group[0])
    allowed: list[str] = []
    due: list[str] = []
    said: list[str] = []
    for entry in group:
        kind, context = entry["type"], entry.get("ctx", {})
        if kind in ("literal_error", "enum"):
            allowed += _options(context["expected"])
        elif kind in _TYPES:
            due.append(_TYPES[kind])
        elif kind in _BOUNDS:
            name, sign = _BOUNDS[kind]
            due.append(f"a number {sign} {context[name]:g}")
        elif kind == "string_pattern_mismatch":
            due.append(_pattern(context["pattern"]))
        elif kind == "value_error":
            said.append(str(context["error"]))
        else:
            said.append(entry["msg"].replace("Tuple", "The list").replace("tuple", "list"))
    if allowed:
        due = [part for part in due if part != "a word"]
        due.insert(0, ("one of " if len(allowed) > 1 else "") + ", ".join(allowed))
    due = list(dict.fromkeys(due))
    if said and not due:
        return Mistake(trail, "; ".join(dict.fromkeys(said)), False)
    return Mistake(trail, f"{_show(value)} is not {' or '.join(due)}{_hint(value, allowed, due)}", False)


def _options(expected: str) -> list[str]:
    return re.findall(r"'([^']*)'", expected) or re.split(r", | or ", expected)


def _wrong_kind(trail: Trail, entry: Any) -> Mistake:
    options = re.findall(r"'([^']*)'", entry["ctx"]["expected_tags"])
    tag = entry["ctx"]["tag"]
    return Mistake((*trail, "kind"), f"{tag} is not one of {', '.join(options)}{nearest(tag, options)}", False)


def _pattern(pattern: str) -> str:
    if pattern == _OWN_NAME:
        return "a name of your own as pkg.module:Name"
    if "%" in pattern:
        return "a share as 25%"
    return "a fraction as 1/2, 1/4, 1/8" if pattern.startswith("^1/") else f"text like {pattern}"


def _show(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a map"
    return str(value)


def _hint(value: Any, allowed: list[str], due: list[str]) -> str:
    if value is None:
        return " (write none)" if "none" in allowed else ""
    if isinstance(value, bool):
        return f" (in quotes it is a word: '{str(value).lower()}')" if "a word" in due else ""
    if isinstance(value, str):
        if "true or false" in due and value.lower() in ("true", "false"):
            return f" (without quotes {value.lower()} is)"
        if "true or false" in due and value.lower() in _BOOLEAN_WORDS:
            return f" (in YAML 1.2 {value} is a word; did you mean {_BOOLEAN_WORDS[value.lower()]}?)"
        if re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", value) and any("number" in part for part in due):
            return " (without quotes it is a number)"
        return nearest(value, allowed)
    return ""


# ---------------------------------------------------------------------------------------------------------
# Which keys would have been known.


def _unknown_key(trail: Trail, tree: Any, model: type[BaseModel]) -> str:
    word = str(trail[-1])
    siblings = list(_keys(model, trail[:-1], tree))
    if word in SETTING_LEAVES and "." in word:
        group, name = word.split(".")
        return f"unknown key (did you mean {group}: {{{name}: …}}?)"
    if word == "seed" and "seeds" in siblings:
        return "unknown key (did you mean seeds?)"
    homes = [leaf for leaf in SETTING_LEAVES if leaf.endswith(f".{word}")]
    if homes and homes[0].split(".")[0] in siblings:
        return f"unknown key (did you mean {homes[0]}?)"
    return f"unknown key{nearest(word, siblings)}"


def unknown_setting(dotted: str) -> str:
    """Say that `dotted` is no setting, and which one is like it."""
    if dotted == "seed":
        return "the seed is no level: the same seeds stand in every cell (see `seeds`)"
    if dotted in FILLED_BY_THE_PLAN:
        return "this is filled by the plan, not said"
    homes = [leaf for leaf in SETTING_LEAVES if leaf.endswith(f".{dotted}")]
    return f"not a setting (did you mean {homes[0]}?)" if homes else f"not a setting{nearest(dotted, SETTING_LEAVES)}"


def _keys(model: type[BaseModel], trail: Trail, tree: Any) -> Iterator[str]:
    """Yield the keys that the map at `trail` may have."""
    types: list[Any] = [model]
    for part in trail:
        types = [inner for outer in types for kind in _flat(outer) for inner in _inside(kind, part)]
    here = at(tree, trail)
    claimed = here.get("kind") if isinstance(here, Mapping) else None
    for kind in [kind for outer in types for kind in _flat(outer)]:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields = kind.model_fields
            if "kind" not in fields or claimed in get_args(fields["kind"].annotation):
                yield from (field.alias or name for name, field in fields.items())


def _flat(annotation: Any) -> Iterator[Any]:
    """Yield the branches of a type that may be a union."""
    if get_origin(annotation) is Annotated:
        yield from _flat(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for branch in get_args(annotation):
            yield from _flat(branch)
    else:
        yield annotation


def _inside(kind: Any, part: str | int) -> Iterator[Any]:
    """Yield the type of what stands at `part` of a value of type `kind`."""
    if get_origin(kind) is dict:
        yield get_args(kind)[1]
    elif get_origin(kind) in (tuple, list):
        yield get_args(kind)[0]
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            if part == (field.alias or name):
                yield field.annotation

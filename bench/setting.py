"""A run's setting as flat, dotted keys, laid over each other in layers; and from it the run's identity.

A `Setting` (its knobs are those of `bench.knobs`) is the whole input of one run, resolved to the last number: recipe,
then what the study fixes, then the cell, then the seed.  Two runs with equal settings are the same run, whichever study
asks for them.  This module imports no torch: a plan is made on a login node in about a second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from bench.knobs import Data, PositiveFloat, PositiveInt, Setting, Strict, Train

__all__ = [
    "DEFAULTS",
    "IDENTITY_FREE",
    "NUMERICS",
    "Data",
    "PositiveFloat",
    "PositiveInt",
    "Setting",
    "Strict",
    "Train",
    "digest",
    "flatten",
    "identity",
    "overlay",
    "resolve",
    "resolved",
    "run_id",
    "unflatten",
]

NUMERICS = 1
"""Version of the arithmetic.  Whoever changes a default or what a run computes must raise it: every id changes."""

# ---------------------------------------------------------------------------------------------------------
# Settings as flat, dotted keys: the form in which recipes, cells and `--set` speak.


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `("train.lr", 1e-4)` for `{"train": {"lr": 1e-4}}`; `sources` is one value."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and prefix + key != "sources":
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def unflatten(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """Invert `flatten`."""
    tree: dict[str, Any] = {}
    for key, value in dotted.items():
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


LENGTHS = ("train.kimg", "train.epochs", "train.g_steps", "train.labelled_steps")
SNAPSHOTS = ("train.snapshots_kimg", "train.snapshots_epochs", "train.snapshots_g_steps")


def overlay(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge dotted layers, later over earlier.

    A layer that states a length replaces the earlier length and its snapshots; one that states snapshots
    replaces the earlier snapshots.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        if any(key in layer for key in LENGTHS):
            merged = {key: value for key, value in merged.items() if key not in LENGTHS + SNAPSHOTS}
        if any(key in layer for key in SNAPSHOTS):
            merged = {key: value for key, value in merged.items() if key not in SNAPSHOTS}
        merged.update(layer)
    return merged


def resolve(*layers: Mapping[str, Any]) -> Setting:
    """Overlay dotted layers and validate the result.

    Raises pydantic.ValidationError with one entry for each mistake.
    """
    return Setting.model_validate_json(json.dumps(unflatten(overlay(*layers))))


def resolved(setting: Setting) -> dict[str, Any]:
    """All knobs of a setting with their values, dotted."""
    return dict(flatten(setting.model_dump(mode="json")))


# ---------------------------------------------------------------------------------------------------------
# Identity.


def _identity_free(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("identity") is False:
            yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _identity_free(field.annotation, f"{prefix}{name}.")


IDENTITY_FREE = frozenset(_identity_free(Setting))
DEFAULTS = resolved(Setting())


def identity(setting: Setting) -> dict[str, Any]:
    """What makes this run this run: the knobs that differ from the defaults, the seed, and `NUMERICS`."""
    differing = {
        key: value for key, value in resolved(setting).items() if key not in IDENTITY_FREE and value != DEFAULTS[key]
    }
    return {**differing, "seed": setting.seed, "numerics": NUMERICS}


def run_id(setting: Setting) -> str:
    """Sixteen hex digits: the hash of `identity`, blind to key order, paths, resources and labels."""
    return digest(identity(setting))


def of_seeds(setting: Setting, seeds: Iterable[int]) -> Iterator[tuple[Setting, str]]:
    """The setting under each seed, and its `run_id`: thousands of them at the price of one."""
    known = identity(setting)
    for seed in seeds:
        yield setting.model_copy(update={"seed": seed}), digest({**known, "seed": seed})


def digest(content: Any, length: int = 16) -> str:
    """Hash JSON-able content, blind to key order."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]

"""YAML 1.2 text to plain values, with the line and column of every key and value.

ruamel.yaml composes the nodes; here they become dicts, lists, strings, numbers, booleans and None.  `off` stays a
string, `1e-4` is a number, `010` is ten, a duplicate key is a mistake, and all mistakes are collected.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from bench.harmless import CONTROL, harmless

LARGEST = 20_000
"""Parts of a document, aliases written out: nine lines of aliases to aliases are a billion."""
DEEPEST, DIGITS = 200, 200
"""Brackets within brackets, for which the parser's time grows as their square; digits of a number."""
Trail = tuple[str | int, ...]
"""Keys and list positions from the top of the file down."""


class Problem(NamedTuple):
    """One mistake in what the user wrote."""

    place: str
    """`file:line:column`, or the option that was given."""
    path: str
    """`factors.g_norm[1]`; empty for the whole file."""
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in self if part)


class StudyError(Exception):
    """What is wrong with a study: all of it, in file order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(dict.fromkeys(problems), key=_file_order)
        super().__init__("\n".join(map(str, self.problems)))


def _file_order(problem: Problem) -> tuple[str, int, int, str]:
    found = re.fullmatch(r"(.*):(\d+):(\d+)", problem.place)
    return (found[1], int(found[2]), int(found[3]), "") if found else ("~", 0, 0, problem.place)


def nearest(word: object, options: Iterable[str]) -> str:
    """Return ` (did you mean X?)` for the option most like `word`, or nothing when none is like it."""
    by_lower = {option.lower(): option for option in options}
    close = difflib.get_close_matches(str(word).lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean {by_lower[close[0]]}?)" if close else ""


def show_path(path: Sequence[str | int]) -> str:
    """Write a path as people do: `factors.g_norm[1]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


@dataclass
class Parsed:
    """A document's plain value, where each part of it stands, and what was wrong with it."""

    value: Any = None
    keys: dict[Trail, str] = field(default_factory=dict)
    values: dict[Trail, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Trail, *, of_key: bool = False) -> str:
        """Say where `path` stands; a path that is not in the file stands where its nearest parent does."""
        if of_key and path in self.keys:
            return self.keys[path]
        while path not in self.values and path:
            path = path[:-1]
            if path in self.keys:
                return self.keys[path]
        return self.values[path]


def parse(text: str, name: str, *, place: str | None = None) -> Parsed:
    """Read one YAML document.

    `name` is the file's name in places; `place`, when given, stands for every line and column (`--set a=1`).
    Never raises: a text that is no YAML comes back as one problem and the value None.
    """
    parsed = Parsed(values={(): place or f"{name}:1:1"})
    if _depth(text) > DEEPEST:
        parsed.problems.append(Problem(place or f"{name}:1:1", "", f"more than {DEEPEST} brackets within each other"))
        return parsed
    try:
        # typ="rt": the round-trip loader is ruamel's YAML 1.2 resolver in pure Python.
        root = YAML(typ="rt", pure=True).compose(text)
    except ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        where = f"{name}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
        parsed.problems.append(Problem(place or where, "", "a control character that YAML does not allow"))
        return parsed
    except (YAMLError, RecursionError) as error:
        parsed.problems.append(_syntax_problem(error, name, place))
        return parsed
    if root is not None:
        parsed.value = _Reader(parsed, name, place).read(root, ())
    return parsed


def _depth(text: str) -> int:
    steps = ((sign in "[{") - (sign in "]}") for sign in re.findall(r"[][{}]", text))
    return max(itertools.accumulate(steps), default=0)


def _syntax_problem(error: Exception, name: str, place: str | None) -> Problem:
    mark = error.problem_mark or error.context_mark if isinstance(error, MarkedYAMLError) else None
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else f"{name}:1:1"
    said = (error.problem if isinstance(error, MarkedYAMLError) else None) or str(error) or "nested too deep"
    if "'\\t'" in said:
        said = "a tab; YAML is indented with spaces"
    elif "another document" in said:
        said = "a second document (---); a study is one document"
    else:
        said = f"not YAML: {said}"
    return Problem(place or where, "", said)


class _Reader:
    """Turns composed nodes into plain values, noting places and problems in `parsed`."""

    def __init__(self, parsed: Parsed, name: str, place: str | None) -> None:
        self.parsed, self.name, self.fixed_place = parsed, name, place
        self.construct = YAML(typ="safe", pure=True).constructor
        self.open: list[int] = []
        self.count = 0

    def place(self, node: Any) -> str:
        return self.fixed_place or f"{self.name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def problem(self, node: Any, path: Trail, message: str) -> None:
        self.parsed.problems.append(Problem(self.place(node), show_path(path), message))

    def read(self, node: Any, path: Trail) -> Any:
        """Return a node's value, and note where it stands."""
        # An empty value is composed where the next token stands: say its key, or the list it is in.
        empty = node.start_mark.index == node.end_mark.index and path
        self.parsed.values[path] = self.parsed.place(path, of_key=True) if empty else self.place(node)
        self.count += 1
        if self.count > LARGEST:
            if self.count == LARGEST + 1:
                self.problem(node, path, f"more than {LARGEST:,} parts: too long for a study")
            return None
        if isinstance(node, ScalarNode):
            return self.scalar(node, path)
        if id(node) in self.open:
            self.problem(node, path, "an alias to a part that contains it")
            return None
        self.open.append(id(node))
        if str(node.tag) not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self.problem(node, path, f"the tag {node.tag} has no meaning here")
        value = self.mapping(node, path) if isinstance(node, MappingNode) else self.sequence(node, path)
        self.open.pop()
        return value

    def sequence(self, node: SequenceNode, path: Trail) -> list[Any]:
        return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]

    def mapping(self, node: MappingNode, path: Trail) -> dict[str, Any]:
        """Return a mapping's values by key; a key twice, or one that is no text, is a mistake."""
        value: dict[str, Any] = {}
        first: dict[str, str] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode) or str(key_node.tag).endswith((":null", ":merge")):
                merge = str(key_node.tag).endswith(":merge")
                said = "merge keys (<<) are not YAML 1.2" if merge else "a key must be a word"
                self.problem(key_node, path, said)
                continue
            key = self.text(key_node, path)
            here = (*path, key)
            if key in value:
                self.problem(key_node, here, f"duplicate key; the first stands at {first[key]}")
                continue
            self.parsed.keys[here] = self.place(key_node)
            first[key] = self.place(key_node)
            value[key] = self.read(value_node, here)
        return value

    def scalar(self, node: ScalarNode, path: Trail) -> Any:
        """Return a scalar's value by its tag."""
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if kind == "null":
            return None
        if kind == "bool":
            return node.value.lower() == "true"
        if kind in ("int", "float"):
            return self.number(node, path, kind)
        if kind == "timestamp":
            self.problem(node, path, f"{node.value} reads as a date; put it in quotes if it is a name")
        elif kind not in ("str", "value", "merge"):
            self.problem(node, path, f"the tag {node.tag} has no meaning here")
        return self.text(node, path)

    def number(self, node: ScalarNode, path: Trail, kind: str) -> int | float:
        """Return a number; of what is none (`!!int word`), or is too long or not finite, 0."""
        if len(node.value) > DIGITS:
            self.problem(node, path, f"a number of {len(node.value):,} digits")
            return 0
        try:
            if kind == "int":
                return int(self.construct.construct_yaml_int(node))
            number = float(self.construct.construct_yaml_float(node))
        except (ValueError, IndexError):
            self.problem(node, path, f"{harmless(node.value)!r} is no number")
            return 0
        if not math.isfinite(number):
            self.problem(node, path, f"{node.value} is not a finite number")
        return number

    def text(self, node: ScalarNode, path: Trail) -> str:
        """Return a node's text; refuse what no name and no text of a study holds, and a terminal might obey."""
        if found := CONTROL.search(node.value):
            self.problem(node, path, f"a control character, {found[0]!a}")
        return harmless(node.value)

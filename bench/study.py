"""A study file to a `Study`: strict, every mistake at once, each with file, line and column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.outcomes import Collapse
from bench.probes import ProbeName
from bench.probes import chosen as chosen_probes
from bench.protocol import Evaluate
from bench.study_checks import Check
from bench.study_file import Claim, Combination, FractionDesign, Resources, label, schema
from bench.study_layers import Draft, draft, read, select_profile
from bench.yaml_places import Problem, StudyError, Trail, nearest

__all__ = [
    "Claim",
    "Combination",
    "FractionDesign",
    "Problem",
    "Resources",
    "Study",
    "StudyError",
    "find",
    "label",
    "load",
    "schema",
    "shipped",
]


@dataclass(frozen=True)
class Study:
    """One study, with a profile and the options laid over it."""

    name: str
    """The file's stem; with a profile, `stem.profile`, so that its results and report stand beside the study's."""
    path: Path
    text: str
    """The file as it is."""
    about: str
    """The comment at its head, without the comment signs."""
    recipe: str
    fixed: dict[str, Any]
    """Dotted settings that the study, its profile or `--set` say for all cells; the recipe's are not among them."""
    factors: dict[str, dict[str, dict[str, Any]]]
    """Factor → level → dotted settings, in the file's order."""
    rows: dict[str, dict[str, Any]]
    """Row → its dotted settings, its recipe's among them; {} where there are factors."""
    seeds: tuple[int, ...]
    reference: dict[str, str]
    """Factor → level, or {"row": name}."""
    exclude: tuple[Combination, ...]
    force: tuple[Combination, ...]
    design: Literal["full", "one_at_a_time"] | FractionDesign
    metrics: tuple[str, ...]
    evaluate: Evaluate
    claims: tuple[Claim, ...]
    resources: Resources
    evidence: bool
    collapse: Collapse
    probes: tuple[ProbeName, ...]
    """What to watch inside the nets while they train."""
    probe_every_kimg: float | None
    profile: str | None
    overrides: tuple[str, ...]
    reference_said: bool = True
    """Whether the study names its reference, or it is the first level of each factor."""
    sources: dict[str, str] = field(default_factory=dict)
    """Module of the user's own → hash of its source file."""
    problem: Callable[[Trail, str], Problem] = field(
        default=lambda trail, message: Problem("", "", message), repr=False, compare=False
    )
    """Makes a problem of a part of the study, with its place in the file."""


def load(path: Path, profile: str | None = None, overrides: Sequence[str] = ()) -> Study:
    """Read a study file, lay one of its profiles and `--set` options over it, and check all of it.

    Raises StudyError with all problems, those of profiles that are not selected among them.
    """
    path = Path(path)
    text = _text(path)
    source = read(text, str(path), path.stem, overrides)
    if not isinstance(source.parsed.value, dict):
        raise StudyError(source.problems)
    said = source.tree.get("study", "")
    if said and said != path.stem:
        place = source.parsed.place(("study",))
        source.problems.append(Problem(place, "study", f"{said!r} is not the file's stem, {path.stem!r}"))
    profile = select_profile(source, profile)
    # The selected draft is checked last and whole; the others show the mistakes that only they have.
    for other in (None, *source.tree.get("profiles", {})):
        if other != profile or overrides:
            source.problems += Check(draft(source, other, with_sets=False), complete=False).problems
    chosen = draft(source, profile, with_sets=True)
    check = Check(chosen, complete=True)
    # What is no YAML value is told once, not again as a value that does not fit.
    unread = {problem.place for problem in source.parsed.problems}
    found = [problem for problem in source.problems + check.problems if problem.place not in unread]
    if problems := source.parsed.problems + found:
        raise StudyError(problems)
    return _study(path, text, profile, tuple(overrides), chosen, check)


def _study(
    path: Path, text: str, profile: str | None, overrides: tuple[str, ...], chosen: Draft, check: Check
) -> Study:
    keys = chosen.keys
    return Study(
        name=path.stem if profile is None else f"{path.stem}.{profile}",
        path=path,
        text=text,
        about=_about(text),
        recipe=keys.recipe,
        fixed=chosen.fixed,
        factors=check.factors,
        rows=check.rows,
        seeds=keys.seeds if isinstance(keys.seeds, tuple) else tuple(range(keys.seeds)),
        reference=check.reference,
        exclude=keys.exclude,
        force=keys.force,
        design=keys.design,
        metrics=keys.metrics,
        evaluate=_evaluate(chosen, check),
        claims=keys.claims,
        resources=keys.resources,
        evidence=keys.evidence,
        collapse=keys.collapse,
        probes=chosen_probes(keys.probes),
        probe_every_kimg=keys.probe_every_kimg,
        profile=profile,
        overrides=overrides,
        reference_said=bool(keys.reference),
        sources=check.sources,
        problem=chosen.problem,
    )


def _evaluate(chosen: Draft, check: Check) -> Evaluate:
    """How runs are scored: of pairs on the test part, unless the study says another."""
    said = chosen.keys.evaluate
    if "part" in said.model_fields_set or not check.has_pairs():
        return said
    return said.model_copy(update={"part": "test"})


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise StudyError([Problem(str(path), "", f"cannot be read: {error.strerror}")]) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        place = f"{path}:{line}:{column}"
        raise StudyError([Problem(place, "", "not UTF-8: save the file as UTF-8")]) from error


def _about(text: str) -> str:
    lines = []
    for line in text.splitlines():
        if line.startswith("# yaml-language-server:"):
            continue
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" ").rstrip())
    return "\n".join(lines).strip()


# ---------------------------------------------------------------------------------------------------------
# Shipped studies.


def shipped() -> dict[str, Path]:
    """Return the studies that come with the project, by name: in a checkout beside bench/, in a wheel inside it."""
    here = Path(__file__).resolve().parent
    folders = (here.parent / "ablations", here / "ablations")
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def find(name: str) -> Path:
    """Return the path of a study: a file as given, or a shipped study by its name.

    Raises StudyError when there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    studies = shipped()
    if name.removesuffix(".yaml") in studies:
        return studies[name.removesuffix(".yaml")]
    hint = nearest(path.stem, studies) or f"; shipped studies: {', '.join(studies) or 'none'}"
    raise StudyError([Problem(name, "", f"no such file, and no such study among those shipped{hint}")])

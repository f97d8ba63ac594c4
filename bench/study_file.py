"""What may stand in a study file: its keys, their types, and what they mean.

The settings among the keys are those of `bench.setting`, by its own types.  What the types cannot say (that a
level exists, that two factors do not overlap) is checked in `bench.study_checks`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model
from pydantic.fields import FieldInfo

from bench.outcomes import Collapse
from bench.probes import ProbeName
from bench.protocol import METRICS, Evaluate
from bench.recipes import RECIPES
from bench.resources import Resources
from bench.setting import DEFAULTS, Data, PositiveFloat, PositiveInt, Setting, Strict, Train

MAX_SEEDS = 10_000


def label(value: Any) -> str:
    """Name a level by its value: `bn`, `true`, `4`, `0.0001`.

    Raises ValueError for what has no name: null, a list, a map.
    """
    if value is None:
        raise ValueError("null names no level: write none")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return format(value, ".12g")
    if isinstance(value, int | str):
        return str(value)
    raise ValueError("a level's name is due: a word, a number, true or false")


def _labels(value: Any) -> str | tuple[str, ...]:
    return tuple(map(label, value)) if isinstance(value, list) else label(value)


def _row(value: Any) -> Any:
    return {"row": value} if isinstance(value, str) else value


_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_SCALARS: dict[str, Any] = {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]}

Label = Annotated[str, BeforeValidator(label), WithJsonSchema(_SCALAR)]
Labels = Annotated[str | tuple[str, ...], BeforeValidator(_labels), WithJsonSchema(_SCALARS)]
Cells = Annotated[
    dict[str, Labels],
    BeforeValidator(_row),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": _SCALARS}]}),
]
"""Levels by factor; a factor that is not named is averaged over.  In a ladder: a row's name."""
Words = Annotated[str, Field(min_length=1)]
Share = Annotated[str, Field(pattern=r"^\d+(\.\d+)?%$")]


# ---------------------------------------------------------------------------------------------------------
# Claims.


class Moment(Strict):
    """A moment of training; one of these."""

    kimg: PositiveFloat | None = None
    """Thousands of real images shown to D."""
    epoch: PositiveFloat | None = None
    """Passes of D over the training part."""
    g_steps: PositiveInt | None = None
    """Updates of G."""
    seconds: PositiveFloat | None = None
    """Seconds of training."""


At = Literal["last"] | Share | Moment
Direction = Literal["lower", "higher", "fewer", "more"]


class _Claim(Strict):
    says: Words
    """The claim in words."""
    at: At = "last"
    """When: `last`, `25%` of the length, `{kimg: 8}`, `{epoch: 5}`, `{g_steps: 400}` or `{seconds: 60}`."""
    margin: PositiveFloat | None = None
    """The smallest difference that matters, in the measure's unit (a ratio for measures on the log scale)."""


class Difference(_Claim):
    """The left cells differ from the right ones, seed by seed, as expected."""

    kind: Literal["difference"]
    left: Cells
    right: Cells
    measure: Words
    """A metric or one of its values, an outcome (collapsed, never_learned, diverged, done) or a probe's measure."""
    expect: Direction
    """What left is, compared with right."""


class Equivalence(_Claim):
    """The left cells do not differ from the right ones by more than the margin."""

    kind: Literal["equivalence"]
    left: Cells
    right: Cells
    measure: Words


class Interaction(_Claim):
    """The effect of one factor depends on the level of another."""

    kind: Literal["interaction"]
    factors: Annotated[tuple[str, ...], Field(min_length=2)]
    measure: Words
    expect: Direction | None = None
    """Of the measure where both factors leave their reference, compared with the sum of the two effects."""


class Order(_Claim):
    """The cells stand in this order."""

    kind: Literal["order"]
    cells: Annotated[tuple[Cells, ...], Field(min_length=2)]
    measure: Words
    expect: Direction
    """What each is, compared with the next."""


class Threshold(_Claim):
    """The cells' mean is below or above a value."""

    kind: Literal["threshold"]
    cells: Cells
    measure: Words
    value: float
    expect: Direction


class Correlation(_Claim):
    """y goes with x, over runs or over the snapshots of each run."""

    kind: Literal["correlation"]
    x: Words
    y: Words
    over: Literal["runs", "snapshots"] = "runs"
    """`runs`: at one moment, over cells by their means, in one cell over its seeds.  `snapshots`: ranks along each run,
    and the mean over seeds."""
    cells: Cells | None = None
    """Unset: all of them."""
    expect: Literal["positive", "negative"]


Claim = Difference | Equivalence | Interaction | Order | Threshold | Correlation


# ---------------------------------------------------------------------------------------------------------
# The rest of the file.


class Combination(Strict):
    """Cells, and why they are left out or forced."""

    where: Cells
    why: Words


class FractionDesign(Strict):
    """A regular fraction of a design whose factors have two levels each."""

    fraction: Annotated[str, Field(pattern=r"^1/(2|4|8|16|32|64|128|256|512|1024)$")]
    """As 1/8."""
    generators: dict[str, Annotated[tuple[str, ...], Field(min_length=2)]] | None = None
    """factor → the factors whose product it is; unset: those that alias least (pyDOE)."""
    resolution: Annotated[int, Field(ge=3, le=20)] = 4
    """At least this: with 4, no main effect is aliased with another or with an interaction of two factors."""


class _Keys(BaseModel):
    """The keys of a study file, and of a profile, that are not settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    recipe: Annotated[
        str, Field(description="What a paper fixed; everything not said in the study is the recipe's.")
    ] = ""
    factors: Annotated[
        dict[str, Any],
        Field(description="Setting → its levels; or a name of yours → named sets of dotted settings."),
    ] = Field(default_factory=dict)
    seeds: Annotated[
        Annotated[int, Field(ge=1, le=MAX_SEEDS)]
        | Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)],
        Field(description="How many replicates, or which; the same seeds in every cell."),
    ] = 3
    reference: Annotated[
        dict[str, Label],
        BeforeValidator(_row),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": _SCALAR}]}),
        Field(description="The cell that others are compared with; unset: each factor's first level."),
    ] = Field(default_factory=dict)
    exclude: Annotated[tuple[Combination, ...], Field(description="Cells left out, and why.")] = ()
    force: Annotated[
        tuple[Combination, ...], Field(description="Cells that the rules deny and that run all the same, marked.")
    ] = ()
    design: Annotated[
        Literal["full", "one_at_a_time"] | FractionDesign,
        Field(description="All combinations; the reference and each other level alone; or a fraction."),
    ] = "full"
    metrics: Annotated[
        tuple[str, ...],
        Field(description="Scores to compute.", json_schema_extra={"items": {"enum": list(METRICS)}}),
    ] = ("fd", "swd", "ms_ssim")
    evaluate: Annotated[Evaluate, Field(description="How all cells are scored.")] = Evaluate()
    collapse: Annotated[
        Collapse, Field(description="When a snapshot counts as collapsed; the labels of runs follow from it.")
    ] = Collapse()
    probes: Annotated[
        bool | tuple[ProbeName, ...],
        Field(description="What to watch inside the nets while they train: all of it (true), or these."),
    ] = False
    probe_every_kimg: Annotated[
        PositiveFloat | None,
        Field(description="Between two rows of probes; unset: at most 50 a run, and cheap.  Snapshots have one too."),
    ] = None
    claims: Annotated[
        tuple[Annotated[Claim, Field(discriminator="kind")], ...],
        Field(description="Contrasts with a predicted outcome; the report judges them."),
    ] = ()
    resources: Annotated[Resources, Field(description="What a run needs; no part of its identity.")] = Resources()
    evidence: Annotated[bool, Field(description="false: a try-out; the report shows no verdicts.")] = True


def _fields(model: type[BaseModel], without: set[str], **instead: Any) -> dict[str, Any]:
    """Take a model's fields with their types, constraints and meanings, for another model; none is required."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if name not in without:
            kept = FieldInfo(default=field.default, description=field.description)
            kept.metadata = field.metadata
            fields[name] = (instead.get(name, field.annotation), kept)
    return fields


class _Partial(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


FILLED_BY_THE_PLAN = frozenset({"seed", "forced", "sources", "data.fingerprint", "data.classes"})
"""Settings that no study file says."""

_DataKeys = create_model("Data", __base__=_Partial, __doc__=Data.__doc__, **_fields(Data, {"fingerprint", "classes"}))
_SETTINGS = _fields(Setting, {"seed", "forced", "sources"}, data=_DataKeys)

SETTING_KEYS = tuple(_SETTINGS)
"""The top-level keys of a study file that are settings."""
SettingKeys = create_model("Settings", __base__=_Partial, **_SETTINGS)
"""A part of a setting: what a factor's level says."""
_Row = create_model(
    "Row",
    __base__=_Partial,
    from_=(str, Field(default="", alias="from", description="The row that this one goes on from.")),
    recipe=(str, Field(default="", description="Unset: that of the row it goes on from, or the study's.")),
    set=(dict[str, Any], Field(default_factory=dict, description="Dotted settings.")),
    **_SETTINGS,
)
_ROWS: Any = (dict[str, _Row], Field(default_factory=dict, description="Named cells in order, instead of factors."))

ProfileKeys = create_model("Profile", __base__=_Keys, rows=_ROWS, **_SETTINGS)
"""What a profile may say, and `--set`."""
StudyKeys = create_model(
    "Study",
    __base__=ProfileKeys,
    study=(str, Field(description="The study's name: the file's stem.")),
    profiles=(
        dict[str, ProfileKeys],
        Field(default_factory=dict, description="Named variants: each overrides anything above."),
    ),
)
"""A whole study file."""

SETTING_LEAVES = tuple(key for key in DEFAULTS if key not in FILLED_BY_THE_PLAN)
"""Every dotted setting that a study may say."""
SETTING_GROUPS: dict[str, type[BaseModel]] = {"data": _DataKeys, "train": Train}


# ---------------------------------------------------------------------------------------------------------
# The schema that editors read.


def schema() -> dict[str, Any]:
    """Return the JSON schema of a study file; `docs/study.schema.json` holds it."""
    whole = StudyKeys.model_json_schema(by_alias=True)
    definitions = whole["$defs"]
    leaves: dict[str, Any] = {}
    for key in SETTING_LEAVES:
        *group, name = key.split(".")
        of = definitions[SETTING_GROUPS[group[0]].__name__] if group else whole
        leaves[key] = of["properties"][name]
    definitions["Level"] = {
        "type": "object",
        "description": "Settings, dotted.",
        "properties": leaves,
        "additionalProperties": False,
    }
    factors = {
        "type": "object",
        "description": "Setting → its levels; or a name of yours → named sets of dotted settings.",
        "properties": {key: {"type": "array", "minItems": 1, "items": leaf} for key, leaf in leaves.items()},
        "additionalProperties": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Level"}},
    }
    definitions["Factors"] = factors
    # A setting that a study does not say is the recipe's: the model's defaults would mislead.
    for model in (whole, *(definitions[name] for name in ("Profile", "Row", "Data", "Train"))):
        for name in model["properties"].keys() & {key.split(".")[-1] for key in SETTING_LEAVES} | {"data", "train"}:
            model["properties"].get(name, {}).pop("default", None)
    for model in (whole, definitions["Profile"]):
        model["properties"]["factors"] = {"$ref": "#/$defs/Factors"}
        model["properties"]["recipe"] = {**model["properties"]["recipe"], "enum": list(RECIPES)}
    definitions["Row"]["properties"]["set"] = {"$ref": "#/$defs/Level"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole}

"""Rows of the validity table on labels: conditions, label budgets, SGAN and its supervised baseline."""

from __future__ import annotations

from bench.rule import Rule
from bench.setting import Setting

_CLASSIFIED = ("acgan", "sgan")


def _too_few(setting: Setting) -> bool:
    """Say whether labels are read of a set that has none, or classified where all are the same."""
    classes = setting.data.classes
    if classes is None or not setting.reads_labels:
        return False
    return classes < (2 if setting.condition in _CLASSIFIED or setting.objective == "supervised" else 1)


def _shows_budget(setting: Setting) -> bool:
    return setting.condition == "sgan" or setting.objective == "supervised"


def _unread(setting: Setting) -> bool:
    """Say whether SGAN's, or its baseline's, steps leave out something that is asked for."""
    bounds = "orthogonal" in (setting.d_weight, setting.g_weight) or setting.drift > 0
    return bounds or setting.d_batching == "joint" or setting.d_loss_weight != 1 or setting.growth


CLASSES: tuple[Rule, ...] = (
    Rule(
        18,
        "deny",
        "condition: sgan with a loss other than minimax or nonsaturating, or a penalty",
        lambda s: s.condition == "sgan" and (s.loss not in ("minimax", "nonsaturating") or s.penalty != "none"),
        "SGAN's D is a classifier of K + 1 classes: real and fake are probabilities, and no critic is bounded",
    ),
    Rule(
        21,
        "deny",
        "a condition, g_norm: cbn or objective: supervised without labels; acgan, sgan or supervised with one class",
        _too_few,
        "the set has no classes to tell apart",
    ),
    Rule(
        45,
        "deny",
        "data.labels without condition: sgan or objective: supervised",
        lambda s: s.data.labels is not None and not _shows_budget(s),
        "other conditions are told the class of every real",
    ),
    Rule(
        46,
        "deny",
        "objective: supervised with a condition, g_norm: cbn, pairs or a penalty",
        lambda s: (
            s.objective == "supervised"
            and (s.condition != "none" or s.g_norm == "cbn" or s.data.pairs != "none" or s.penalty != "none")
        ),
        "no G is trained, and D alone is SGAN's classifier",
    ),
    Rule(
        47,
        "deny",
        "g_loss: feature_matching with network: fastgan or one of your own, augment, or g_weight: orthogonal",
        lambda s: (
            s.g_loss == "feature_matching"
            and (s.network == "fastgan" or ":" in s.network or bool(s.augment) or s.g_weight == "orthogonal")
        ),
        "G is then trained by D's features alone, which such a D does not show",
    ),
    Rule(
        48,
        "deny",
        "condition: sgan or objective: supervised with d_batching: joint, drift, d_loss_weight, orthogonal or growth",
        lambda s: _shows_budget(s) and _unread(s),
        "each of SGAN's steps is on one batch, with one loss",
    ),
    Rule(
        49,
        "deny",
        "train.labelled_steps without condition: sgan or objective: supervised",
        lambda s: s.train.labelled_steps is not None and not _shows_budget(s),
        "no step is on labelled images",
    ),
)

"""The validity table: each row by its number, and the sizes that networks make."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import rulebook, rules, sizes
from bench.setting import resolve

LEGAL = {"g_norm": "bn", "d_norm": "none", "loss": "nonsaturating", "train.batch": 64}


def verdicts(**knobs):
    settings = {key.replace("__", "."): value for key, value in knobs.items()}
    return {(verdict.number, verdict.kind) for verdict in rules.verdicts(resolve(LEGAL, settings))}


GROWS = {"growth": True, "network": "progan"}
IMAGE = {"style_source": "image", "g_norm": "adain"}
FASTGAN = {"network": "fastgan", "data__size": 64}

PENALTIES = ("gp", "gp0", "r1", "r2", "r1r2", "dragan")
GAINLESS = {"loss": "wasserstein", "d_weight": "weight", "d_norm_affine": False}
BF16 = {"train__precision": "bf16"}
PAIRS = {"network": "unet", "data__pairs": "edges"}

# Each row of the published table that the present settings can meet, with a neighbour that it does not cover.
ROWS = [
    (1, "deny", {"d_norm": "bn", "penalty": "gp"}, {"d_norm": "ln", "penalty": "gp"}),
    (1, "deny", {"d_norm": "bn", "penalty": "r1"}, {"d_norm": "bn", "penalty": "none"}),
    *((1, "deny", {"d_norm": "bn", "penalty": p}, {"d_norm": "gn", "penalty": p}) for p in PENALTIES),
    (3, "warn", {"d_norm": "in", "penalty": "gp"}, {"d_norm": "in"}),
    *((3, "warn", {"d_norm": "in", "penalty": p}, {"d_norm": "ln", "penalty": p}) for p in PENALTIES),
    (4, "warn", {"d_norm": "bn", "d_weight": "spectral"}, {"g_norm": "bn", "d_weight": "spectral"}),
    (4, "warn", {"d_norm": "mylab:Norm", "d_weight": "spectral"}, {"d_norm": "mylab:Norm"}),
    (5, "warn", {"equalized": True, "d_weight": "spectral"}, {"equalized": True}),
    (5, "warn", {"equalized": True, "g_weight": "spectral"}, {"g_weight": "spectral"}),
    (6, "deny", {"penalty": "clip", "d_weight": "spectral"}, {"penalty": "clip", "g_weight": "spectral"}),
    (6, "deny", {"penalty": "clip", "equalized": True}, {"penalty": "gp", "equalized": True}),
    (6, "deny", {"penalty": "clip", "d_weight": "weight"}, {"penalty": "clip", "d_weight": "orthogonal"}),
    (8, "deny", {"loss": "wasserstein"}, {"loss": "wasserstein", "penalty": "clip"}),
    (8, "deny", {"loss": "wasserstein", "d_weight": "weight"}, {"loss": "leastsquares", "d_weight": "weight"}),
    (8, "deny", {"loss": "wasserstein", "d_weight": "weight"}, GAINLESS),
    (8, "deny", {"loss": "wasserstein"}, {"loss": "wasserstein", "d_weight": "orthogonal"}),
    (8, "deny", {"loss": "wasserstein"}, {"loss": "wasserstein", "penalty": "dragan"}),
    (8, "deny", {"loss": "wasserstein"}, {"loss": "wasserstein", "d_weight": "spectral"}),
    (9, "warn", {"loss": "wasserstein", "d_weight": "spectral"}, {"loss": "hinge", "d_weight": "spectral"}),
    (11, "warn", {"pixel_norm": True, "g_norm": "adain"}, {"pixel_norm": True, "g_norm": "none"}),
    (12, "deny", {"network": "sndcgan", "data__size": 8, "g_norm": "in"}, {"network": "sndcgan", "data__size": 8}),
    (12, "warn", {"network": "sndcgan", "data__size": 16, "d_norm": "in"}, {"d_norm": "in", "data__size": 16}),
    (14, "warn", {"train__batch": 1}, {"train__batch": 1, "g_norm": "in"}),
    (14, "deny", {"train__batch": 1, "network": "sndcgan", "data__size": 8}, {"train__batch": 1}),
    (15, "warn", {"equalized": True, "train__lr": 1e-4}, {"equalized": True, "train__lr": 1e-3}),
    (16, "deny", {"growth": True}, {"growth": True, "network": "progan"}),
    (16, "deny", {**GROWS, "sle": "add"}, {"network": "progan", "sle": "add"}),
    (17, "deny", {"mbstd": 4, "train__batch": 18}, {"mbstd": 4, "train__batch": 16}),
    (17, "deny", {**GROWS, "mbstd": 4, "growth_batches": [16, 6]}, {**GROWS, "mbstd": 4, "growth_batches": [16, 8]}),
    (17, "deny", {"mbstd": "all", "train__batch": 1}, {"mbstd": "all", "train__batch": 7}),
    (17, "deny", {"mbstd": 16, "train__batch": 24}, {"mbstd": 8, "train__batch": 24, "train__world_size": 4}),
    (24, "deny", {**FASTGAN, "decoders": "part", "d_batching": "joint"}, {**FASTGAN, "decoders": "part"}),
    (25, "deny", {"data__size": 48}, {"data__size": 48, "network": "sndcgan"}),
    (26, "deny", {"train__world_size": 3}, {"train__world_size": 4}),
    (26, "deny", {"train__world_size": 2, "train__g_batch": 33}, {"train__world_size": 2, "train__g_batch": 32}),
    (26, "deny", {**GROWS, "growth_batches": [8, 6], "train__world_size": 4}, {**GROWS, "train__world_size": 4}),
    (61, "deny", {"penalty_every": 4, "penalty": "clip"}, {"penalty_every": 4, "penalty": "r1"}),
    (61, "deny", {"penalty_every": 2}, {"penalty_every": 2, "penalty": "gp"}),
    (62, "deny", {"train__penalty_precision": "tf32"}, {**BF16, "train__penalty_precision": "tf32"}),
    (60, "warn", {"train__world_size": 2, "g_norm": "lab:Norm"}, {"train__world_size": 2}),
    (60, "warn", {"train__world_size": 2, "loss": "lab:Loss"}, {"loss": "lab:Loss"}),
    (59, "warn", {"train__sync_bn": False}, {"train__sync_bn": False, "train__world_size": 2}),
    (59, "warn", {"train__sync_bn": False, "g_norm": "in", "train__world_size": 2}, {"train__world_size": 2}),
    (14, "warn", {"train__batch": 2, "train__world_size": 2, "train__sync_bn": False}, {"train__batch": 2}),
    (14, "warn", {"train__batch": 1}, {"train__batch": 2, "train__world_size": 2}),
    (35, "deny", {"style_source": "mapping"}, {"style_source": "mapping", "g_norm": "adain"}),
    (35, "deny", {"style_source": "image", "g_norm": "in"}, {"style_source": "image", "g_norm": "selfmod_bn"}),
    (36, "deny", {**IMAGE, "condition": "concat"}, IMAGE),
    (36, "deny", {**IMAGE, "network": "mlp"}, {**IMAGE, "network": "resnet"}),
    (36, "deny", {**IMAGE, "g_loss": "feature_matching"}, {"g_norm": "adain", "g_loss": "feature_matching"}),
    (37, "deny", {"network": "mlp", "sle": "add"}, {"network": "mlp"}),
    (38, "warn", {"kernel": 5, "network": "sndcgan"}, {"kernel": 5}),
    (38, "warn", {"g_dropout": 0.5}, {"g_dropout": 0.5, "network": "mlp"}),
    (38, "warn", {"d_pool": "mean"}, {"d_pool": "mean", "network": "mylab:Net"}),
    (27, "warn", {"g_norm": "adain"}, {"g_norm": "adain", "g_input_norm": "bn"}),
    (29, "warn", {"equalized": True, "d_weight": "weight"}, {"equalized": True, "d_weight": "spectral"}),
    (29, "warn", {"equalized": True, "g_weight": "weight"}, {"g_weight": "weight"}),
    (30, "deny", {"loss": "relativistic", "train__g_batch": 32}, {"loss": "relativistic", "train__g_batch": 64}),
    (
        30,
        "deny",
        {"loss": "relativistic", "train__g_batch": 32},
        {"loss": "relativistic_average", "train__g_batch": 32},
    ),
    (31, "deny", {"network": "lab:Net", "condition": "acgan"}, {"network": "lab:Net", "condition": "concat"}),
    (31, "deny", {"network": "lab:Net", "objective": "supervised"}, {"network": "lab:Net"}),
    (32, "deny", {"g_norm": "cbn"}, {"g_norm": "cbn", "condition": "projection"}),
    (33, "warn", {"penalty": "clip"}, {"penalty": "clip", "train__optimizer": "rmsprop"}),
    (33, "warn", {"penalty": "clip"}, {"penalty": "clip", "train__betas": [0, 0.9]}),
    (40, "deny", {**GROWS, "data__size": 16, "growth_start": 16}, {**GROWS, "data__size": 16, "growth_start": 8}),
    # 4 to 32 px are three steps up, each of 600 kimg at full strength and 600 of fading.
    (41, "warn", {**GROWS, "train__kimg": 3600}, {**GROWS, "train__kimg": 3601}),
    (41, "warn", {**GROWS, "train__g_steps": 56_250}, {**GROWS, "train__g_steps": 56_251}),
    (43, "deny", {**GROWS, "condition": "embed_mul"}, {**GROWS, "condition": "concat"}),
    (42, "deny", {"mbdiscrimination": 4, "train__batch": 1}, {"mbdiscrimination": 4, "train__batch": 2}),
    (55, "deny", {"decoders": "both"}, {**FASTGAN, "decoders": "both"}),
    (55, "deny", {"d_sle": "add"}, {**FASTGAN, "d_sle": "add"}),
    (56, "deny", {"hinge_jitter": 0.2}, {"hinge_jitter": 0.2, "loss": "hinge"}),
    (56, "deny", {"hinge_jitter": 0.2, "loss": "hinge", "network": "unet"}, {"loss": "hinge", "network": "unet"}),
    (57, "deny", {"augment": ["color"], "condition": "sgan"}, {"condition": "sgan"}),
    (57, "deny", {"augment": ["color"], "data__pairs": "edges"}, {"augment": ["color"]}),
    (58, "deny", {**FASTGAN, "condition": "projection"}, {**FASTGAN}),
    (17, "deny", {**PAIRS, "mbstd": 4}, {"mbstd": 4}),
    (17, "deny", {**PAIRS, "mbdiscrimination": 4}, {"mbdiscrimination": 4}),
    (50, "deny", {"network": "unet"}, {**PAIRS}),
    (50, "deny", {"data__pairs": "edges"}, {"data__pairs": "edges", "network": "lab:Net"}),
    (51, "deny", {**PAIRS, "condition": "concat"}, {"condition": "concat"}),
    (51, "deny", {**PAIRS, "train__g_batch": 128}, {**PAIRS, "train__g_batch": 64}),
    (51, "deny", {**PAIRS, "style_source": "image"}, {**PAIRS, "style_source": "mapping"}),
    (51, "deny", {**PAIRS, "g_loss": "feature_matching"}, {"g_loss": "feature_matching"}),
    (52, "deny", {**PAIRS, "data__size": 64, "patch": 286}, {**PAIRS, "data__size": 128, "patch": 286}),
    (52, "deny", {**PAIRS, "data__size": 32, "patch": 142}, {**PAIRS, "data__size": 32, "patch": 70}),
    (53, "deny", {"l1_weight": 100.0}, {**PAIRS, "l1_weight": 100.0}),
    (53, "deny", {"gan_weight": 0.0}, {**PAIRS, "gan_weight": 0.0, "l1_weight": 1.0}),
    (53, "deny", {**PAIRS, "gan_weight": 0.0}, {**PAIRS}),
    (54, "warn", {"train__batch": 1}, {"train__batch": 1, "sample_stats": "batch"}),
    (18, "deny", {"condition": "sgan", "loss": "hinge"}, {"condition": "acgan", "loss": "hinge"}),
    (18, "deny", {"condition": "sgan", "penalty": "gp"}, {"condition": "sgan", "loss": "minimax"}),
    (21, "deny", {"condition": "acgan", "data__classes": 1}, {"condition": "projection", "data__classes": 1}),
    (21, "deny", {"objective": "supervised", "data__classes": 1}, {"objective": "supervised", "data__classes": 2}),
    (45, "deny", {"data__labels": 10}, {"data__labels": 10, "objective": "supervised"}),
    (45, "deny", {"data__labels": 10, "condition": "acgan"}, {"data__labels": 10, "condition": "sgan"}),
    (46, "deny", {"objective": "supervised", "condition": "sgan"}, {"objective": "supervised"}),
    (46, "deny", {"objective": "supervised", "penalty": "r1"}, {"penalty": "r1"}),
    (47, "deny", {"g_loss": "feature_matching", "network": "lab:Net"}, {"g_loss": "feature_matching"}),
    (47, "deny", {"g_loss": "feature_matching", "augment": ["color"]}, {"augment": ["color"]}),
    (48, "deny", {"condition": "sgan", "d_batching": "joint"}, {"d_batching": "joint"}),
    (48, "deny", {"objective": "supervised", "d_weight": "orthogonal"}, {"d_weight": "orthogonal"}),
    (49, "deny", {"train__labelled_steps": 9}, {"train__labelled_steps": 9, "condition": "sgan"}),
    (54, "warn", {"train__batch": 1}, {"train__batch": 1, "g_norm": "in"}),
]


@pytest.mark.parametrize(("number", "kind", "covered", "neighbour"), ROWS)
def test_row(number, kind, covered, neighbour):
    assert (number, kind) in verdicts(**covered)
    assert (number, kind) not in verdicts(**neighbour)


def test_every_rule_has_its_row_here():
    assert {(rule.number, rule.kind) for rule in rules.RULES} == {(number, kind) for number, kind, *_ in ROWS}


def test_every_number_of_the_literature_table_has_a_row_or_a_reason_for_none():
    numbers = {rule.number for rule in rules.RULES}
    assert numbers | rulebook.WITHOUT_ROW.keys() >= set(range(1, 25))
    assert not numbers & rulebook.WITHOUT_ROW.keys()


def test_the_docs_have_the_table_as_it_is():
    page = Path(__file__).parent.parent / "docs" / "rules.md"
    assert page.read_text() == rulebook.markdown(), "make rules"


def test_the_command_lists_every_rule_without_a_study():
    command = [sys.executable, "-m", "bench.run", "--rules"]
    said = " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    for rule in rules.RULES:
        assert f"{rule.number} {rule.kind} {rule.what.split()[0]}" in said


def test_what_the_papers_ran_is_legal():
    """WGAN clips with batch norm in D; Kwak & Ko use spectral norm and the penalty; ProGAN mbstd and the penalty."""
    wgan = {"loss": "wasserstein", "penalty": "clip", "d_norm": "bn", "train__optimizer": "rmsprop"}
    kwak_ko = {"loss": "wasserstein", "penalty": "gp", "d_weight": "spectral", "g_norm": "adain", "g_input_norm": "bn"}
    progan = {"loss": "wasserstein", "penalty": "gp", "mbstd": 4, "pixel_norm": True, "g_norm": "none"}
    for paper in (wgan, kwak_ko, progan):
        assert verdicts(**paper) == set()


@pytest.mark.parametrize(
    ("network", "size", "offered"),
    [("dcgan", 48, "32 or 64"), ("dcgan", 24, "16 or 28"), ("dcgan", 8, "mean 16?"), ("sndcgan", 30, "24 or 32")],
)
def test_a_size_that_cannot_be_made_comes_with_the_nearest_that_can(network, size, offered):
    message = sizes.size_mistake(network, size)
    assert message is not None
    assert f"{size} px" in message
    assert offered in message


def test_sizes_follow_from_halving():
    """DCGAN's D halves the side until it is 4, at least twice (28 has a net of its own); SNDCGAN's halves it thrice."""
    for size in range(1, 1025):
        halved, times = size, 0
        while halved % 2 == 0 and halved > 4:
            halved, times = halved // 2, times + 1
        assert sizes.makes("dcgan", size) == (size == 28 or (halved == 4 and times >= 2))
        assert sizes.makes("sndcgan", size) == (size / 8 == size // 8)
        for network in ("dcgan", "sndcgan"):
            message = sizes.size_mistake(network, size)
            assert (message is None) == sizes.makes(network, size)
            offered = re.findall(r"\d+", (message or "").partition("did you mean")[2])
            assert all(sizes.makes(network, int(other)) for other in offered)
            assert offered or message is None

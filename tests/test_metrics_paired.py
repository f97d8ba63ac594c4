"""What outputs owe to their inputs, how sharp they are, and paired scores against scikit-image."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bench import score
from bench.metrics.failure import MetricError
from bench.metrics.paired import edge_energy, inputs_of, l1, variance, variances
from bench.metrics.suite import SCORERS, Side, floor
from bench.protocol import METRICS, Evaluate, askable, measure, requests
from bench.setting import Data, resolve

PAIRED = {name for name, metric in METRICS.items() if metric.of == "targets"}
SETTINGS = {"fakes": 24, "seed": 0, "batch": 8, "part": "test"}


def images(n: int, seed: int = 0, size: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def side(pixels: torch.Tensor, targets: torch.Tensor | None = None, *, real: bool = False) -> Side:
    return Side(pixels, lambda settings: SimpleNamespace(), real=real, targets=targets)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("n", "inputs", "expected"),
    [
        (6, 3, [0, 1, 2, 0, 1, 2]),
        (7, 3, [0, 1, 2, 0, 1, 2, 0]),
        (6, 100, [0, 1, 2, 0, 1, 2]),
        (7, 100, [0, 1, 2, 0, 1, 2, 0]),
        (2, 5, [0, 0]),
    ],
)
def test_inputs_come_in_turn_and_twice_at_least(n, inputs, expected):
    assert inputs_of(n, inputs).tolist() == expected


def test_paired_scores_are_scikit_images_over_each_output_and_its_target():
    reals, rows = images(10, 1), inputs_of(12, 10)
    outputs = (reals[rows].int() + torch.randint(-40, 40, (12, 3, 16, 16))).clamp(0, 255).to(torch.uint8)
    pairs = [(reals[row].permute(1, 2, 0).numpy(), outputs[i].permute(1, 2, 0).numpy()) for i, row in enumerate(rows)]
    got = {name: SCORERS[name](side(reals, real=True), side(outputs, rows), SETTINGS).values[name] for name in PAIRED}
    assert got["l1"] == pytest.approx(np.mean([np.abs(a.astype(float) - b).mean() for a, b in pairs]))
    assert got["psnr"] == pytest.approx(np.mean([peak_signal_noise_ratio(a, b) for a, b in pairs]))
    known = [
        structural_similarity(
            a, b, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )[1][5:-5, 5:-5].mean()
        for a, b in pairs
    ]
    assert got["ssim"] == pytest.approx(np.mean(known), abs=1e-5)


def test_without_pairs_paired_scores_have_a_reason_and_no_floor():
    reals = side(images(10, 1), real=True)
    for name in PAIRED:
        with pytest.raises(MetricError, match="takes pairs"):
            SCORERS[name](reals, side(images(24)), SETTINGS)
        assert floor(name, reals, SETTINGS) == {}


def test_a_run_without_pairs_is_not_asked_for_them():
    assert {"l1", "psnr", "ssim", "input_dependence"} == PAIRED
    asked = ["swd", *sorted(PAIRED), "edge_energy"]
    assert askable(asked, resolve({})) == ["swd", "edge_energy"]
    assert askable(asked, resolve({"data.pairs": "edges"})) == asked


def test_components_of_variance_are_those_that_were_put_in():
    """Output = input's own value N(0, a) + draw's N(0, b), in grey levels: both components come back, on average."""
    generator = torch.Generator().manual_seed(0)
    rows = inputs_of(240, 60)
    own = 20 * torch.randn(60, 1, 40, 40, generator=generator)
    drawn = 10 * torch.randn(240, 1, 40, 40, generator=generator)
    outputs = (128 + own[rows] + drawn).round().clamp(0, 255).to(torch.uint8)
    across, within = variances(outputs, rows)
    assert across == pytest.approx(400, rel=0.02)  # 60 inputs × 1600 pixels: standard error 0.5 %
    assert within == pytest.approx(100, rel=0.02)
    assert variance(outputs[:60]) == pytest.approx(500, rel=0.02)


def test_g_that_ignores_its_input_depends_on_nothing_and_one_that_copies_targets_on_all():
    reals, rows = images(30, 1), inputs_of(60, 30)
    score = SCORERS["input_dependence"]
    real = side(reals, real=True)
    copied = score(real, side(reals[rows], rows), SETTINGS).values
    assert copied == {"input_dependence": pytest.approx(1.0), "dropout_variance": 0.0}
    noise = score(real, side(images(60, 2), rows), SETTINGS).values
    assert noise["input_dependence"] == pytest.approx(0.0, abs=0.05)
    assert noise["dropout_variance"] == pytest.approx(1.0, abs=0.05)
    same = score(real, side(images(1, 3).repeat(60, 1, 1, 1), rows), SETTINGS).values
    assert same == {"input_dependence": 0.0, "dropout_variance": 0.0}
    with pytest.raises(MetricError, match="too few"):
        score(real, side(reals, torch.arange(30)), SETTINGS)


def test_edge_energy_of_a_ramp_is_its_slope_and_blur_lowers_it():
    ramp = (2 * torch.arange(16)[None, :] + torch.arange(16)[:, None]).to(torch.uint8).expand(3, 1, 16, 16)
    assert edge_energy(ramp) == pytest.approx(5**0.5)
    sharp = images(8)
    blurred = torch.nn.functional.avg_pool2d(sharp.float(), 3, 1, 1).round().to(torch.uint8)
    score = SCORERS["edge_energy"]
    assert score(side(sharp, real=True), side(sharp), SETTINGS).values == {"edge_energy": 1.0}
    assert score(side(sharp, real=True), side(blurred), SETTINGS).values["edge_energy"] < 0.6


def test_the_way_outputs_and_targets_are_matched_is_in_what_a_study_asks():
    data = Data(name="faces", size=32, pairs="edges", fingerprint="f", channels=1)
    asked = Evaluate(fakes=24, part="test")
    shape = SimpleNamespace(channels=1, classes=())
    plain = requests(("l1",), asked, data.model_copy(update={"pairs": "none"}), "run", "1", shape)
    paired = requests(("l1",), asked, data, "run", "1", shape)
    assert plain[0].id != paired[0].id
    assert (measure("dropout_variance").label, measure("l1").unit) == (
        "variance across dropout over the targets'",
        "grey levels",
    )


def test_two_folders_of_equal_size_are_pairs_in_the_order_of_their_names(tmp_path, capsys):
    reals, fakes = images(6, 1), images(6, 2)
    for place, pixels in (("reals", reals), ("fakes", fakes)):
        (tmp_path / place).mkdir()
        for i, image in enumerate(pixels):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / place / f"{i}.png")
    asked = [str(tmp_path / "reals"), str(tmp_path / "fakes"), "--metrics", "l1", "--json"]
    assert score.main(asked) == 0
    (record,) = json.loads(capsys.readouterr().out)["scores"]
    assert record["values"]["l1"] == pytest.approx(float(l1(reals, fakes).mean()))
    (tmp_path / "fakes" / "5.png").unlink()
    assert score.main(asked) == 2
    assert "as many images in both sets" in capsys.readouterr().err

"""Inception score, KID and precision to coverage, from features."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from bench.metrics import MetricError, agreement, inception_score, kernel_distance, modes, prdc, reverse_kl
from bench.metrics.nearest import nearest_distance

RNG = np.random.default_rng(20160610)


def test_a_constant_classifier_scores_one():
    mean, sd = inception_score(np.tile(RNG.standard_normal(7), (100, 1)))
    assert mean == pytest.approx(1.0, abs=1e-12)
    assert sd == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 10])
def test_sure_and_even_predictions_score_the_number_of_classes(classes):
    logits = 2000.0 * np.eye(classes)[np.arange(20 * classes) % classes]
    assert inception_score(logits, 10) == pytest.approx((classes, 0.0), abs=1e-9)


def test_splits_are_contiguous_and_their_sd_is_of_the_population():
    """First half all one class, second half two classes evenly: 1 and 2, mean 1.5, population sd 0.5."""
    labels = np.concatenate([np.zeros(10, int), np.arange(10) % 2])
    assert inception_score(2000.0 * np.eye(3)[labels], 2) == pytest.approx((1.5, 0.5), abs=1e-9)


def test_equals_the_textbook_sum_on_soft_predictions():
    logits = RNG.standard_normal((60, 5))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = [
        np.exp(np.mean([(row * (np.log(row) - np.log(part.mean(axis=0)))).sum() for row in part]))
        for part in np.split(p, 3)
    ]
    assert inception_score(logits, 3) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-12)


def test_inception_score_needs_an_image_a_split():
    with pytest.raises(MetricError, match="10 splits"):
        inception_score(np.zeros((9, 3)))


def test_kid_of_a_full_subset_is_the_unbiased_estimate_summed_pair_by_pair():
    real, fake = RNG.standard_normal((12, 3)), RNG.standard_normal((12, 3)) + 0.5

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    within = sum(np.mean([kernel(a, b) for a, b in itertools.permutations(s, 2)]) for s in (real, fake))
    between = np.mean([kernel(a, b) for a in real for b in fake])
    mean, sd = kernel_distance(real, fake, np.random.default_rng(0), subsets=4, size=12)
    assert mean == pytest.approx(within - 2 * between, rel=1e-12)
    assert sd == pytest.approx(0.0, abs=1e-12)


def test_kid_is_unbiased():
    """Two samples of one distribution: the mean over subsets scatters about 0, below its value for a shifted set."""
    real, same = RNG.standard_normal((2, 3000, 4))
    mean, sd = kernel_distance(real, same, np.random.default_rng(1), subsets=50, size=100)
    shifted, _ = kernel_distance(real, same + 0.5, np.random.default_rng(1), subsets=50, size=100)
    assert abs(mean) < 4 * sd / np.sqrt(50)
    assert shifted > 10 * sd / np.sqrt(50)


def test_kid_is_drawn_by_its_generator_alone():
    real, fake = RNG.standard_normal((2, 50, 4))
    first = kernel_distance(real, fake, np.random.default_rng(5), 10, 20)
    assert first == kernel_distance(real, fake, np.random.default_rng(5), 10, 20)
    assert first != kernel_distance(real, fake, np.random.default_rng(6), 10, 20)
    with pytest.raises(MetricError, match="two images"):
        kernel_distance(real[:1], fake, np.random.default_rng(0))


def test_prdc_on_a_line_by_hand():
    """k = 1.  Reals 0, 1, 10: radii 1, 1, 9.  Fakes 0.5, 0.9, 30: radii 0.4, 0.4, 29.1."""
    found = prdc(np.array([[0.0], [1.0], [10.0]]), np.array([[0.5], [0.9], [30.0]]), k=1)
    # 0.5 lies in the balls of 0 and 1 (10 reaches down to 1, strictly); so does 0.9; 30 lies in none.
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["density"] == pytest.approx(4 / 3)
    assert found["coverage"] == pytest.approx(2 / 3)
    # 1 is 0.1 from 0.9 and 10 is 20 from 30; 0 is 0.5 from 0.5 and 30 from 30, beyond both radii.
    assert found["recall"] == pytest.approx(2 / 3)


def test_prdc_tells_lost_modes_from_bad_images():
    modes = np.repeat(np.eye(4) * 20, 50, axis=0)
    real = modes + RNG.standard_normal(modes.shape)
    fake = modes + RNG.standard_normal(modes.shape)
    both, lost, bad = prdc(real, fake), prdc(real, fake[:100]), prdc(real, fake + 100)
    assert both["precision"] > 0.8
    assert both["recall"] > 0.8
    assert lost["precision"] > 0.8
    assert lost["recall"] < 0.6
    assert lost["coverage"] < 0.6
    assert bad == {"precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0}
    with pytest.raises(MetricError, match="k = 5"):
        prdc(real, fake[:5])


@pytest.mark.parametrize("sizes", [(40, 30), (200, 30), (200, 180)], ids=["whole kernels", "mixed", "by subset"])
def test_kid_over_subsets_is_the_mean_of_its_subsets(sizes, monkeypatch):
    """Whether kernels are made whole, in tiles, or subset by subset."""
    monkeypatch.setattr("bench.metrics.kid.TILE", 16)
    real, fake = RNG.standard_normal((sizes[0], 3)), RNG.standard_normal((sizes[1], 3)) + 0.5
    rng, each = np.random.default_rng(3), []
    for _ in range(8):
        x, y = (s[rng.choice(len(s), 20, replace=False)] for s in (real, fake))
        each.append(kernel_distance(x, y, np.random.default_rng(0), 1, 20)[0])
    found = kernel_distance(real, fake, np.random.default_rng(3), 8, 20)
    assert found == pytest.approx((np.mean(each), np.std(each)), rel=1e-9)


def test_kid_of_a_set_with_itself_draws_two_subsets():
    """The same array on both sides is not the same subset on both sides."""
    real = RNG.standard_normal((60, 4))
    apart = kernel_distance(real, real.copy(), np.random.default_rng(0), 5, 20)
    assert kernel_distance(real, real, np.random.default_rng(0), 5, 20) == pytest.approx(apart, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(50, 70), (33, 16), (7, 100)])
def test_prdc_in_tiles_is_prdc_at_once(n, m, monkeypatch):
    real, fake = RNG.standard_normal((n, 3)), RNG.standard_normal((m, 3)) + 0.3
    whole = prdc(real, fake, 4)
    monkeypatch.setattr(sys.modules["bench.metrics.prdc"], "TILE", 16)
    assert prdc(real, fake, 4) == whole


def test_collapsed_fakes_have_no_balls():
    real = RNG.standard_normal((40, 3))
    found = prdc(real, np.tile(real[:1], (40, 1)))
    assert (found["precision"], found["recall"]) == (1.0, 0.0)
    assert found["coverage"] == pytest.approx(found["density"] * 5 / 40)


def test_nearest_on_a_line_by_hand(monkeypatch):
    """Reals 0, 1, 3 are 1, 1 and 2 from their nearest other; fakes 0 and 3.5 are 0 and 0.5 from their nearest real."""
    real, fake = np.array([[0.0], [1.0], [3.0]]), np.array([[0.0], [3.5]])
    assert nearest_distance(real, fake) == pytest.approx(0.25 / (4 / 3), rel=1e-12)
    assert nearest_distance(real, real[::-1]) == 0
    monkeypatch.setattr(sys.modules["bench.metrics.prdc"], "TILE", 2)
    assert nearest_distance(real, fake) == pytest.approx(0.25 / (4 / 3), rel=1e-12)


def test_nearest_of_held_out_reals_is_one():
    draw = np.random.default_rng(7).standard_normal
    assert nearest_distance(draw((1500, 6)), draw((1500, 6))) == pytest.approx(1, abs=0.03)
    assert nearest_distance(draw((1500, 6)), 3 * draw((1500, 6))) > 2


def test_nearest_wants_two_unlike_reals():
    with pytest.raises(MetricError, match="two of them"):
        nearest_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(MetricError, match="copies of each other"):
        nearest_distance(np.ones((4, 3)), np.zeros((5, 3)))


def test_modes_and_reverse_kl_by_hand():
    real = np.repeat(np.arange(4), 25)
    assert modes(real) == 4
    assert modes(np.array([7, 7, 2])) == 2
    assert reverse_kl(real, real, 4) == 0
    # All fakes in one of four even classes: log 4; in two: log 2.
    assert reverse_kl(real, np.zeros(10, int), 4) == pytest.approx(np.log(4))
    assert reverse_kl(real, np.array([0, 3]), 4) == pytest.approx(np.log(2))
    # 3/4 log(3/4 : 1/2) + 1/4 log(1/4 : 1/2)
    expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert reverse_kl(np.array([0, 1]), np.array([0, 0, 0, 1]), 2) == pytest.approx(expected)
    assert reverse_kl(real, np.array([0, 3]), 4) == pytest.approx(
        scipy.stats.entropy([0.5, 0, 0, 0.5], [0.25] * 4), rel=1e-12
    )
    with pytest.raises(MetricError, match="class 3"):
        reverse_kl(np.array([0, 1, 2]), np.array([3]), 4)
    with pytest.raises(MetricError, match="each set"):
        reverse_kl(real, np.zeros(0, int), 4)


def test_agreement_is_the_share_taken_for_what_was_asked():
    logits = np.array([[2.0, 1.0], [0.0, 5.0], [1.0, 0.0], [0.0, 1.0]])
    assert agreement(logits, np.array([0, 1, 1, 1])) == 0.75
    with pytest.raises(MetricError, match="4 images, 1 classes"):
        agreement(logits, np.array([0]))


NUMBERS = """
import sys, numpy as np, torch
torch.set_num_threads(int(sys.argv[1]))
from bench.metrics import *
rng = np.random.default_rng(7)
a, b = rng.standard_normal((1200, 160)).astype(np.float32), rng.standard_normal((900, 160)).astype(np.float32) + 0.1
found = [frechet_distance(with_root(gaussian(a)), gaussian(b)), frechet_distance(gaussian(a[:90]), gaussian(b))]
found += [frechet_infinity(with_root(gaussian(a)), b, np.random.default_rng(0), 5)]
found += [*kernel_distance(a, b, np.random.default_rng(0), 3, 400), *inception_score(a), *prdc(a, b).values()]
images = torch.from_numpy(rng.integers(0, 256, (2, 20, 3, 32, 32), dtype=np.uint8))
found += [*swd(*images).values(), *ms_ssim(*images).tolist(), colour_distance(*map(colour_moments, images))]
print(" ".join(float(value).hex() for value in found))
"""


def numbers(threads: int) -> list[float]:
    environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))}
    command = [sys.executable, "-c", NUMBERS, str(threads)]
    shown = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    return [float.fromhex(value) for value in shown.split()]


def test_threads_do_not_change_numbers_and_nothing_changes_bytes():
    """Fresh processes with one and two threads of torch, OpenMP and BLAS: 1e-12 relative; once more: the same bits."""
    one = numbers(1)
    assert numbers(1) == one
    assert numbers(2) == pytest.approx(one, rel=1e-12)

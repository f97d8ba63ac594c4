"""Inception score, KID and precision to coverage, from features."""

import itertools

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from bench.metrics import MetricError, frechet_distance, gaussian, inception_score, kernel_distance, prdc, with_root

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


def test_threads_do_not_change_numbers():
    """The same features under one and two BLAS threads: 1e-12 relative."""
    a, b = RNG.standard_normal((1200, 160)), RNG.standard_normal((900, 160)) + 0.1
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            distance = frechet_distance(with_root(gaussian(a)), gaussian(b))
            kernel = kernel_distance(a, b, np.random.default_rng(0), 3, 400)
            found.append([distance, *kernel, *inception_score(a), *prdc(a, b).values()])
    assert found[0] == pytest.approx(found[1], rel=1e-12)

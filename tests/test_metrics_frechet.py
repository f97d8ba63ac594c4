"""Fréchet distance: closed forms, SciPy's sqrtm, eigenvalues of the product, and the ill-conditioned cases."""

import numpy as np
import pytest
import scipy.linalg

from bench.metrics import Gaussian, MetricError, frechet_distance, frechet_infinity, gaussian, with_root

RNG = np.random.default_rng(20170626)


def exact_moments(n: int, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Features whose sample mean and covariance (n − 1) are exactly these."""
    raw = RNG.standard_normal((n, len(mean)))
    raw -= raw.mean(axis=0)
    whitened = raw @ np.linalg.inv(np.linalg.cholesky(raw.T @ raw / (n - 1))).T
    return whitened @ np.linalg.cholesky(covariance).T + mean


def random_covariance(d: int, smallest: float = 0.1) -> np.ndarray:
    basis, _ = np.linalg.qr(RNG.standard_normal((d, d)))
    return basis * np.linspace(smallest, 2.0, d) @ basis.T


def test_diagonal_gaussians_have_the_closed_form():
    sd_a, sd_b = np.array([0.5, 1.0, 3.0]), np.array([2.0, 1.0, 0.25])
    mean_a, mean_b = np.array([1.0, -2.0, 0.0]), np.array([0.0, 2.0, 5.0])
    a, b = exact_moments(50, mean_a, np.diag(sd_a**2)), exact_moments(80, mean_b, np.diag(sd_b**2))
    expected = ((mean_a - mean_b) ** 2).sum() + ((sd_a - sd_b) ** 2).sum()
    assert frechet_distance(gaussian(a), gaussian(b)) == pytest.approx(expected, rel=1e-12)


def test_equal_covariances_leave_the_distance_of_the_means():
    covariance = random_covariance(6)
    shift = np.arange(6.0)
    a = exact_moments(40, np.zeros(6), covariance)
    assert frechet_distance(gaussian(a), gaussian(a + shift)) == pytest.approx((shift**2).sum(), rel=1e-12)


def test_scaling_features_scales_the_distance_by_its_square():
    a, b = RNG.standard_normal((60, 8)), RNG.standard_normal((70, 8)) * 2 + 1
    one = frechet_distance(gaussian(a), gaussian(b))
    assert frechet_distance(gaussian(3 * a), gaussian(3 * b)) == pytest.approx(9 * one, rel=1e-10)


@pytest.mark.parametrize("d", [3, 24, 100])
def test_equals_sqrtm_and_eigenvalues_of_the_product_where_those_are_sound(d):
    a = RNG.standard_normal((8 * d, d)) @ random_covariance(d)
    b = RNG.standard_normal((5 * d, d)) @ random_covariance(d) + 0.3
    s_a, s_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    base = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s_a) + np.trace(s_b)
    by_sqrtm = base - 2 * np.trace(scipy.linalg.sqrtm(s_a @ s_b)).real
    by_eigenvalues = base - 2 * np.sqrt(np.linalg.eigvals(s_a @ s_b).real).sum()
    ours = frechet_distance(with_root(gaussian(a)), gaussian(b))
    assert ours == pytest.approx(by_sqrtm, rel=1e-9)
    assert ours == pytest.approx(by_eigenvalues, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(20, 64), (64, 20), (20, 20), (33, 32), (500, 20), (20, 500)])
def test_both_routes_are_one_distance(n, m):
    """32 dimensions, fewer and more images than that; by the covariances alone, in exact rank-deficient arithmetic."""
    a, b = RNG.standard_normal((n, 32)), RNG.standard_normal((m, 32)) * 1.5 + 0.2

    def root(x):
        values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
        return vectors * np.sqrt(values.clip(0)) @ vectors.T

    trace = np.linalg.svd(root(a) @ root(b), compute_uv=False).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + a.var(0, ddof=1).sum() + b.var(0, ddof=1).sum() - 2 * trace
    assert frechet_distance(gaussian(a), gaussian(b)) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(gaussian(b), gaussian(a)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(20, 256), (40, 64), (300, 64), (64, 64), (65, 64)])
def test_a_set_is_at_zero_from_itself(n, d):
    features = RNG.standard_normal((n, d)).astype(np.float32)
    assert 0.0 <= frechet_distance(with_root(gaussian(features)), gaussian(features)) < 1e-10


def test_dead_features_add_nothing():
    """Half the features are constant: the covariance is singular with more images than dimensions."""
    features = RNG.standard_normal((400, 60)).astype(np.float32)
    features[:, 30:] = 1.0
    assert frechet_distance(gaussian(features), gaussian(features)) < 1e-10
    other = RNG.standard_normal((400, 60))
    other[:, 30:] = 1.0
    alive = frechet_distance(gaussian(features[:, :30]), gaussian(other[:, :30]))
    assert frechet_distance(gaussian(features), gaussian(other)) == pytest.approx(alive, rel=1e-9)


def test_collapsed_fakes_leave_the_reals_spread():
    real = RNG.standard_normal((100, 10))
    fake = np.tile(real.mean(axis=0) + 2.0, (50, 1))
    expected = 4.0 * 10 + real.var(axis=0, ddof=1).sum()
    assert frechet_distance(gaussian(real), gaussian(fake)) == pytest.approx(expected, rel=1e-9)


def test_order_of_images_and_rotation_of_features_change_nothing():
    a, b = RNG.standard_normal((200, 16)), RNG.gamma(2.0, size=(150, 16))
    rotation, _ = np.linalg.qr(RNG.standard_normal((16, 16)))
    one = frechet_distance(gaussian(a), gaussian(b))
    assert frechet_distance(gaussian(a[::-1]), gaussian(b)) == pytest.approx(one, rel=1e-10)
    assert frechet_distance(gaussian(a @ rotation), gaussian(b @ rotation)) == pytest.approx(one, rel=1e-10)


def test_mean_of_float32_features_is_accumulated_in_float64():
    features = np.full((50_001, 1), 0.1, dtype=np.float32)
    assert gaussian(features).mean[0] == pytest.approx(float(np.float32(0.1)), rel=1e-12)


def test_refuses_what_has_no_distance():
    with pytest.raises(MetricError, match="two images"):
        gaussian(np.zeros((1, 4)))
    with pytest.raises(MetricError, match="length 4 and 5"):
        frechet_distance(gaussian(np.eye(6)[:, :4]), gaussian(np.eye(6)[:, :5]))
    with pytest.raises(MetricError, match="not finite"):
        frechet_distance(Gaussian(3, np.array([np.nan]), None, np.eye(1)), gaussian(np.eye(3)[:, :1]))


def test_extrapolation_removes_the_bias_of_few_fakes():
    """Both sets are N(0, I₈): the distance at n is about c / n, and its limit 0."""
    reference = with_root(Gaussian(10**6, np.zeros(8), None, np.eye(8)))
    fakes = RNG.standard_normal((4000, 8))
    at_n = frechet_distance(reference, gaussian(fakes[:1000]))
    limit = frechet_infinity(reference, fakes, np.random.default_rng(0))
    assert at_n > 0.008
    assert abs(limit) < 0.003
    with pytest.raises(MetricError, match="60 fakes"):
        frechet_infinity(reference, fakes[:59], np.random.default_rng(0))

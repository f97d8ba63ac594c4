"""Our numbers against the usual packages, on the same features."""

import sys
import warnings
from unittest import mock

import numpy as np
import pytest
import scipy
import torch

from bench.metrics import frechet_distance, gaussian, inception_score, kernel_distance, prdc, with_root

RNG = np.random.default_rng(2020)
A = RNG.standard_normal((1200, 48))
B = RNG.gamma(2.0, 0.6, size=(1000, 48))
LOGITS = RNG.standard_normal((500, 10)) * 2
TORCHVISION = [f"torchvision{part}" for part in ("", ".datasets", ".transforms", ".transforms.functional")]


@pytest.fixture
def without_torchvision():
    """Both packages import it for data sets; their arithmetic does not need it, and it need not fit this torch."""
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in TORCHVISION}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_frechet_kid_and_inception_score_equal_torch_fidelity(without_torchvision):
    pytest.importorskip("torch_fidelity")
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    a, b = torch.from_numpy(A), torch.from_numpy(B)
    statistics = [fid_features_to_statistics(x) for x in (a, b)]
    fid = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(with_root(gaussian(A)), gaussian(B)) == pytest.approx(fid, rel=1e-9)

    # Their subsets come from RandomState(2020), first set first.
    kid = kid_features_to_metric(a, b, kid_subsets=20, kid_subset_size=300, verbose=False)
    ours = kernel_distance(A, B, np.random.RandomState(2020), 20, 300)
    expected = (kid["kernel_inception_distance_mean"], kid["kernel_inception_distance_std"])
    assert ours == pytest.approx(expected, rel=1e-9)

    score = isc_features_to_metric(torch.from_numpy(LOGITS), 10, shuffle=False)
    expected = (score["inception_score_mean"], score["inception_score_std"])
    assert inception_score(LOGITS, 10) == pytest.approx(expected, rel=1e-9)


def test_frechet_equals_clean_fid(without_torchvision):
    if tuple(int(part) for part in scipy.__version__.split(".")[:2]) >= (1, 18):
        pytest.skip("clean-fid's distance calls sqrtm as SciPy before 1.18 had it")
    from cleanfid.fid import frechet_distance as theirs

    moments = [(x.mean(axis=0), np.cov(x, rowvar=False)) for x in (A, B)]
    expected = theirs(*moments[0], *moments[1])
    assert frechet_distance(with_root(gaussian(A)), gaussian(B)) == pytest.approx(expected, rel=1e-9)


def test_precision_to_coverage_equal_their_authors():
    original = pytest.importorskip("prdc").compute_prdc
    near = RNG.standard_normal((900, 48)) * 0.9 + 0.1
    assert prdc(A, near, 5) == pytest.approx(original(A, near, nearest_k=5), abs=1 / 900)

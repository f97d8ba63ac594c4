"""Our numbers against the usual packages, on the same features."""

import sys
import warnings
from unittest import mock

import numpy as np
import pytest
import scipy
import torch

from bench.metrics import frechet_distance, gaussian, inception_score, kernel_distance, ms_ssim, prdc, with_root

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


def test_resize_equals_clean_fid_to_a_thousandth_of_a_grey_level(without_torchvision, tmp_path):
    """What Inception is shown, caught on its way in, against clean-fid's own resizer on the same image."""
    from cleanfid.resize import build_resizer

    from bench.metrics.inception import FILE, Inception

    POINTS = 1587  # 3 × 23 × 23

    class Layers(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * 128 + 128)[:, :, ::13, ::13].flatten(1).repeat(1, 2)[:, :2048]

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = Layers()
            self.output = torch.nn.Linear(2048, 1008)

    torch.jit.script(Net()).save(str(tmp_path / FILE))
    images = torch.randint(0, 256, (3, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for mode in ("clean", "legacy_pytorch"):
        seen, _ = Inception(tmp_path, mode)(images)
        theirs = np.stack([build_resizer(mode)(image.permute(1, 2, 0).numpy()) for image in images])
        points = theirs.transpose(0, 3, 1, 2)[:, :, ::13, ::13].reshape(3, -1)[:, :POINTS]
        assert np.abs(seen[:, :POINTS].numpy() - points).max() < 1e-3


def test_ms_ssim_of_digits_keeps_its_digits_in_float32():
    """Black background, few strokes: where a variance from squares could cancel away.  Direct sums in float64."""
    theirs = pytest.importorskip("pytorch_msssim").ms_ssim
    from sklearn.datasets import load_digits

    small = torch.from_numpy(load_digits().images[:8] * 255 / 16)[:, None]
    large = torch.nn.functional.interpolate(small, size=192, mode="nearest").round().byte()
    a, b = large[:4], large[4:]
    expected = theirs(a.double(), b.double(), data_range=255, size_average=False)
    assert ms_ssim(a, b).numpy() == pytest.approx(expected.clamp(min=0).numpy(), abs=2e-6)
    near = (a.float() * 0.9 + 12).round().byte()
    expected = theirs(a.double(), near.double(), data_range=255, size_average=False)
    assert ms_ssim(a, near).numpy() == pytest.approx(expected.numpy(), abs=2e-6)


def test_prdc_of_float32_features_far_from_zero_equals_their_authors():
    """Norms much larger than distances: squares must be float64."""
    original = pytest.importorskip("prdc").compute_prdc
    a, b = ((x[:400] + 300).astype(np.float32) for x in (A, B))
    theirs = original(a.astype(np.float64), b.astype(np.float64), nearest_k=5)
    assert prdc(a, b, 5) == pytest.approx(theirs, abs=1 / 400)

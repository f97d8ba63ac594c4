"""On a CUDA device: metrics have a CPU's numbers, and features stay where they were made.  `pytest -m gpu`."""

import pytest
import torch
from test_metrics_images import photos
from test_metrics_tensors import FAKE, FORMULAS, LABELS, LOGITS, REAL, all_scores, on

from bench.metrics import colour_moments, ms_ssim, swd

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture
def moved(monkeypatch):
    """Shapes of the CUDA tensors that are brought to the CPU while a test runs."""
    shapes = []
    cpu = torch.Tensor.cpu

    def watched(tensor):
        if tensor.is_cuda:
            shapes.append(tuple(tensor.shape))
        return cpu(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", watched)
    return shapes


@pytest.mark.parametrize("formula", FORMULAS)
def test_metrics_of_features_agree_with_the_cpu_and_move_no_features(formula, moved):
    expected = FORMULAS[formula](REAL, FAKE, LOGITS, LABELS)
    assert FORMULAS[formula](*on("cuda")) == pytest.approx(expected, rel=1e-10)
    assert all(max(shape, default=0) < len(FAKE) for shape in moved)


def test_a_study_s_scores_agree_with_the_cpu_s(tmp_path, monkeypatch):
    found, features = all_scores(tmp_path / "cuda")
    assert features.is_cuda
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    expected, _ = all_scores(tmp_path / "cpu")
    assert found == pytest.approx(expected, rel=1e-10)


def test_metrics_of_images_agree_with_the_cpu():
    a, b = photos(200, 64), photos(200, 64, seed=1)
    assert swd(a.cuda(), b.cuda()) == pytest.approx(swd(a, b), rel=1e-4)
    assert ms_ssim(a.cuda(), b.cuda()).cpu().numpy() == pytest.approx(ms_ssim(a, b).numpy(), abs=2e-6)
    assert colour_moments(a.cuda()).numpy() == pytest.approx(colour_moments(a).numpy(), rel=1e-12)

"""On two CUDA devices: two ranks by NCCL make what one makes, and make it again.  `pytest -m gpu`."""

import pytest
import torch

from bench import job
from bench.orders import Orders
from bench.stop import Stop

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="two CUDA devices are due"),
]
FORMS = {
    "penalty": {"loss": "wasserstein", "penalty": "gp", "g_norm": "none"},
    "synced_bn_mbstd": {"g_norm": "bn", "d_norm": "bn", "mbstd": 4, "d_weight": "spectral", "ema": 0.5},
    "relativistic_average": {"loss": "relativistic_average", "g_norm": "selfmod_bn", "mbdiscrimination": 3},
}


@pytest.mark.parametrize("form", FORMS)
def test_two_gpus_make_the_weights_of_one(make_run, form):
    sgd = {"train__optimizer": "sgd", "train__lr": 0.01, **FORMS[form]}
    one, orders = make_run(**sgd)
    two, _ = make_run(**sgd, train__world_size=2)
    assert [job.run(folder, Orders.read(orders), stop=Stop()) for folder in (one, two)] == [0, 0]
    for path in one.snapshots.glob("*.pt"):
        left, right = (torch.load(folder.snapshots / path.name, weights_only=True) for folder in (one, two))
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)


def test_two_gpus_make_the_same_bits_again(make_run, tmp_path):
    digests = set()
    for place in ("a", "b"):
        folder, orders = make_run(**FORMS["synced_bn_mbstd"], train__world_size=2)
        assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
        digests.add(folder.state().trained["weights"])
        folder.path.rename(tmp_path / place)
    assert len(digests) == 1

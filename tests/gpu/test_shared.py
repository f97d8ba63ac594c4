"""Runs that share a GPU: each has its part of the memory; what goes beyond is known for what it is (`-m gpu`)."""

import pytest
import torch

from bench import oom
from bench.orders import Orders
from bench.preparation import prepare_torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_share_of_the_memory_is_a_limit(tiny, tmp_path):
    device = prepare_torch(tiny(), Orders(data_root=tmp_path), gpu_share=0.02)
    try:
        whole = torch.cuda.get_device_properties(device).total_memory
        held = torch.empty(int(0.01 * whole), dtype=torch.uint8, device=device)
        with pytest.raises(torch.OutOfMemoryError) as error:
            torch.empty(int(0.03 * whole), dtype=torch.uint8, device=device)
        assert oom.told(f"{type(error.value).__name__}: {error.value}")
        del held
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

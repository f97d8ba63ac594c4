"""CUDA as a run has it: deterministic."""

import pytest
import torch


@pytest.fixture(autouse=True)
def deterministic(monkeypatch):
    """Ask torch for deterministic kernels, as `bench.preparation` does."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)

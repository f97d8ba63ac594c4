"""Draws depend on their address and on nothing else."""

from __future__ import annotations

import pytest
import torch

from bench import draws


def test_a_draw_is_its_address() -> None:
    torch.manual_seed(1)
    first = draws.normal((4, 3), 5, "z", 7)
    draws.uniform((100,), 5, "gp_alpha", 7)  # another stream between
    torch.manual_seed(2)
    assert torch.equal(first, draws.normal((4, 3), 5, "z", 7))


@pytest.mark.parametrize("other", [(6, "z", 7), (5, "data", 7), (5, "z", 8), (5, "z7", "")])
def test_another_address_is_another_draw(other: tuple[int, str, int | str]) -> None:
    same = (draws.normal((64,), 5, "z", 7) == draws.normal((64,), *other)).sum()
    assert same == 0


def test_words_do_not_run_together() -> None:
    assert draws.address(1, "ab", "c") != draws.address(1, "a", "bc")
    assert draws.address(1, 2, 3) != draws.address(1, 23)
    assert 0 <= draws.address(2**31 - 1, "init", "G.blocks.0.conv.weight") < 2**63


def test_the_global_generator_is_not_moved() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    draws.normal((10,), 0, "z", 0)
    draws.uniform((10,), 0, "z", 0)
    draws.permutation(10, 0, "data", 0)
    assert torch.equal(torch.rand(2), expected)


def test_streams_and_steps_are_independent() -> None:
    """Correlations of N independent pairs have spread 1 / sqrt(N): eight of them here, none beyond five spreads."""
    n = 20_000
    reference = draws.normal((n,), 0, "z", 0)
    others = [draws.normal((n,), 0, "z", step) for step in range(1, 5)]
    others += [draws.normal((n,), seed, "z", 0) for seed in range(1, 4)] + [draws.normal((n,), 0, "noise", 0)]
    for other in others:
        assert abs(float((reference * other).mean())) < 5 / n**0.5


def test_distributions() -> None:
    n = 40_000
    normal = draws.normal((n,), 0, "z", 0)
    assert abs(float(normal.mean())) < 5 / n**0.5
    assert float(normal.square().mean()) == pytest.approx(1, abs=5 * (2 / n) ** 0.5)
    uniform = draws.uniform((n,), 0, "z", 0, -1, 1)
    assert uniform.min() >= -1 and uniform.max() < 1
    assert float(uniform.square().mean()) == pytest.approx(1 / 3, abs=5 * (4 / 45 / n) ** 0.5)
    assert torch.equal(draws.permutation(50, 0, "data", 1).sort().values, torch.arange(50))
    assert not torch.equal(draws.permutation(50, 0, "data", 1), draws.permutation(50, 0, "data", 2))

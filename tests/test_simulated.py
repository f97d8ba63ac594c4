"""What 95 % and 5 % mean, over simulated studies.  `pytest -m slow tests/test_simulated.py`: 5,000."""

import pytest
from simulated import a_study, at_least, at_most, simulate


def held(counts: dict[str, tuple[int, int]], complete: bool) -> None:
    for what, (k, n) in counts.items():
        if what.startswith("covered"):
            assert at_least(k, n, 0.95 if complete else 0.93), (what, k, n)
        if what.startswith("covered") and complete:
            assert at_most(k, n, 0.95), (what, k, n)
        if what.startswith("supported"):
            assert at_most(k, n, 0.025), (what, k, n)
    assert at_most(*counts["any false"], 0.05), counts["any false"]
    assert at_least(*counts["all held"], 0.95), counts["all held"]
    assert not at_least(*counts["all held, each alone"], 0.95), counts["all held, each alone"]


@pytest.mark.parametrize(("seeds", "failing"), [(3, 0.0), (5, 0.0), (5, 0.15)])
def test_intervals_families_and_null_claims(tmp_path, seeds, failing):
    held(simulate(a_study(tmp_path), 250, seeds, failing, seed=seeds), complete=not failing)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "failing"), [(3, 0.0), (3, 0.1), (5, 0.0), (5, 0.15), (10, 0.2)])
def test_the_same_over_five_thousand_studies(tmp_path, seeds, failing):
    held(simulate(a_study(tmp_path), 5000, seeds, failing, seed=100 + seeds), complete=not failing)

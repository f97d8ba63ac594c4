"""The Fréchet step on this SciPy: the same tests as elsewhere."""

from test_metrics_frechet import *  # noqa: F403


def test_this_scipy_has_no_disp():
    """What breaks clean-fid's own distance: SciPy 1.18 removed `sqrtm(disp=)`."""
    import inspect

    import scipy
    import scipy.linalg

    if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 18):
        assert "disp" not in inspect.signature(scipy.linalg.sqrtm).parameters

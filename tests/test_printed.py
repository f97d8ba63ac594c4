"""What stands on paper: the cells that a figure has room for, and what its caption says of the others."""

import miniature as mini
import pytest

from bench import figures
from bench.render import report, samples
from bench.store import Store

REFERENCE_LAST = mini.STUDY.replace("[fd, swd, ms_ssim]", "[fd]").replace(
    "reference: {{g_norm: bn, d_weight: none}}", "reference: {{g_norm: adain, d_weight: spectral}}"
)


def test_the_reference_is_never_left_out():
    cells = [{"name": str(number), "reference": number == 9} for number in range(10)]
    assert samples.on_paper(cells[:8]) == list("01234567")
    assert samples.on_paper(cells) == list("90123456")
    assert samples.left_out(8, 8) == "" and "2 are left out" in samples.left_out(8, 10)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """A study of four cells, its reference the last one, on paper that has room for two; its page's folder."""
    folder = tmp_path_factory.mktemp("crowded")
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "MOST", 2)
        draw = figures.sample_grid
        patch.setattr(figures, "sample_grid", lambda tiles, **said: (drawn.append(said), draw(tiles, **said))[1])
        design, store = mini.a_design(folder, text=REFERENCE_LAST, seeds=1), Store(folder / "results")
        mini.write_all(design, store)
        page = report.build(design, store, folder / "reports")
    return page.parent, drawn


def test_the_printed_samples_have_the_reference_and_name_what_is_missing(crowded):
    folder, (drawn,) = crowded
    assert drawn["columns"][-2:] == ["adain · spectral", "bn · d_weight=none"]
    paper = (folder / "paper.tex").read_text()
    assert "2 of 4 cells are shown, 2 are left out" in paper and "in every cell, at" not in paper

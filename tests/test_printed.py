"""What stands on paper: the cells that a figure has room for, and what its caption says of the others."""

import miniature as mini
import pytest

from bench import figures
from bench.render import page as page_module
from bench.render import report, samples
from bench.render.content import command
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
        patch.setattr(figures, "NAMED", 2)
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


def test_captions_say_what_a_line_is_and_alt_text_is_no_caption(crowded):
    paper = (crowded[0] / "paper.tex").read_text()
    assert "Means at the end" not in paper and "thick: a cell's mean over seeds" in paper


def test_success_is_no_more_than_was_judged(crowded):
    """The study asks for Fréchet distance alone, which says nothing of collapse."""
    folder, _ = crowded
    page, methods = (folder / "index.html").read_text(), (folder / "methods.md").read_text()
    assert "4 runs with an outcome 4 reached the end." in methods
    assert "Collapse was not judged (none of ms_ssim, prdc, modes is asked for)" in methods
    assert "succeeded" not in methods and "has collapsed when" not in methods
    assert ">collapse was not judged<" in page
    assert page.count("was not judged: none of ms_ssim") == 2 and "collapsed nor never learned</a>" not in page


def test_long_words_break_at_their_signs_and_numbers_do_not():
    broken = page_module._breakable
    assert broken("lr=0.0002,g_norm=bn.x") == "lr=<wbr>0.0002,<wbr>g_norm=<wbr>bn.<wbr>x"
    assert broken("a d_weight=none") == "a d_weight=none"
    assert broken("a_name_without_other_signs") == "a_<wbr>name_<wbr>without_<wbr>other_<wbr>signs"
    assert broken("<b>&1.2345678901234567890") == "&lt;b&gt;&amp;1.2345678901234567890"


def test_the_command_is_the_same_from_every_folder(tmp_path, monkeypatch):
    design = mini.a_design(tmp_path, text=REFERENCE_LAST, seeds=1)
    said = set()
    for folder in (tmp_path, tmp_path.parent):
        monkeypatch.chdir(folder)
        said.add(command(design))
    assert said == {"python -m bench.run miniature.yaml"}


def test_no_path_of_a_machine_is_in_the_appendix(tmp_path):
    """Whichever list of settings is printed, it leaves out where the data lie."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.png").write_bytes(mini.png(mini.plain(None, 0)[:32, :32]))
    text = REFERENCE_LAST.replace("{{name: faces, size: 32}}", f"{{{{name: folder, folder: {folder}, size: 32}}}}")
    design, store = mini.a_design(tmp_path, text=text, seeds=1), Store(tmp_path / "results")
    page = report.build(design, store, tmp_path / "reports")
    assert "pictures" in (page.parent / "index.html").read_text()  # the study file itself
    assert "pictures" not in (page.parent / "methods.md").read_text()


def test_many_cells_are_named_in_a_key(crowded):
    folder, _ = crowded
    paper = (folder / "paper.tex").read_text()
    assert paper.count("{figures/key.pdf}") == 1 and "Cells are named in the key" in paper
    assert (folder / "figures" / "key.pdf").read_bytes().startswith(b"%PDF")


def test_the_key_has_each_name_within_its_figure():
    looks = {str(n): figures.Look(("#0072b2", "#d55e00"), "o", f"_level{n} · spectral norm") for n in range(25)}
    drawn = figures.settle(figures.key(looks))
    (box,) = drawn.legends
    assert [text.get_text().strip() for text in box.get_texts()] == [look.label for look in looks.values()]
    edge = box.get_window_extent().transformed(drawn.transFigure.inverted())
    assert min(edge.x0, edge.y0) >= 0 and max(edge.x1, edge.y1) <= 1

"""Pictures of the report in a real Chromium: enlarged by keyboard, level in their rows, there without JavaScript."""

import miniature as mini
import pytest
from test_qualitative import keep

from bench.render import report
from bench.store import Store

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lightbox")
    design = mini.a_design(folder, text=mini.STUDY.replace("[fd, swd, ms_ssim]", "[fd]"))
    store = Store(folder / "results")
    mini.write_all(design, store)
    for run in design.runs:
        keep(store, run)
    return report.build(design, store, folder / "reports")


def test_pictures_are_enlarged_by_keyboard_and_escape_closes(browse, built):
    page = browse(built)
    box, first = page.locator("dialog.lightbox"), page.locator(".strips .enlarge").nth(1)
    assert not box.is_visible()
    first.focus()
    page.keyboard.press("Enter")
    assert box.is_visible()
    words = first.locator("img").get_attribute("alt")
    assert words.startswith("The 5 training images nearest in pixels")
    assert box.locator("span").text_content() == words == box.locator("img").get_attribute("alt")
    # 160 × 256 pixels into 1440 × 900 less margins: twice is the largest whole factor that fits
    sizes = "(i => [i.naturalWidth, i.width / i.naturalWidth, i.height / i.naturalHeight])"
    assert page.evaluate(f"{sizes}(document.querySelector('dialog img'))") == [160, 2, 2]
    assert page.evaluate("document.activeElement.textContent") == "Close"
    page.keyboard.press("Escape")
    assert not box.is_visible()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == f"Enlarge: {words}"
    page.locator(".grid .enlarge:visible").first.click()
    assert box.is_visible()
    box.locator("button").click()
    assert not box.is_visible()


@pytest.mark.parametrize("width", [360, 1440])
def test_rows_of_one_cell_stand_level_and_the_page_does_not_scroll_sideways(browse, built, width):
    page = browse(built, width)
    edges = page.evaluate(
        """[...document.querySelectorAll('.strips')].map(s => [...s.querySelectorAll('img')].map(
            i => [i.getBoundingClientRect().top, i.getBoundingClientRect().height, i.naturalHeight]))"""
    )
    assert len(edges) == 4
    for strip in edges:
        assert len({(top, height) for top, height, _ in strip}) == 1
        assert {height / natural for _, height, natural in strip} == {1 if width == 360 else 2}
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_without_javascript_the_pictures_stand_there(browse, built):
    page = browse(built, javascript=False)
    assert page.locator(".strips img:visible").count() == 4 * 4
    assert page.locator("dialog").count() == 0 and page.locator(".enlarge").count() == 0

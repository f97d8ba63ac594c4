"""The report in a real Chromium: offline, light and dark, narrow and wide, with and without JavaScript."""

import functools
import json
import shutil
import subprocess

import miniature as mini
import pytest

from bench.render import report
from bench.store import Store

pytestmark = pytest.mark.browser

NARROW, MIDDLE, WIDE = 360, 768, 1440


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A study with every kind of end: done, diverged, failed, missing; a score that failed."""
    folder = tmp_path_factory.mktemp("browser")
    design, store = mini.a_design(folder), Store(folder / "results")
    _missing, failed, *rest = design.runs
    mini.write_failed(store, failed)
    diverged = [run for run in rest if run.cell == failed.cell]
    for run in diverged:
        mini.write_run(store, run, status="diverged", cause="loss_D is nan", labels=mini.LABELS[:2])
        mini.write_scores(store, run, design, mini.LABELS[:2])
        mini.write_samples(store, run, mini.LABELS[:2])
    for run in (run for run in rest if run not in diverged):
        mini.write_run(store, run)
        mini.write_scores(store, run, design)
        mini.write_samples(store, run)
    page = report.build(design, store, folder / "reports")
    return page, json.loads((page.parent / "report.json").read_text())


@pytest.fixture
def open_page(browse, built):
    """Open the report; as `browse`."""
    return functools.partial(browse, built[0])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [NARROW, MIDDLE, WIDE])
def test_nothing_makes_the_page_scroll_sideways(open_page, width, scheme):
    page = open_page(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    clipped = """[...document.querySelectorAll('h1, h2, p, dd, li, .badge')]
        .filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth + 1).length"""
    assert page.evaluate(clipped) == 0


def test_every_image_loads_at_a_whole_scale(open_page):
    page = open_page()
    sizes = page.evaluate(
        """[...document.images].filter(i => i.getAttribute('src')).map(
            i => [i.naturalWidth, i.getBoundingClientRect().width, i.closest('[hidden]') === null])"""
    )
    assert sizes and all(natural > 0 for natural, _, _ in sizes)
    assert {shown / natural for natural, shown, visible in sizes if visible} == {2.0}
    assert page.evaluate("getComputedStyle(document.images[0]).imageRendering") == "pixelated"


def test_the_table_shows_report_json(open_page, built):
    page, said = open_page(), built[1]
    for cell in said["cells"]:
        for metric in (metric["name"] for metric in said["metrics"]):
            one = cell["estimates"][metric]
            selector = f'tr[data-cell="{cell["name"]}"] td[data-metric="{metric}"]'
            shown = page.locator(selector).text_content()
            assert one["text"] in shown and (one["n"] < 2 or one["interval"] in shown)


def visible_seeds(page):
    return page.evaluate(
        """[...new Set([...document.querySelectorAll('figure[data-seed]')]
            .filter(f => !f.hidden).map(f => f.dataset.seed))]"""
    )


def test_choosing_a_seed_by_keyboard(open_page, built):
    page = open_page()
    assert set(visible_seeds(page)) == {str(seed) for seed in built[1]["samples"]["medians"].values()}
    page.locator("#seed").focus()
    page.keyboard.press("ArrowDown")
    assert visible_seeds(page) == ["0"]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert visible_seeds(page) == ["2"]


def test_sorting_the_runs(open_page, built):
    page = open_page()
    seeds = "[...document.querySelectorAll('table.sortable tbody tr')].map(r => r.cells[2].textContent)"
    head = page.locator("table.sortable th button", has_text="seed")
    head.focus()
    page.keyboard.press("Enter")
    assert page.evaluate(seeds) == sorted(page.evaluate(seeds)) == ["0"] * 4 + ["1"] * 4 + ["2"] * 4
    assert page.locator("table.sortable th[aria-sort=ascending]").count() == 1
    page.keyboard.press("Enter")
    assert page.evaluate(seeds) == ["2"] * 4 + ["1"] * 4 + ["0"] * 4
    # Rates are numbers, and runs that have none stand last either way.
    page.locator("table.sortable th button", has_text="img/s").click()
    rates = page.evaluate("[...document.querySelectorAll('table.sortable tbody tr')].map(r => r.cells[6].textContent)")
    assert rates[-2:] == ["—", "—"] and rates[0] != "—"


SHOWN_RUNS = "[...document.querySelectorAll('table.filtered tbody tr')].filter(r => !r.hidden).map(r => r.dataset.run)"


def test_filtering_the_runs(open_page, built):
    page, runs = open_page(NARROW), built[1]["runs"]
    page.locator("#run-filter").fill("SPECTRAL diverged")
    wanted = [run["run_id"] for run in runs if "spectral" in run["cell"] and run["status"] == "diverged"]
    assert page.evaluate(SHOWN_RUNS) == wanted
    page.locator("#run-filter").fill(runs[3]["run_id"])
    assert page.evaluate(SHOWN_RUNS) == [runs[3]["run_id"]]
    assert page.locator("#run-count").text_content() == "1 of 12"
    page.locator("#run-filter").fill("")
    assert len(page.evaluate(SHOWN_RUNS)) == 12
    assert page.evaluate("document.documentElement.scrollWidth") == NARROW


def test_the_methods_are_copied(open_page, built):
    page = open_page()
    # What is read back is what is pasted: no permission to read the clipboard is asked for.
    page.locator("[data-copy=methods-text]").click()
    page.locator("#methods [role=status]", has_text="Copied.").wait_for()
    page.locator("#run-filter").focus()
    page.keyboard.press("Control+V")
    assert page.locator("#run-filter").input_value().startswith("# Methods")


def test_without_javascript_it_reads(open_page, built):
    page = open_page(javascript=False)
    assert page.locator("h1").text_content() == "miniature"
    assert not page.locator("#seed-control").is_visible()
    # 12 runs: of each of the 4 cells one seed is shown, in 4 rows
    assert page.locator("figure[data-seed]:visible").count() == 16
    assert page.locator("table.sortable tbody tr").count() == 12
    assert not page.locator("#run-filter").is_visible() and not page.locator("[data-copy]").first.is_visible()
    # the cell whose typical run diverged after the second snapshot
    assert page.locator(".hatch:visible").all_text_contents() == ["diverged at 18 kimg"] * 2


CONTRAST = """() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
      .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const back = e => { for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c; }
    return [255, 255, 255]; };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !e.checkVisibility()) continue;
    if (['SCRIPT', 'STYLE'].includes(e.tagName)) continue;
    const svg = e.closest('svg');
    const [a, b] = [light(parse(svg ? getComputedStyle(e).fill : getComputedStyle(e).color)), light(back(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push([e.tagName, e.textContent.slice(0, 40), ratio]);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(open_page, scheme):
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text, in the page and in its charts."""
    assert open_page(scheme=scheme).evaluate(CONTRAST) == []


def test_charts_take_the_colours_of_the_scheme(open_page):
    inks = {
        scheme: open_page(scheme=scheme).evaluate("getComputedStyle(document.querySelector('.charts svg text')).fill")
        for scheme in ("light", "dark")
    }
    assert inks["light"] != inks["dark"]


def test_what_can_be_scrolled_can_be_reached_by_keyboard(open_page):
    page = open_page(NARROW)
    unreachable = """[...document.querySelectorAll('*')].filter(e =>
        e.scrollWidth > e.clientWidth + 1 && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)
        && e.tabIndex < 0).length"""
    assert page.evaluate(unreachable) == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"


@pytest.mark.parametrize("javascript", [True, False])
def test_what_is_folded_away_is_printed(open_page, tmp_path, javascript):
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext here")
    page, printed = open_page(javascript=javascript), tmp_path / "report.pdf"
    folded = page.locator("details:not([open])").count()
    assert folded > 3
    page.pdf(format="A4", path=printed)
    text = subprocess.run(["pdftotext", printed, "-"], capture_output=True, text=True, check=True).stdout
    for inside in ("All numbers of SWD", "against g_norm=bn", "Wilson", "Losses of unlike objectives"):
        assert inside in " ".join(text.split())
    assert page.locator("details:not([open])").count() == folded


def test_it_prints(open_page):
    page = open_page()
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [NARROW, MIDDLE, WIDE])
def test_axe_finds_nothing_even_in_what_is_folded_away(open_page, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
    found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [(one["id"], one["help"], [node["target"] for node in one["nodes"]][:5]) for one in found] == []


def test_definitions_have_room_on_a_phone(open_page):
    widths = "[...document.querySelectorAll('#methods dd')].map(e => e.getBoundingClientRect().width)"
    assert min(open_page(NARROW).evaluate(widths)) > 0.8 * NARROW


def test_nothing_is_cut_off_in_print(open_page):
    """At the width of an A4 page within its margins, 180 mm at 96 dpi, no table is wider than the page."""
    page = open_page(680)
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 680


@pytest.mark.parametrize("javascript", [True, False])
def test_ids_links_and_images(open_page, built, javascript):
    page = open_page(javascript=javascript)
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    links = page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))")
    assert len(links) > 20
    for target in links:
        assert target[1:] in ids if target.startswith("#") else (built[0].parent / target).is_file(), target
    named = page.evaluate(
        "[...document.querySelectorAll('[aria-labelledby], [aria-describedby], [aria-controls], label[for]')].flatMap("
        "e => ['aria-labelledby', 'aria-describedby', 'aria-controls', 'for'].flatMap("
        "n => (e.getAttribute(n) ?? '').split(/\\s+/).filter(Boolean)))"
    )
    assert set(named) <= set(ids)
    broken = "[...document.images].filter(i => i.getAttribute('src') && !(i.complete && i.naturalWidth)).length"
    assert page.evaluate(broken) == 0


def test_effects_show_report_json(open_page, built):
    shown = " ".join(open_page().locator("#effects").text_content().split())
    rows = [row for one in built[1]["effects"] if not one["detail"] for group in one["groups"] for row in group["rows"]]
    assert len(rows) > 4
    for row in rows:
        assert row["text"] in shown and row["interval"] in shown


def test_a_picture_is_enlarged_and_put_away_by_keyboard(open_page):
    page = open_page()
    page.locator("button.enlarge:visible").first.focus()
    words = page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    assert dialog.count() == 1 and words.removeprefix("Enlarge: ") in dialog.text_content()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == words


def test_the_tab_key_leads_through_the_whole_page_and_out(open_page):
    page = open_page()
    here = "(e => e === document.body ? '' : `${e.tagName} ${e.id || e.textContent.trim().slice(0, 30)}`)"
    visited = []
    for _ in range(2000):
        page.keyboard.press("Tab")
        where = page.evaluate(f"{here}(document.activeElement)")
        if not where:
            break
        visited.append(where)
        outlined = "(e => getComputedStyle(e).outlineStyle !== 'none' || getComputedStyle(e).boxShadow !== 'none')"
        assert page.evaluate(f"{outlined}(document.activeElement)"), where
    else:
        pytest.fail(f"no way out: {visited[-5:]}")
    assert visited[0].startswith("A Skip to the results") and "SELECT seed" in visited
    assert any(one.startswith("BUTTON status") for one in visited)  # a heading that sorts the runs

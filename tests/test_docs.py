"""The docs point to what exists, and say what is so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    for name in re.findall(r"`((?:bench|tests|docs|ablations)/[\w./-]+\.\w+)`", page.read_text()):
        assert (ROOT / name).exists(), name


def test_every_module_stands_in_the_house():
    text = (ROOT / "docs" / "design.md").read_text()
    named = set(re.findall(r"`(\w+)(?:/)?`", text))
    modules = {path.stem for path in (ROOT / "bench").glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in (ROOT / "bench").glob("*/__init__.py")}
    assert (modules | folders) - named == set()

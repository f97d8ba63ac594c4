"""Reading a page's markup as strictly as a validator: what tests of reports ask of every page."""

from html.parser import HTMLParser
from pathlib import Path

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
REFERENCES = ("aria-labelledby", "aria-describedby", "aria-controls", "for", "headers")


class Markup(HTMLParser):
    """Tags with attributes, ids, links, text; raises AssertionError for a tag that is closed by none or by another."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> says an attribute twice: {names}"
        assert all("<" not in name and '"' not in name for name in names), f"<{tag}> has attributes {names}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open and self._open[-1] == tag, f"</{tag}> closes {self._open[-3:]}"
        self._open.pop()

    def handle_data(self, data):
        if not self._open or self._open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All that a reader sees."""
        return "".join(self.texts)


def check(path: Path) -> Markup:
    """Read a page; raise AssertionError unless it is well formed, its ids unique, and all that it names is there."""
    page = Markup(path.read_text())
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids)), sorted({one for one in ids if ids.count(one) > 1})
    assert all(one and not any(sign.isspace() for sign in one) for one in ids), ids
    for tag, attrs in page.tags:
        for name in REFERENCES:
            assert set((attrs.get(name) or "").split()) <= set(ids), (tag, name, attrs[name])
        target = attrs.get("href") or attrs.get("xlink:href")
        if target is None:
            continue
        if target.startswith("#"):
            assert target[1:] in ids, (tag, target)
        else:
            assert (path.parent / target).is_file(), (tag, target)
    for tag, attrs in page.tags:
        assert tag != "img" or attrs.get("alt"), attrs
        assert not any(name.startswith("on") for name in attrs), (tag, attrs)
    return page

"""Does everything exist that the pages of a site link to or load, without a network?"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    def __init__(self, path: Path):
        """Reads a page."""
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors = {"", "__top"}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collects the attributes of a tag."""
        values = dict(attrs)
        self.anchors |= {values.get("id"), values.get("name")}
        self.links += filter(None, [values.get("href"), values.get("src")])
        if tag == "script" or values.get("rel") == "stylesheet":
            self.loads += filter(None, [values.get("href"), values.get("src")])


def problems(site: Path) -> list[str]:
    """Returns a line for each link or script of a site that does not work."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    lines = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        lines += [f"{name}: {u} is not here" for u in page.loads if "//" in u[:8]]
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            folder = site if url.path.startswith("/") else path.parent
            target = folder / unquote(url.path).lstrip("/") if url.path else path
            target = target.resolve()
            if not target.is_file():
                lines.append(f"{name}: {link} does not exist")
            elif target in pages and unquote(url.fragment) not in pages[target].anchors:
                lines.append(f"{name}: {link} has no such anchor")
    return lines


if __name__ == "__main__":
    found = problems(Path(sys.argv[1]))
    sys.exit("\n".join(found) or None)

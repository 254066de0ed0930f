"""Does everything exist that the pages of a site link to or load, without a network?

What they link to in the repository must be there for others too: git tracks it.
"""

import subprocess
import sys
import tomllib
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Repository"]


class Page(HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    def __init__(self, path: Path):
        """Reads a page."""
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.silent: list[str] = []
        self.anchors = {"", "__top"}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collects the attributes of a tag."""
        values = dict(attrs)
        self.anchors |= {values.get("id"), values.get("name")}
        self.links += filter(None, [values.get("href"), values.get("src")])
        if tag in ("img", "script") or values.get("rel") == "stylesheet":
            self.loads += filter(None, [values.get("href"), values.get("src")])
        if tag == "img" and not values.get("alt"):
            self.silent.append(values.get("src") or "")


@cache
def is_tracked(link: str) -> bool:
    """Returns whether a link into the repository is to what git tracks there."""
    kind, _, path = link.removeprefix(f"{REPOSITORY}/").partition("/main/")
    if kind not in ("blob", "tree"):
        return True
    command = ["git", "ls-files", "--error-unmatch", "--", unquote(path)]
    return not subprocess.run(command, cwd=ROOT, capture_output=True).returncode


def problems(site: Path) -> list[str]:
    """Returns a line for each link, script or picture of a site that does not work."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    lines = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        lines += [f"{name}: {u} is not here" for u in page.loads if "//" in u[:8]]
        lines += [f"{name}: {u} has no text" for u in page.silent]
        for link in page.links:
            if link.startswith(f"{REPOSITORY}/") and not is_tracked(link):
                lines.append(f"{name}: {link} is not tracked")
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

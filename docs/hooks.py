"""Makes pages of files of the repository, which stay where and as they are."""

import base64
import os.path
import re
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import griffe
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from adabelief_optax import RECOMMENDED, __all__

ROOT = Path(__file__).parent.parent
MENTION = re.compile(
    rf"^```.*?^```|(?<!\[)`(?P<name>{'|'.join(__all__)})(?:\([^`]*\))?`"
    r"|(?<!\[)`(?P<path>\.?\w[\w./-]*)`|\]\((?P<link>\w[\w./-]*)\)",
    re.DOTALL | re.MULTILINE,
)


def found(pattern: str) -> list[str]:
    """Returns the paths in the repository that fit a pattern."""
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


def on_config(config: MkDocsConfig) -> None:
    """Makes the navigation, and the link to the repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    config.repo_url, config.repo_name = project["urls"]["Repository"], "GitHub"
    config.nav = [{"Home": "README.md"}, {"How to choose": "choosing.md"}]
    config.nav += [{"Use it in …": "stacks.md"}, {"API": "api.md"}]
    config.nav += [{"At scale": "scale.md"}, {"bfloat16": "bfloat16.md"}]
    config.nav += [{"Caveats": "caveats.md"}, {"Measurements": "measurements.md"}]
    config.nav += [{"Notebooks": [f"{p[:-5]}md" for p in found("notebooks/*.ipynb")]}]
    config.nav += [{"Benchmarks": p} for p in [found("benchmarks/*.md")] if p]
    config.nav += [{"Contributing": "CONTRIBUTING.md"}, {"Changelog": "CHANGELOG.md"}]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds the files from outside of docs/."""
    for pattern in (
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "benchmarks/*.md",
        "**/figures/*/*.png",
    ):
        for path in found(pattern):
            files.append(File(path, str(ROOT), config.site_dir, False))
    for path in found("notebooks/*.ipynb"):
        text, images = convert(ROOT / path)
        files.append(File.generated(config, f"{path[:-5]}md", content=text))
        for name, content in images.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))


def convert(path: Path) -> tuple[str, dict[str, bytes]]:
    """Returns a notebook in Markdown, and its pictures."""
    parts, images = [], {}
    for cell in nbformat.read(path, as_version=4).cells:
        is_code = cell.cell_type == "code"
        parts.append(f"```python\n{cell.source}\n```" if is_code else cell.source)
        for output in cell.get("outputs", []):
            if "text" in output:
                parts.append(f"```text\n{output.text.rstrip()}\n```")
            for kind in {"image/png", "image/gif"} & set(output.get("data", {})):
                name = f"{path.stem}-{len(images) + 1}.{kind[-3:]}"
                images[name] = base64.b64decode(output.data[kind])
                alt = output.metadata.get(kind, {}).get("alt", "")
                parts.append(f"![{alt}]({name})")
    return "\n\n".join(parts), images


def refer(text: str) -> str:
    """Makes references of the names of the package that a docstring mentions."""
    return MENTION.sub(
        lambda m: f"[{m[0]}][adabelief_optax.{m['name']}]" if m["name"] else m[0], text
    )


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Makes links of the files and names that a text mentions."""
    here = os.path.dirname(page.file.src_uri)

    def link(match: re.Match[str]) -> str:
        path = match["path"] or match["link"]
        if not path or not re.search("[./A-Z]", path):
            return match[0]
        paths = [os.path.normpath(os.path.join(here, path)), os.path.normpath(path)]
        path = next((p for p in paths if (ROOT / p).exists()), None)
        if not path:
            return match[0]
        source = path.replace(".ipynb", ".md").removeprefix("docs/")
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        target = f"{config.repo_url}/{kind}/main/{path}"
        if files.get_file_from_path(source):
            target = os.path.relpath(source, here or ".")
        return f"]({target})" if match["link"] else f"[{match[0]}]({target})"

    text = refer(MENTION.sub(link, markdown))
    text = text.replace("RECOMMENDED_TABLE", "\n".join(recommended()))
    # A picture that is small on a phone can be opened alone.
    text = re.sub(r"(?m)^(!\[.*\])\(([\w./-]+)\)$", r"[\1(\2)](\2)", text)
    # Numbers in tables stay on one line.
    return re.sub(r"(?m)^\|.*", lambda m: m[0].replace(" ± ", "\xa0±\xa0"), text)


def recommended() -> list[str]:
    """Returns the lines of a table of RECOMMENDED."""
    columns = list(dict.fromkeys(key for row in RECOMMENDED.values() for key in row))
    lines = [["", *(f"`{c}`" for c in columns)], ["---"] * (len(columns) + 1)]
    for task, row in RECOMMENDED.items():
        lines.append([f"`{task}`", *(str(row.get(column, "")) for column in columns)])
    return [f"| {' | '.join(line)} |" for line in lines]


class Docstrings(griffe.Extension):
    """Docstrings with references, and with the name that examples have here."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Changes the docstring of an object."""
        if obj.docstring:
            text = refer(obj.docstring.value).replace("\nExample:\n", "\nExamples:\n")
            text, references, papers = text.partition("\nReferences:\n")
            if references:
                text += f"\n**References:**\n\n{textwrap.dedent(papers)}"
            obj.docstring.value = text

"""Makes pages of files of the repository, which stay where and as they are."""

import base64
import inspect
import os.path
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import griffe
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import adabelief_optax
from adabelief_optax import RECOMMENDED, __all__

sys.path.insert(0, str(Path(__file__).parent))
from formulas import set_formulas

ROOT = Path(__file__).parent.parent
MENTION = re.compile(
    rf"^```.*?^```|(?<!\[)`(?P<name>{'|'.join(__all__)})(?:\([^`]*\))?`"
    r"|(?<!\[)`(?P<path>\.?\w[\w./-]*)`|\]\((?P<link>(?:\.\./)*\w[\w./-]*)\)",
    re.DOTALL | re.MULTILINE,
)


def found(pattern: str) -> list[str]:
    """Returns the paths in the repository that fit a pattern."""
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


def is_tracked(path: str) -> bool:
    """Returns whether git tracks a file, or a file of this folder."""
    command = ["git", "ls-files", "--error-unmatch", "--", path]
    return not subprocess.run(command, cwd=ROOT, capture_output=True).returncode


def on_config(config: MkDocsConfig) -> None:
    """Makes the navigation, and the link to the repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    config.repo_url, config.repo_name = project["urls"]["Repository"], "GitHub"
    notebooks = {"Notebooks": [f"{p[:-5]}md" for p in found("notebooks/*.ipynb")]}
    first, *others = found("benchmarks/*.md")  # README.md
    pages = [{"The problems": found("benchmarks/pages/*.md")}]
    results = {"Results": [first, *others, *pages]}
    config.nav = [{"Home": "README.md"}, {"How to choose": "choosing.md"}]
    config.nav += [{"Recipes": "stacks.md"}, notebooks, results]
    config.nav += [{"API": "api.md"}, {"At scale": "scale.md"}]
    config.nav += [{"bfloat16": "bfloat16.md"}, {"Caveats": "caveats.md"}]
    config.nav += [{"Measurements": "measurements.md"}]
    config.nav += [{"Contributing": "CONTRIBUTING.md"}, {"Changelog": "CHANGELOG.md"}]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds the files from outside of docs/."""
    pages = "*.md", "benchmarks/*.md", "benchmarks/pages/*.md", "**/figures/*/*.png"
    for path in (path for pattern in pages for path in found(pattern)):
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
        # The pages load nothing from elsewhere, such as Colab's badge.
        text = re.sub(r"!\[([^]]*)\]\(https:[^)]*\)", r"\1", cell.source)
        if cell.cell_type == "code":
            text = f"```python\n{cell.source}\n```"
        if "hide-input" in cell.metadata.get("tags", []):
            text = f'??? note "{fold(cell.source)}"\n\n{textwrap.indent(text, "    ")}'
        parts.append(text)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text" in output:
                parts.append(
                    f"``` {{.text .output .no-copy}}\n{output.text.rstrip()}\n```"
                )
            if "text/markdown" in data:
                parts.append(data["text/markdown"])
            for kind in {"image/png", "image/gif"} & set(data):
                name = f"{path.stem}-{len(images) + 1}.{kind[-3:]}"
                images[name] = base64.b64decode(data[kind])
                alt = output.metadata.get(kind, {}).get("alt", "")
                parts.append(f"![{alt}]({name})")
    return "\n\n".join(parts), images


def fold(source: str) -> str:
    """Returns what stands in place of a cell's code until it is opened."""
    if "google.colab" in source:
        return "On Colab: get the project"
    does = "answers" if "looks.say(" in source else "draws"
    return f"Show the code that {does} this"


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
        paths = [os.path.normpath(os.path.join(x, path)) for x in (here, "", "docs")]
        path = next(filter(is_tracked, paths), None)
        if not path:
            return match[0]
        source = path.replace(".ipynb", ".md").removeprefix("docs/")
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        target = f"{config.repo_url}/{kind}/main/{path}"
        if files.get_file_from_path(source):
            target = os.path.relpath(source, here or ".")
        return f"]({target})" if match["link"] else f"[{match[0]}]({target})"

    text = refer(MENTION.sub(link, set_formulas(two_pictures(markdown))))
    text = text.replace("RECOMMENDED_TABLE", "\n".join(recommended()))
    # A picture that is small on a phone can be opened alone.
    text = re.sub(r"(?m)^(!\[.*\])\(([\w./-]+)\)$", r"[\1(\2)](\2)", text)
    # Numbers in tables stay on one line.
    space = r"(?<=\d) (?=[±%])|(?<=[±≤≥]) "
    return re.sub(r"(?m)^\|.*", lambda m: re.sub(space, "\xa0", m[0]), text)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> None:
    """Refuses a page that loads anything from elsewhere, or a picture without text."""
    for tag in re.findall(r"<(?:img|link|script)\b[^>]*>", output):
        if re.search(r'(?:href|src)="(?:https?:)?//', tag):
            raise PluginError(f"{page.file.src_uri}: {tag} is not here")
        if tag.startswith("<img") and not re.search(r'\balt="[^"]', tag):
            raise PluginError(f"{page.file.src_uri}: {tag} has no text")


def two_pictures(text: str) -> str:
    """Shows a picture as the reader has chosen light or dark, as the theme does it."""
    return re.sub(
        r'<picture>\s*<source [^>]*srcset="docs/([^"]*)">\s*'
        r'<img alt="([^"]*)" src="docs/([^"]*)"[^>]*>\s*</picture>',
        r"![\2](\3#only-light)\n![\2](\1#only-dark)",
        text,
    )


def recommended() -> list[str]:
    """Returns the lines of a table of RECOMMENDED."""
    columns = list(dict.fromkeys(key for row in RECOMMENDED.values() for key in row))
    lines = [["", *(f"`{c}`" for c in columns)], ["---"] * (len(columns) + 1)]
    for task, row in RECOMMENDED.items():
        values = (f"<nobr>{row.get(column, '')}</nobr>" for column in columns)
        lines.append([f"`{task}`", *values])
    return [f"| {' | '.join(line)} |" for line in lines]


class Docstrings(griffe.Extension):
    """Docstrings with references, and with the name that examples have here."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Changes the docstring of an object."""
        if obj.docstring:
            text = set_formulas(refer(obj.docstring.value)).replace(
                "\nExample:\n", "\nExamples:\n"
            )
            text, references, papers = text.partition("\nReferences:\n")
            if references:
                text += f"\n**References:**\n\n{textwrap.dedent(papers)}"
            obj.docstring.value = text

    def on_function(self, *, func: griffe.Function, **kwargs: Any) -> None:
        """Puts the values of the defaults in place of what the source calls them."""
        if func.name in __all__:
            signature = inspect.signature(getattr(adabelief_optax, func.name))
            for name, parameter in signature.parameters.items():
                if parameter.default is not parameter.empty:
                    func.parameters[name].default = repr(parameter.default)

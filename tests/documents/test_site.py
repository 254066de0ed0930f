"""Has the site everything, and would its check find what is wrong with it?"""

import ast
import html
import importlib.util
import inspect
import re
import subprocess
import sys

import markdown
import nbformat
import pytest
from mkdocs.config import load_config
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import adabelief_optax as ao
from tests.helpers import ROOT

spec = importlib.util.spec_from_file_location("links", ROOT / "docs" / "check_links.py")
check_links = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_links)
REPOSITORY = check_links.REPOSITORY


@pytest.fixture(scope="module")
def config():
    return load_config(str(ROOT / "mkdocs.yml"))


@pytest.fixture
def hooks(config):
    return config.hooks["docs/hooks.py"]


@pytest.fixture(scope="module")
def signatures(tmp_path_factory):
    """Returns what the page of the API has as the signature of each function."""
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    text = (site / "api.html").read_text()
    blocks = re.findall(r'<div class="doc-signature.*?</div>', text, re.DOTALL)
    plain = [html.unescape(re.sub("<[^>]*>", "", block)).strip() for block in blocks]
    return {block.split("(")[0]: block for block in plain if "(" in block}


def test_every_public_name_is_on_the_api_page():
    names = re.findall(
        r"^::: adabelief_optax\.(\w+)$",
        (ROOT / "docs" / "api.md").read_text(),
        re.MULTILINE,
    )
    assert sorted(names) == sorted(ao.__all__)


@pytest.mark.parametrize(
    ("tag", "finding"),
    [
        ('<a href="b/c.html#there">', None),
        ('<a href="/b/c.html">', None),
        ('<a href="#top">', None),
        ('<a href="https://example.org/nowhere">', None),
        ('<a href="b/d.html">', "does not exist"),
        ('<img src="b/d.png" alt="d">', "does not exist"),
        ('<img src="b/c.png">', "has no text"),
        ('<img src="https://example.org/c.png" alt="c">', "is not here"),
        ('<a href="b/c.html#nowhere">', "has no such anchor"),
        ('<a href="#nowhere">', "has no such anchor"),
        ('<script src="https://example.org/a.js">', "is not here"),
        (f'<a href="{REPOSITORY}">', None),
        (f'<a href="{REPOSITORY}/blob/main/README.md">', None),
        (f'<a href="{REPOSITORY}/tree/main/benchmarks">', None),
        (f'<a href="{REPOSITORY}/blob/main/.git">', "is not tracked"),
        (f'<a href="{REPOSITORY}/tree/main/site">', "is not tracked"),
        ('<link rel="stylesheet" href="//example.org/a.css">', "is not here"),
    ],
)
def test_links_that_do_not_work_are_found(tmp_path, tag, finding):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.html").write_text(f'<h1 id="top">A</h1>{tag}')
    (tmp_path / "b" / "c.png").touch()
    (tmp_path / "b" / "c.html").write_text('<h1 id="there">C</h1>')
    lines = check_links.problems(tmp_path)
    assert len(lines) == (finding is not None)
    assert all(line.endswith(finding) for line in lines)


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [name for name in ao.__all__ if inspect.isfunction(getattr(ao, name))]
)
def test_defaults_are_shown_as_python_writes_them(name, signatures):
    (shown,) = ast.parse(f"def {signatures[name]}: ...").body
    optional = shown.args.args[len(shown.args.args) - len(shown.args.defaults) :]
    pairs = [*zip(optional, shown.args.defaults, strict=True)]
    pairs += zip(shown.args.kwonlyargs, shown.args.kw_defaults, strict=True)
    parameters = inspect.signature(getattr(ao, name)).parameters.values()
    assert {argument.arg: ast.unparse(value) for argument, value in pairs} == {
        p.name: repr(p.default) for p in parameters if p.default is not p.empty
    }


def rendered(cell, hooks, config, tmp_path):
    """Returns a notebook of one cell as HTML."""
    path = tmp_path / "notebook.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return markdown.markdown(
        hooks.convert(path)[0],
        extensions=config.markdown_extensions,
        extension_configs=config.mdx_configs,
    )


def test_pages_are_in_the_order_in_which_one_learns(config, hooks):
    hooks.on_config(config)
    names = [name for entry in config.nav for name in entry]
    assert names[:6] == [
        "Home",
        "How to choose",
        "Recipes",
        "Notebooks",
        "Results",
        "API",
    ]
    assert names[6:10] == ["At scale", "bfloat16", "Caveats", "Measurements"]


def test_equations_are_set_as_formulas_and_code_is_not(hooks):
    equation = "    mₜ = β₁ mₜ₋₁ + (1−β₁) √(gₜ)     the average\n"
    code = "```python\n\n    x = 1  # √x\n\n```\n"
    text = hooks.set_formulas(f"The rule:\n\n{equation}\n{code}")
    assert text.count("<math") == 1
    assert "<msqrt>" in text and "<td>the average</td>" in text
    assert "ₜ" not in text
    assert text.endswith(code)


def test_every_equation_of_the_docstrings_is_a_formula(hooks):
    for name in ("adabelief", "scale_by_belief", "scale_by_layerwise_belief"):
        text = inspect.getdoc(getattr(ao, name)).split("\nArgs:\n")[0]
        lines = re.findall(r"^    \S.*[=←].*$", text, re.MULTILINE)
        shown = hooks.set_formulas(text)
        assert lines and shown.count("<tr>") == len(lines)
        assert not re.search(r"^    \S", shown, re.MULTILINE)


def test_the_picture_of_the_readme_is_there_for_light_and_dark(hooks):
    text = hooks.two_pictures((ROOT / "README.md").read_text())
    assert "<picture>" not in text
    assert "](streams-light.png#only-light)" in text
    assert "](streams-dark.png#only-dark)" in text


def test_an_answer_is_shown_as_text(hooks, config, tmp_path):
    data = {"text/markdown": "**Yes**, 7 %."}
    output = nbformat.v4.new_output("display_data", data=data)
    cell = nbformat.v4.new_code_cell("looks.say('')", outputs=[output])
    assert "<strong>Yes</strong>, 7 %." in rendered(cell, hooks, config, tmp_path)


@pytest.mark.parametrize("tags", [[], ["hide-input"]])
def test_code_that_draws_is_folded(tags, hooks, config, tmp_path):
    cell = nbformat.v4.new_code_cell("a = 1\n\nb = 2", metadata={"tags": tags})
    page = rendered(cell, hooks, config, tmp_path)
    code = html.unescape(re.sub("<[^>]*>", "", page.split("<code>")[1]))
    assert code.strip() == cell.source
    assert ("<details" in page.split("<code>")[0]) == bool(tags)


def test_what_a_cell_prints_is_not_shown_as_code(hooks, config, tmp_path):
    output = nbformat.v4.new_output("stream", text="1.0\n")
    cell = nbformat.v4.new_code_cell("print(x)", outputs=[output])
    page = rendered(cell, hooks, config, tmp_path)
    code, printed = re.findall(r'<div class="([^"]*)">.*?</div>', page, re.DOTALL)
    assert "output" in printed.split()
    assert "output" not in code.split()


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("`.ci/run`", f"{REPOSITORY}/blob/main/.ci/run"),
        ("`benchmarks/`", f"{REPOSITORY}/tree/main/benchmarks"),
        ("`.git`", None),
        ("`no/such.file`", None),
    ],
)
def test_a_mention_of_a_file_that_git_tracks_is_a_link(text, link, hooks, config):
    config.repo_url = REPOSITORY
    page = Page("Page", File("page.md", "docs", "site", False), config)
    found = hooks.on_page_markdown(text, page, config, Files([]))
    assert found == (f"[{text}]({link})" if link else text)

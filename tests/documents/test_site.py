"""Has the site everything, and does it show it as it should?"""

import html
import inspect
import re

import griffe
import markdown
import nbformat
import pytest
from mkdocs.config import load_config
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import adabelief_optax as ao
from tests.documents.test_address import ADDRESS
from tests.helpers import ROOT


@pytest.fixture(scope="module")
def config():
    return load_config(str(ROOT / "mkdocs.yml"))


@pytest.fixture
def hooks(config):
    return config.hooks["docs/hooks.py"]


@pytest.fixture
def page(hooks, config):
    hooks.on_config(config)
    return Page("Page", File("page.md", "docs", "site", False), config)


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
        ('<a href="https://example.org/nowhere">', None),
        ('<img src="b/d.png" alt="d">', None),
        ('<img src="b/c.png">', "has no text"),
        ('<img src="https://example.org/c.png" alt="c">', "is not here"),
        ('<script src="https://example.org/a.js">', "is not here"),
        ('<link rel="stylesheet" href="//example.org/a.css">', "is not here"),
    ],
)
def test_a_page_loads_nothing_and_says_what_it_shows(tag, finding, hooks, page, config):
    if finding is None:
        hooks.on_post_page(f"<p>{tag}</p>", page, config)
    else:
        with pytest.raises(PluginError, match=finding):
            hooks.on_post_page(f"<p>{tag}</p>", page, config)


def test_defaults_are_shown_as_python_writes_them(hooks):
    package = griffe.load(
        "adabelief_optax",
        search_paths=[ROOT],
        extensions=griffe.Extensions(hooks.Docstrings()),
    )
    for name in filter(lambda name: inspect.isfunction(getattr(ao, name)), ao.__all__):
        parameters = inspect.signature(getattr(ao, name)).parameters.values()
        assert {p.name: p.default for p in package[name].parameters} == {
            p.name: None if p.default is p.empty else repr(p.default)
            for p in parameters
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
    assert config.repo_url == ADDRESS


def test_equations_of_docstrings_are_formulas_and_code_is_not(hooks):
    for name in ("adabelief", "scale_by_belief", "scale_by_layerwise_belief"):
        text = inspect.getdoc(getattr(ao, name)).split("\nArgs:\n")[0]
        lines = re.findall(r"^    \S.*[=←].*$", text, re.MULTILINE)
        shown = hooks.set_formulas(text)
        assert lines and shown.count("<tr>") == len(lines)
        assert not re.search(r"^    \S", shown, re.MULTILINE)
        assert shown.count("<math") >= len(lines)
    code = "```python\n\n    x = 1  # √x\n\n```\n"
    assert hooks.set_formulas(code) == code


def test_the_picture_of_the_readme_is_there_for_light_and_dark(hooks):
    text = hooks.two_pictures((ROOT / "README.md").read_text())
    assert "<picture>" not in text
    assert "](streams-light.png#only-light)" in text
    assert "](streams-dark.png#only-dark)" in text


@pytest.mark.parametrize("tags", [[], ["hide-input"]])
def test_code_that_draws_is_folded(tags, hooks, config, tmp_path):
    cell = nbformat.v4.new_code_cell("a = 1\n\nb = 2", metadata={"tags": tags})
    page = rendered(cell, hooks, config, tmp_path)
    code = html.unescape(re.sub("<[^>]*>", "", page.split("<code>")[1]))
    assert code.strip() == cell.source
    assert ("<details" in page.split("<code>")[0]) == bool(tags)


def test_what_a_cell_prints_and_answers_is_not_shown_as_code(hooks, config, tmp_path):
    data = {"text/markdown": "**Yes**, 7 %."}
    answer = nbformat.v4.new_output("display_data", data=data)
    output = nbformat.v4.new_output("stream", text="1.0\n")
    cell = nbformat.v4.new_code_cell("print(x)", outputs=[output, answer])
    page = rendered(cell, hooks, config, tmp_path)
    code, printed = re.findall(r'<div class="([^"]*)">.*?</div>', page, re.DOTALL)
    assert "output" in printed.split()
    assert "output" not in code.split()
    assert "<strong>Yes</strong>, 7 %." in page


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("`.ci/run`", f"{ADDRESS}/blob/main/.ci/run"),
        ("`benchmarks/`", f"{ADDRESS}/tree/main/benchmarks"),
        ("`.git`", None),
    ],
)
def test_a_mention_of_a_file_that_git_tracks_is_a_link(text, link, hooks, page, config):
    found = hooks.on_page_markdown(text, page, config, Files([]))
    assert found == (f"[{text}]({link})" if link else text)

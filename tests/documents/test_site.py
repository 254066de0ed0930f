"""Has the site everything, and would its check find a link that does not work?"""

import importlib.util
import re

import pytest

import adabelief_optax as ao
from tests.helpers import ROOT


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
        ('<img src="b/d.png">', "does not exist"),
        ('<a href="b/c.html#nowhere">', "has no such anchor"),
        ('<a href="#nowhere">', "has no such anchor"),
        ('<script src="https://example.org/a.js">', "is not here"),
        ('<link rel="stylesheet" href="//example.org/a.css">', "is not here"),
    ],
)
def test_links_that_do_not_work_are_found(tmp_path, tag, finding):
    path = ROOT / "docs" / "check_links.py"
    spec = importlib.util.spec_from_file_location("check_links", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    (tmp_path / "b").mkdir()
    (tmp_path / "a.html").write_text(f'<h1 id="top">A</h1>{tag}')
    (tmp_path / "b" / "c.html").write_text('<h1 id="there">C</h1>')
    lines = script.problems(tmp_path)
    assert len(lines) == (finding is not None)
    assert all(line.endswith(finding) for line in lines)

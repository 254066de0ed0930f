"""Do all files give the repository the address that pyproject.toml has?"""

import importlib.util
import subprocess
import tomllib
from types import SimpleNamespace

import pytest

from tests.helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ADDRESS = PROJECT["urls"]["Repository"]
OWNER = ADDRESS.split("/")[-2]
NAMES = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
TEXTS = {
    name: (ROOT / name).read_text()
    for name in NAMES
    if name.endswith((".cff", ".ipynb", ".md", ".py", ".toml", ".yml"))
    and (ROOT / name).exists()
}


def script():
    spec = importlib.util.spec_from_file_location("address", ROOT / ".ci/address.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_file_has_another_address():
    with_address = script().with_address
    wrong = [name for name, x in TEXTS.items() if with_address(x, ADDRESS) != x]
    assert not wrong, "make address"


def test_only_what_is_read_as_it_is_repeats_the_address():
    having = {name for name, text in TEXTS.items() if ADDRESS in text}
    notebooks = {name for name in NAMES if name.endswith(".ipynb")}
    assert having == {"pyproject.toml", "README.md"} | notebooks


@pytest.mark.parametrize("prefix", ["git clone https://github.com", "x.org/github"])
def test_another_address_is_replaced_in_both_forms(prefix):
    with_owner = f"{prefix}/{{}}/adabelief_optax/blob".format
    new = script().with_address(with_owner("old"), ADDRESS.replace(OWNER, "new"))
    assert new == with_owner("new")


def test_the_site_links_to_it():
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    config = SimpleNamespace()
    hooks.on_config(config)
    assert config.repo_url == ADDRESS

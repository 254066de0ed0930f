"""Do all files give the repository the address that pyproject.toml has?"""

import subprocess
import tomllib

import pytest

from tests.helpers import ROOT, load

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ADDRESS = PROJECT["urls"]["Repository"]
NAMES = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
TEXTS = {
    name: (ROOT / name).read_text()
    for name in NAMES
    if name.endswith((".cff", ".ipynb", ".md", ".py", ".toml", ".yml"))
    and (ROOT / name).exists()
}
with_address = load(".ci/address.py").with_address


def test_no_file_has_another_address():
    wrong = [name for name, x in TEXTS.items() if with_address(x, ADDRESS) != x]
    assert not wrong, "make address"


def test_only_what_is_read_as_it_is_repeats_the_address():
    having = {name for name, text in TEXTS.items() if ADDRESS in text}
    notebooks = {name for name in NAMES if name.endswith(".ipynb")}
    assert having == {"pyproject.toml", "README.md"} | notebooks


@pytest.mark.parametrize("prefix", ["git clone https://github.com", "x.org/github"])
def test_another_address_is_replaced_in_both_forms(prefix):
    new = with_address(f"{prefix}/old/adabelief_optax/blob", ADDRESS)
    owner = ADDRESS.split("/")[-2]
    assert new == f"{prefix}/{owner}/adabelief_optax/blob"

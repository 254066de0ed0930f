"""Does the page of published curves say what the curves say?"""

import json
import re

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.published import curves, page

FILE = json.loads(curves.CURVES.read_text())
TRAININGS = FILE["trainings"]
KEPT = (page.OUT / "PUBLISHED.md").read_text()


def ends(source, model):
    """The mean of the last five values on test data, of each optimizer of a model."""
    return {
        t["optimizer"]: sum(t["test"][-5:]) / 5
        for t in TRAININGS
        if (t["source"], t["model"]) == (source, model) and len(t["test"]) > 5
    }


def row(text, beginning):
    """The cells of the first line of a table that begins so."""
    (line, *_) = re.findall(rf"^\| {re.escape(beginning)} \|.*$", text, re.MULTILINE)
    return [cell.strip() for cell in line.split("|")[2:-1]]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder in which the command has written."""
    folder = tmp_path_factory.mktemp("out")
    main(["published", "--out", str(folder)])
    return folder


def test_the_kept_page_is_what_the_command_writes(made):
    assert (made / "PUBLISHED.md").read_text() == KEPT
    names = {path.name for path in (made / "figures" / "published").iterdir()}
    assert names == {"cifar10.png", "treebank.png"}
    assert names == {p.name for p in (page.OUT / "figures" / "published").iterdir()}


def test_the_curves_say_where_they_are_from_and_are_small():
    assert curves.CURVES.stat().st_size < 2_000_000
    assert {t["source"] for t in TRAININGS} == set(FILE["sources"])
    for source in FILE["sources"].values():
        assert "BSD 2-Clause" in source["licence"] and len(source["commit"]) == 40
        assert source["repository"] in KEPT
    assert len({t["path"] + t["source"] for t in TRAININGS}) == len(TRAININGS)
    assert f"{len(TRAININGS)} files" in KEPT


@pytest.mark.parametrize("source", ["authors", "replication"])
@pytest.mark.parametrize(("model", "title"), curves.CIFAR.items())
def test_accuracies_of_cifar_are_means_of_the_last_five_epochs(source, model, title):
    found = ends(source, model)
    (sgd,) = (
        t["test"]
        for t in TRAININGS
        if (t["source"], t["model"], t["optimizer"]) == (source, model, "sgd")
    )
    expected = [found.get(name) for name in ("adabelief", "adam", "sgd")]
    # The authors' VGG-11 ends at 91.25, and a half goes up.
    cells = ["–" if x is None else f"{x + 1e-9:.1f}" for x in expected]
    assert row(KEPT, f"{title}, {source}") == [*cells, f"{max(sgd):.1f}"]


@pytest.mark.parametrize(("model", "title"), curves.TREEBANK.items())
def test_perplexities_are_means_of_the_last_five_epochs(model, title):
    ours, theirs = ends("authors", model), ends("replication", model)
    expected = [ours["adabelief"], ours["adam"], ours["sgd"]]
    expected += [theirs["adam"], theirs["sgd"]]
    found = [cell.split()[0] for cell in row(KEPT, title)]
    assert found == [f"{x:.1f}" for x in expected]


def test_the_leads_in_the_text_are_those_of_the_table():
    every = [ends(s, model) for s in curves.SOURCES for model in curves.CIFAR]
    full = [found for found in every if "adabelief" in found]
    assert len(full) == 5  # one file of the replication ends after one epoch
    for name, words in (("adam", "Adam ends"), ("sgd", "SGD ends")):
        leads = [found["adabelief"] - found[name] for found in full]
        assert f"{words} {min(leads):.1f} to {max(leads):.1f} points below" in KEPT


def test_the_epoch_of_ninety_percent_is_the_first():
    for t in TRAININGS:
        if (t["source"], t["model"], t["optimizer"]) == ("authors", "vgg", "adabelief"):
            reached = next(i for i, x in enumerate(t["train"], 1) if x >= 90)
    assert row(KEPT, "VGG-11")[0] == f"{reached}"


def test_the_difference_of_the_groups_leaves_out_copies_and_beginnings():
    off = page.differences()
    names = [
        (t["model"], t["optimizer"], t["hyperparameters"]["weight_decay"])
        for t in TRAININGS
        if t["model"] in curves.CIFAR and len(t["test"]) > 1 and "identical_to" not in t
    ]
    assert len(off) == len({n for n in names if names.count(n) == 2})
    words = f"{np.median(off):.2f} points in the median of {len(off)} settings"
    assert min(off) > 0 and words in " ".join(KEPT.split())


def test_the_largest_table_has_every_training_once():
    cells = sum(row.count("(copy)") for row in KEPT.splitlines())
    assert cells == sum("identical_to" in t for t in TRAININGS)
    shown = len(re.findall(r"\d \(\d+\)", KEPT)) + KEPT.count("| one epoch |")
    assert shown == len(TRAININGS)

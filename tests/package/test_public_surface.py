"""Are names, signatures, defaults and docstrings those that users expect?"""

import inspect
import re

import optax
import pytest

import adabelief_optax as ao


def test_all_is_the_public_names():
    public = {n for n in vars(ao) if not n.startswith("_")}
    assert sorted(ao.__all__) == sorted(public)
    assert len(set(ao.__all__)) == len(ao.__all__)


@pytest.mark.parametrize("name", ["adabelief", "aida", "ladam", "ladabelief"])
def test_positional_order_is_that_of_optax(name):
    ours = inspect.signature(getattr(ao, name)).parameters
    theirs = inspect.signature(optax.adabelief).parameters
    positional = [
        n
        for n, p in theirs.items()
        if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    assert list(ours)[: len(positional)] == positional
    assert ours["learning_rate"].annotation == optax.ScalarOrSchedule
    assert ours["weight_decay"].annotation == optax.ScalarOrSchedule
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    assert all(
        ours[n].kind is keyword_only
        for n in ("decay", "amsgrad", "mu_dtype", "rectify")
    )


def test_defaults():
    def defaults(f, *names):
        return [inspect.signature(f).parameters[n].default for n in names]

    names = ("b1", "b2", "eps", "eps_root", "rectify", "decay", "degenerate_to_sgd")
    # adabelief-pytorch 0.2.1 and Optax, but for rectify, where they differ.
    assert defaults(ao.adabelief, *names) == [
        0.9,
        0.999,
        1e-16,
        1e-16,
        False,
        "decoupled",
        True,
    ]
    # The authors' Aida, but for decay, which is coupled there.
    for f in (ao.aida, ao.ladam, ao.ladabelief):
        assert defaults(f, *names) == [
            0.9,
            0.999,
            0.0,
            1e-8,
            False,
            "decoupled",
            True,
        ]
        assert defaults(f, "stacked_axes") == [0]
    assert defaults(ao.aida, "k", "xi") == [2, 1e-20]


def test_recommended():
    for task, arguments in ao.RECOMMENDED.items():
        assert arguments["eps"] == arguments["eps_root"], task
        ao.adabelief(**arguments)
    cifar = dict(ao.RECOMMENDED["cifar"])
    assert (cifar["learning_rate"], cifar["eps"], cifar["decay"]) == (
        1e-3,
        1e-8,
        "coupled",
    )
    with pytest.raises(TypeError):
        ao.RECOMMENDED["cifar"] = {}


@pytest.mark.parametrize("name", ao.__all__)
def test_docstrings_name_what_a_user_needs(name):
    thing = getattr(ao, name)
    if not inspect.isfunction(thing):
        return
    doc = inspect.getdoc(thing)
    for section in ("Returns:", "Example:", "References:", "arXiv"):
        assert section in doc
    for argument in inspect.signature(thing).parameters:
        assert re.search(rf"^ +{argument}: ", doc, re.MULTILINE), argument

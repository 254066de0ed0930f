"""Are names, signatures, defaults and docstrings those that users expect?"""

import copy
import inspect
import json
import pydoc
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
    assert ours["weight_decay"].annotation == optax.ScalarOrSchedule | None
    assert ours["weight_decay"].default is None
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    assert all(
        ours[n].kind is keyword_only
        for n in ("decay", "amsgrad", "mu_dtype", "rectify")
    )


SWITCHES = dict(
    momentum=True,
    nesterov=False,
    amsgrad=False,
    rectify=False,
    degenerate_to_sgd=True,
    mu_dtype=None,
    nu_dtype=None,
)
# adabelief-pytorch 0.2.1 and Optax, but for rectify, where they differ. One default for
# the family, though the authors of Aida have eps = 0 and eps_root = 1e-8.
BELIEF = dict(b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16, **SWITCHES)
DECAY = dict(weight_decay=None, weight_decay_mask=None, decay="decoupled")
LAYERS = dict(stacked_axes=None, axis_name=None)
DEFAULTS = {
    "adabelief": BELIEF | DECAY,
    "aida": BELIEF | DECAY | LAYERS | dict(k=2, xi=1e-20),
    "ladam": BELIEF | DECAY | LAYERS | dict(processing="pre"),
    "ladabelief": BELIEF | DECAY | LAYERS | dict(processing="pre"),
    "scale_by_belief": BELIEF,
    "scale_by_layerwise_belief": BELIEF | LAYERS | dict(processing="pre"),
    "layerwise_projection": LAYERS | dict(k=2, xi=1e-20),
    "ignore_prediction": {},
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name):
    arguments = inspect.signature(getattr(ao, name)).parameters.values()
    found = {x.name: x.default for x in arguments if x.name != "learning_rate"}
    assert found == DEFAULTS[name]


def arguments_text(function):
    """Returns what the docstring says of each argument, without the line breaks."""
    text = inspect.getdoc(function).split("Args:\n")[1].split("\n\n")[0]
    _, *parts = re.split(r"^    (\w+): ", text, flags=re.MULTILINE)
    return {
        x: " ".join(y.split()) for x, y in zip(parts[::2], parts[1::2], strict=True)
    }


def test_optimizers_say_the_same_of_the_arguments_that_they_share():
    optimizers = (ao.adabelief, ao.aida, ao.ladam, ao.ladabelief)
    said = [arguments_text(f) for f in optimizers]
    for f, texts in zip(optimizers, said, strict=True):
        assert list(texts) == list(inspect.signature(f).parameters)
    for name in set().union(*said):
        assert len({texts[name] for texts in said if name in texts}) == 1, name


# The authors' tables, row by row. AdaBelief's have one eps, in and outside of the root.
END_OF_SCHEDULE = 2 * 512**-0.5 * 400 * 145 * 128000**-1.5  # 400 epochs of 145 steps
COLUMNS = ("learning_rate", "b1", "eps", "weight_decay", "decay", "rectify")
AUTHORS = {
    "cifar": (1e-3, 0.9, 1e-8, 5e-4, "coupled"),
    "imagenet": (1e-3, 0.9, 1e-8, 1e-2, "decoupled"),
    "object_detection": (1e-4, 0.9, 1e-8, 1e-4, "coupled"),
    "lstm_1_layer": (1e-3, 0.9, 1e-16, 1.2e-6, "coupled"),
    "lstm_2_or_3_layers": (1e-2, 0.9, 1e-12, 1.2e-6, "coupled"),
    "small_gan": (2e-4, 0.5, 1e-12, 0.0),
    "sn_gan": (2e-4, 0.5, 1e-16, 0.0, None, True),
    "transformer": (5e-4, 0.9, 1e-16, 1e-4, "decoupled", True),
    "rl_rainbow": (1e-4, 0.9, 1e-10, 0.0, None, True),
    "rl_halfcheetah": (1e-3, 0.9, 1e-12, 0.0, None, True),
    "aida_cifar": (1e-3, 0.9, 0.0, 5e-4, "coupled"),
    "aida_transformer": (pytest.approx(END_OF_SCHEDULE, rel=0.03), 0.9, 0.0, 0.0),
}
OTHERS = {
    "aida_cifar": {"eps_root": 1e-9},
    "aida_transformer": {"b2": 0.98, "eps_root": 1e-16},
}


@pytest.mark.parametrize("task", AUTHORS)
def test_recommended(task):
    named = dict(zip(COLUMNS, AUTHORS[task], strict=False))
    given = {name: x for name, x in named.items() if x is not None}
    expected = {"b2": 0.999, "eps_root": given["eps"], **given, **OTHERS.get(task, {})}
    assert dict(ao.RECOMMENDED[task]) == expected
    (ao.aida if task.startswith("aida_") else ao.adabelief)(**ao.RECOMMENDED[task])


def test_recommended_values_are_plain_data_and_stay():
    assert set(ao.RECOMMENDED) == set(AUTHORS)
    for changed in (ao.RECOMMENDED, ao.RECOMMENDED["cifar"]):
        with pytest.raises(TypeError, match="make a new dict"):
            changed["b1"] = 0.5
    assert copy.deepcopy(ao.RECOMMENDED) == ao.RECOMMENDED
    assert json.loads(json.dumps(ao.RECOMMENDED)) == ao.RECOMMENDED
    changed = ao.RECOMMENDED["transformer"] | {"learning_rate": 3e-4}
    assert changed["learning_rate"] == 3e-4
    assert ao.RECOMMENDED["transformer"]["learning_rate"] == 5e-4


FUNCTIONS = dict(inspect.getmembers(ao, inspect.isfunction))


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_docstrings_name_what_a_user_needs(function):
    doc = inspect.getdoc(function)
    for section in ("Returns:", "Example:", "References:", "arXiv"):
        assert section in doc
    for argument in inspect.signature(function).parameters:
        assert re.search(rf"^ +{argument}: ", doc, re.MULTILINE), argument


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_help_begins_with_a_signature_that_can_be_read(function):
    """With what its types stand for, that of aida has 1,700 characters."""
    shown = pydoc.plain(pydoc.render_doc(function)).split("\n    \n")[0]
    signature = shown.split(") -> ")[0]
    assert "Union" not in signature
    assert max(map(len, signature.splitlines()[2:])) <= 60
    names = list(inspect.signature(function).parameters)
    assert re.findall(r"^    (\w+): ", signature, re.MULTILINE) == names

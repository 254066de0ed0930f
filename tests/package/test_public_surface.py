"""Are names, signatures, defaults and docstrings those that users expect?"""

import inspect
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
RECOMMENDED = {
    "cifar": dict(
        learning_rate=1e-3, b1=0.9, eps=1e-8, weight_decay=5e-4, decay="coupled"
    ),
    "imagenet": dict(
        learning_rate=1e-3, b1=0.9, eps=1e-8, weight_decay=1e-2, decay="decoupled"
    ),
    "object_detection": dict(
        learning_rate=1e-4, b1=0.9, eps=1e-8, weight_decay=1e-4, decay="coupled"
    ),
    "lstm_1_layer": dict(
        learning_rate=1e-3, b1=0.9, eps=1e-16, weight_decay=1.2e-6, decay="coupled"
    ),
    "lstm_2_or_3_layers": dict(
        learning_rate=1e-2, b1=0.9, eps=1e-12, weight_decay=1.2e-6, decay="coupled"
    ),
    "small_gan": dict(learning_rate=2e-4, b1=0.5, eps=1e-12, weight_decay=0.0),
    "sn_gan": dict(
        learning_rate=2e-4, b1=0.5, eps=1e-16, weight_decay=0.0, rectify=True
    ),
    "transformer": dict(
        learning_rate=5e-4,
        b1=0.9,
        eps=1e-16,
        weight_decay=1e-4,
        decay="decoupled",
        rectify=True,
    ),
    "rl_rainbow": dict(
        learning_rate=1e-4, b1=0.9, eps=1e-10, weight_decay=0.0, rectify=True
    ),
    "rl_halfcheetah": dict(
        learning_rate=1e-3, b1=0.9, eps=1e-12, weight_decay=0.0, rectify=True
    ),
    "aida_cifar": dict(
        learning_rate=1e-3,
        b1=0.9,
        eps=0.0,
        eps_root=1e-9,
        weight_decay=5e-4,
        decay="coupled",
    ),
    # Their schedule at its end, after 400 epochs of 145 steps.
    "aida_transformer": dict(
        learning_rate=pytest.approx(2 * 512**-0.5 * 400 * 145 * 128000**-1.5, rel=0.03),
        b1=0.9,
        b2=0.98,
        eps=0.0,
        eps_root=1e-16,
        weight_decay=0.0,
    ),
}


def test_recommended():
    actual = {task: dict(row) for task, row in ao.RECOMMENDED.items()}
    expected = {
        task: {"b2": 0.999, "eps_root": row["eps"], **row}
        for task, row in RECOMMENDED.items()
    }
    assert actual == expected
    for task, row in ao.RECOMMENDED.items():
        (ao.aida if task.startswith("aida_") else ao.adabelief)(**row)


def test_recommended_cannot_be_changed():
    with pytest.raises(TypeError):
        ao.RECOMMENDED["cifar"] = {}
    with pytest.raises(TypeError):
        ao.RECOMMENDED["cifar"]["b1"] = 0.5


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

"""The methods under test: one table, and what differs between them is in it."""

import functools

import pytest

import adabelief_optax as ao

# Several at once: what each of them does alone is compared in test_reference.py.
SWITCHES = {
    "amsgrad": dict(nesterov=True, amsgrad=True, weight_decay=1e-3, decay="coupled"),
    "rectify": dict(rectify=True, weight_decay=1e-3, decay="fixed"),
    "no-sgd": dict(
        rectify=True, degenerate_to_sgd=False, amsgrad=True, weight_decay=1e-3
    ),
}

FAMILY = {
    "adabelief": ao.adabelief,
    "aida": ao.aida,
    "ladam": ao.ladam,
    "ladabelief": ao.ladabelief,
}

# What a switch does knows nothing of the residual, but of whether s is one a layer.
SWITCHED = {name: FAMILY[name] for name in ("aida", "ladabelief")}

EXACT = {
    **FAMILY,
    **{
        f"{name}-{switch}": functools.partial(factory, **kwargs)
        for name, factory in SWITCHED.items()
        for switch, kwargs in SWITCHES.items()
    },
    "aida-k20": functools.partial(ao.aida, k=20),
    # The mean of the stepsizes is that of an entry without gradients, if there is one:
    # with the default eps_root up to 3e6.
    "ladabelief-post": functools.partial(
        ao.ladabelief, processing="post", eps_root=1e-8
    ),
}

# These round to eight bits, where another order of operations is visible.
METHODS = {
    **EXACT,
    **{
        f"{name}-bfloat16-moments": functools.partial(
            factory, mu_dtype="bfloat16", nu_dtype="bfloat16"
        )
        for name, factory in SWITCHED.items()
    },
}


def every(methods, kept=FAMILY, argument="factory"):
    """Parametrizes a test by name; `make test-fast` takes none but the kept ones."""
    return pytest.mark.parametrize(
        argument,
        [
            pytest.param(
                method, id=name, marks=() if name in kept else pytest.mark.slow
            )
            for name, method in methods.items()
        ],
    )

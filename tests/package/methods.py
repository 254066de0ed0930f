"""The methods under test: one table, and what differs between them is in it."""

import functools

import pytest

import adabelief_optax as ao

# Several at once: what each of them does alone is compared in test_reference.py.
AMSGRAD = dict(nesterov=True, amsgrad=True, weight_decay=1e-3, decay="coupled")
RECTIFY = dict(rectify=True, weight_decay=1e-3, decay="fixed")
NO_SGD = dict(rectify=True, degenerate_to_sgd=False, amsgrad=True, weight_decay=1e-3)

FAMILY = {
    "adabelief": ao.adabelief,
    "aida": ao.aida,
    "ladam": ao.ladam,
    "ladabelief": ao.ladabelief,
}

EXACT = {
    **FAMILY,
    "aida-amsgrad": functools.partial(ao.aida, **AMSGRAD),
    "adabelief-rectify": functools.partial(ao.adabelief, **RECTIFY),
    "ladabelief-no-sgd": functools.partial(ao.ladabelief, **NO_SGD),
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
            FAMILY[name], mu_dtype="bfloat16", nu_dtype="bfloat16"
        )
        for name in ("aida", "ladabelief")
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

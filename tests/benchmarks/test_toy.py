"""Are the functions with known minima right, and the steps that the command counts?"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import store
from benchmarks.__main__ import main
from benchmarks.functions import FUNCTIONS
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.precision import double_precision
from benchmarks.suite.problems import problems
from benchmarks.suite.problems.quadratic import NOISE, Quadratic, floor
from benchmarks.toy import command
from benchmarks.toy.paths import CASES, follow, steps_to_target, values

# At the starts, by hand.
AT_STARTS = {
    "separable-l1": [2.5, 3.0],
    "inseparable-l1": [2.75],
    "inseparable-l2": [6.25 * 1.1],
    "uneven-l1": [1.55],
    "beale": [(1.5 + 8.75) ** 2 + (2.25 - 13.125) ** 2 + (2.625 + 41.5625) ** 2],
    "rosenbrock": [25 + 100 * 20**2],
}
NEAR = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 200))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    _, f, starts, minimum, betas = FUNCTIONS[name]
    assert f(*minimum) == 0
    assert (f(*(NEAR + np.array(minimum)[:, None])) > 0).all()
    np.testing.assert_allclose([f(*start) for start in starts], AT_STARTS[name])
    assert betas == ((0.3, 0.3) if name == "uneven-l1" else (0.9, 0.999))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_problems(name):
    problem, function = problems()[f"toy-{name}"], FUNCTIONS[name]
    with double_precision():
        splits = problem.load()
        points = jax.vmap(problem.init)(jax.random.split(jax.random.key(0), 50))
        f = problem.measure(points[0], splits.valid)
        batch = problem.batch(splits.train, jax.random.key(0))
        assert problem.loss(points[0], batch, jax.random.key(0)) == f
        assert points.dtype == f.dtype == jnp.float64
    moves = np.asarray(points) - function.starts[0]
    assert 0.2 < abs(moves).max() <= 0.25
    np.testing.assert_allclose(f, function.f(*np.asarray(points[0])))
    assert problem.betas == function.betas


def test_double_precision_is_local():
    with pytest.raises(KeyError), double_precision():
        assert jnp.zeros(1).dtype == jnp.float64
        raise KeyError
    assert jnp.zeros(1).dtype == jnp.float32


def rows_of(printed):
    """Returns the cells of each row of the tables, by the first one."""
    rows = [re.split(r"  +", line) for line in printed.splitlines()]
    return {name: cells for name, *cells in rows}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")  # SGD diverges
def test_printed_steps(capsys):
    main(["toy", "--optimizers", "sgd,adam", "--max-steps", "2600"])
    rows = rows_of(capsys.readouterr().out)
    # Where the gradient is constant, Adam's steps are as long as the learning rate.
    assert rows["Separable L1, (-2.5, 0)"] == ["259", "2500"]
    assert rows["Separable L1, (-2.75, 0.25)"] == ["284", "> 2600"]
    assert rows["Uneven L1, (0.5, -1.5)"][1] == "1500"
    assert rows["Beale, (-2.5, -2.5)"] == ["diverged", "> 2600"]
    assert rows["Rosenbrock"][0] == "1.00 [1.00, 1.00] (10)"  # Adam beside itself


def test_momentum_by_hand():
    """SGD on |x| from −2.5: the momentum sums up, and so do the steps."""
    x, m, steps = -2.5, 0.0, 0
    while abs(x) >= 1e-3:
        m = 0.9 * m + np.sign(x)
        x, steps = x - 1e-3 * m, steps + 1
    (case, *_), sgd = CASES, OPTIMIZERS["sgd"]
    (path,) = follow(sgd, [case], 1e-3, 300)
    assert steps_to_target(values(case, path)) == steps == 259


def test_quadratic():
    problem = Quadratic()
    eigenvalues = np.linalg.eigvalsh(problem.matrix)
    assert eigenvalues.min() > 0 and (eigenvalues < 1).sum() == 90
    assert ((eigenvalues > 30) & (eigenvalues < 60)).sum() == 10
    # Rotated: much of each row is off the diagonal.
    assert abs(problem.matrix - np.diag(np.diag(problem.matrix))).max() > 1
    valid = problem.splits.valid
    lowest = floor(problem.matrix, valid)
    # Of all parameters the mean is the best, and the noise's expected loss is near.
    at_mean = problem.measure(
        jnp.asarray(valid.mean(0), jnp.float32), problem.load()[1]
    )
    np.testing.assert_allclose(at_mean, lowest, rtol=1e-5)
    expected = NOISE**2 * eigenvalues.sum() / 2
    np.testing.assert_allclose(lowest, expected, rtol=0.04)  # 3 standard errors
    np.testing.assert_allclose(problem.target, 1.01 * lowest)
    start = problem.measure(problem.init(jax.random.key(0)), problem.load().valid)
    assert start > 2.5 * lowest
    # The training examples lead to the target.
    best = problem.load().train.mean(0)
    assert problem.measure(best, problem.load().valid) < problem.target


@pytest.mark.long
def test_the_published_ratios():
    """The smallest and the largest of AdaBelief's steps ÷ Adam's that pages quote."""
    found = command.ratios([OPTIMIZERS["adam"], OPTIMIZERS["adabelief"]], 1e-3, 30_000)
    middles = {name: float(row[1].split()[0]) for name, row in found.items()}
    assert min(middles, key=middles.get) == "Uneven L1"
    assert max(middles, key=middles.get) == "Inseparable L1"
    text = " ".join((store.RESULTS.parent / "README.md").read_text().split())
    assert f"from {found['Uneven L1'][1].partition(' (')[0]} (uneven L1)" in text
    assert f"to {found['Inseparable L1'][1]} (inseparable L1)" in text

"""Are the functions with known minima right, and the steps that the command counts?"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import looks, store
from benchmarks.__main__ import main
from benchmarks.functions import FUNCTIONS
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.precision import double_precision
from benchmarks.suite.problems import problems
from benchmarks.suite.problems.quadratic import NOISE, Quadratic, floor
from benchmarks.toy import command
from benchmarks.toy.paths import CASES

# At the starts, by hand.
AT_STARTS = {
    "separable-l1": [2.5, 3.0],
    "inseparable-l1": [2.75],
    "inseparable-l2": [6.25 * 1.1],
    "uneven-l1": [1.55],
    "beale": [(1.5 + 8.75) ** 2 + (2.25 - 13.125) ** 2 + (2.625 + 41.5625) ** 2],
    "rosenbrock": [25 + 100 * 20**2],
}
SMOOTH = ["inseparable-l2", "beale", "rosenbrock"]
NEAR = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 200))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    _, f, starts, minimum, betas = FUNCTIONS[name]
    assert f(*minimum) == 0
    assert (f(*(NEAR + np.array(minimum)[:, None])) > 0).all()
    np.testing.assert_allclose([f(*start) for start in starts], AT_STARTS[name])
    assert betas == ((0.3, 0.3) if name == "uneven-l1" else (0.9, 0.999))


@pytest.mark.parametrize("name", SMOOTH)
def test_gradient_at_the_minimum(name):
    f, minimum = FUNCTIONS[name].f, FUNCTIONS[name].minimum
    assert jax.grad(f, (0, 1))(*map(float, minimum)) == (0, 0)


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


def test_labels_and_order():
    labels = [OPTIMIZERS[name].label for name in command.NAMES]
    assert labels == [label for label in looks.LOOKS if label in labels]


def slopes(name, x, y):
    """Gradients by hand."""
    match name:
        case "Separable L1":
            return np.sign([x, y])
        case "Inseparable L1":
            a, b = np.sign(x + y), np.sign(x - y) / 10
            return np.array([a + b, a - b])
        case "Inseparable L2":
            a, b = 2 * (x + y), (x - y) / 5
            return np.array([a + b, a - b])
        case "Uneven L1":
            return np.sign([x, y]) * [0.1, 1]
        case "Rosenbrock":
            return np.array([2 * (x - 1) - 400 * x * (y - x**2), 200 * (y - x**2)])


def adam(g, m, s, t, rate, b1, b2):
    m, s = b1 * m + (1 - b1) * g, b2 * s + (1 - b2) * g**2
    hat = s / (1 - b2**t)
    return m, s, -rate * m / (1 - b1**t) / (np.sqrt(hat) + 1e-8)


def adabelief(g, m, s, t, rate, b1, b2):
    m = b1 * m + (1 - b1) * g
    s = b2 * s + (1 - b2) * (g - m) ** 2 + 1e-16
    hat = s / (1 - b2**t)
    return m, s, -rate * m / (1 - b1**t) / (np.sqrt(hat) + 1e-16)


def sgd(g, m, s, t, rate, b1, b2):
    m = b1 * m + g
    return m, s, -rate * m


def averaged_sgd(g, m, s, t, rate, b1, b2):
    m = b1 * m + (1 - b1) * g
    return m, s, -rate * m


def steps_by_hand(rule, case, rate, limit):
    x, m, s = np.array(case.start, float), np.zeros(2), np.zeros(2)
    for t in range(1, limit + 1):
        g = slopes(case.function.title, *x)
        m, s, update = rule(g, m, s, t, rate, *case.function.betas)
        x = x + update
        if case.function.f(*x) < 1e-3:
            return str(t)
    return f"> {limit}" if np.isfinite(x).all() else "diverged"


RULES = {"sgd": sgd, "sgd-averaged": averaged_sgd, "adam": adam, "adabelief": adabelief}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")  # SGD diverges
def test_printed_steps(capsys):
    limit = 450
    main(["toy", "--optimizers", ",".join(RULES), "--max-steps", str(limit)])
    printed = capsys.readouterr().out
    for case in CASES:
        if case.function.title == "Beale":
            continue
        (row,) = re.findall(
            rf"^{re.escape(f'{case.function.title}, {case.start}')} +(.*)$",
            printed,
            re.M,
        )
        expected = [steps_by_hand(rule, case, 1e-3, limit) for rule in RULES.values()]
        assert re.split(r"  +", row) == expected
    assert "395" in printed  # some do get there


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


# Here, and not in a new process: to import the packages takes seconds.
@pytest.mark.long
def test_command_draws(tmp_path, capsys):
    arguments = ["--smoke", "--optimizers", "adam,aida", "--animate"]
    main(["toy", *arguments, "--draw", str(tmp_path / "new")])
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "Rosenbrock, (-4, -4)" in printed.out and "> 300" in printed.out
    files = sorted((tmp_path / "new").iterdir())
    assert len(files) == len(CASES) + 2
    for file in files:
        magic = b"GIF89a" if file.suffix == ".gif" else b"\x89PNG"
        assert file.read_bytes().startswith(magic)
        assert f"saved {file}" in printed.out


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--learning-rate", "0"], "number > 0"),
        (["--learning-rate", "nan"], "number > 0"),
        (["--max-steps", "none"], "integer >= 1"),
        (["--optimizers", "adam,aido"], "ladabelief"),
        (["--draw", __file__], "folder"),
        (["--animate"], "--draw FOLDER"),
    ],
)
def test_wrong_options_say_what_is_allowed(arguments, allowed, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["toy", *arguments])
    assert allowed in capsys.readouterr().err


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

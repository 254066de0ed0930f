"""Does the benchmark suite train, resume and report what really happened?"""

import argparse
import json
import re
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
import pandas as pd
import pytest

from benchmarks import locks, looks, store
from benchmarks.data import MissingData, Splits
from benchmarks.optimizers import OPTIMIZERS, Optimizer
from benchmarks.suite import markdown, report, statistics
from benchmarks.suite import run as suite
from benchmarks.suite.candidates import CANDIDATES, Candidate
from benchmarks.suite.problem import Problem
from benchmarks.suite.problems import problems
from benchmarks.suite.progress import Progress
from benchmarks.suite.tasks import BUDGETS, Budget, Task, best, complete
from benchmarks.suite.trials import CALLS, Trial, compiled, train_together
from tests.helpers import python

QUADRATIC = problems()["quadratic"]


def run(*arguments):
    return python("-m", "benchmarks", *arguments)


class Counter:
    """What counts trainings in place of a progress bar."""

    count = 0

    def skip(self, trainings, seconds):
        del seconds
        self.count += trainings

    trained = skip


class Slope(Problem):
    """A noiseless parabola of one number, whose seeds differ in the start."""

    name, title, metric, target = "slope", "Slope", "loss", 1e-3
    steps, batch_size = 50, 1

    def load(self):
        return Splits(*jax.numpy.zeros((3, 1)))

    def init(self, key):
        return 1 + jax.random.uniform(key)

    def loss(self, params, batch, key):
        del batch, key
        return params**2

    def measure(self, params, split):
        del split
        return params**2


TEN = Budget(10, range(1000, 1001), range(10), 1)


def sgd_task(path, budget=TEN):
    return Task(Slope(), "sgd", CANDIDATES["sgd"], budget, path)


@pytest.mark.parametrize("devices", [1, 8])
def test_trials_trained_together_are_those_trained_alone(devices, monkeypatch):
    """One after the other on one CPU device, and under vmap on several."""
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    compiled.cache_clear()
    splits, adam = QUADRATIC.load(), OPTIMIZERS["adam"]
    trials = [Trial(1e-2, 1e-8, 0), Trial(3e-2, 1e-4, 1)]
    curves = train_together(QUADRATIC, adam, splits, trials, 100, lambda: None)
    for i, trial in enumerate(trials):
        tx = optax.adam(
            optax.cosine_decay_schedule(trial.rate, 100), *QUADRATIC.betas, trial.eps
        )
        draw, key = jax.random.split(jax.random.key(trial.seed))
        params = QUADRATIC.init(draw)
        state = tx.init(params)
        step = jax.jit(partial(QUADRATIC.step, tx))
        for _ in range(100):
            key, now = jax.random.split(key)
            params, state, _ = step(params, state, splits.train, now)
        # Sums in another order, amplified by 100 steps.
        np.testing.assert_allclose(
            curves.valid[i, -1], QUADRATIC.measure(params, splits.valid), rtol=1e-4
        )
        np.testing.assert_allclose(
            curves.test[i], QUADRATIC.measure(params, splits.test), rtol=1e-4
        )
        assert curves.valid.shape == (2, 101) and curves.train.shape == (2, 100)


def test_progress_counts_trainings_and_says_what_is_left(monkeypatch):
    seconds = iter([0.0, 10.0, 30.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(seconds))
    progress = Progress(20, 200.0)
    progress.leave_out(4, 40.0)
    progress.skip(6, 60.0)
    progress.trained(2, 20.0)  # in ten seconds, half of what was expected
    assert (progress.bar.n, progress.bar.total) == (8, 16)
    assert progress.bar.postfix == "about 00:40 left"
    progress.trained(8, 80.0)
    assert progress.bar.n == 16 and progress.bar.postfix == "about 00:00 left"
    progress.bar.close()


def test_budget_is_the_same_for_all_and_seeds_use_the_best_trial(tmp_path):
    path = tmp_path / "slope.jsonl"
    counter = Counter()
    complete(sgd_task(path), Slope().load(), counter)
    assert counter.count == pytest.approx(20)
    rows = store.read(path)
    tuned = [row for row in rows if row["role"] == "tune"]
    seeds = [row for row in rows if row["role"] == "seed"]
    assert len(tuned) == 10 and len(seeds) == 10
    lowest = min(
        (x for x in tuned if x["valid"][-1] is not None), key=lambda x: x["valid"][-1]
    )
    assert {row["rate"] for row in seeds} == {lowest["rate"]}
    assert [row["seed"] for row in seeds] == list(range(10))
    assert all(
        len(c.grid(10)) == len(set(c.grid(10))) == 10 for c in CANDIDATES.values()
    )


def test_a_diverged_trial_is_a_result(tmp_path):
    path = tmp_path / "slope.jsonl"
    sgd = Optimizer("SGD", lambda rate, b1, b2: optax.sgd(rate))
    wild = Candidate(sgd, rate=1e3, rates=(1e-2, 1e30))
    task = Task(Slope(), "sgd", wild, Budget(2, range(1), range(2), 1), path)
    complete(task, Slope().load(), Counter())
    calm, diverged = (row for row in store.read(path) if row["role"] == "tune")
    assert diverged["valid"][-1] is None and diverged["test"] is None
    assert diverged["steps_to_target"] is None
    assert calm["valid"][-1] < calm["valid"][0]
    assert all(row["rate"] == 1e-2 for row in store.read(path)[2:])


def test_resuming_trains_only_what_is_missing(tmp_path, monkeypatch):
    path = tmp_path / "slope.jsonl"
    complete(sgd_task(path), Slope().load(), Counter())
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    path.write_text("".join(lines[:13]) + lines[13][:50])  # killed while it wrote
    trained = []
    monkeypatch.setattr(
        "benchmarks.suite.tasks.train_together",
        lambda *args: trained.append(args[3]) or train_together(*args),
    )
    complete(sgd_task(path), Slope().load(), Counter())
    assert [trial.seed for trial in trained[0]] == list(range(3, 10))
    keep = ("rate", "eps", "seed", "steps_to_target", "test", "valid")
    ours = [[row[k] for k in keep] for row in store.read(path)]
    assert ours == [[json.loads(line)[k] for k in keep] for line in lines]


LINES = [
    {"role": "seed", "optimizer": "sgd", "problem": "slope", "seed": seed, "rate": 0.1}
    for seed in range(3)
]


def test_reading_never_writes_and_loses_no_whole_record(tmp_path):
    """An editor had dropped the last newline, and with it the last record went."""
    path = tmp_path / "slope.jsonl"
    store.append(path, LINES)
    text = path.read_text()
    for last, kept in (("\n", 3), ("}\n", 2)):
        path.write_text(text.removesuffix(last))
        assert store.read(path) == LINES[:kept]
        assert path.read_text() == text.removesuffix(last)
        store.append(path, [LINES[2] | {"seed": 9}])
        assert store.read(path) == [*LINES[:kept], LINES[2] | {"seed": 9}]


@pytest.mark.parametrize("bad", ["{", "3", "<<<<<<< HEAD"])
def test_a_line_that_is_no_record_is_named(tmp_path, bad):
    path = tmp_path / "slope.jsonl"
    store.append(path, LINES)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], bad, *lines[1:], ""]))
    with pytest.raises(SystemExit) as error:
        store.read(path)
    assert f"{path}, line 2 is no JSON object" in error.value.code


def test_a_training_recorded_twice_is_refused_by_name(tmp_path):
    path = store.path_of(tmp_path, "small", "digits")
    twice = LINES[1] | {"problem": "digits", "steps": 400}
    store.append(path, [*LINES, twice, twice])
    with pytest.raises(SystemExit) as error:
        report.write(tmp_path, tmp_path)
    assert f"{path}, line 5 is the same training as line 4 (digits, sgd, seed" in (
        error.value.code
    )


def started(*options):
    parser = argparse.ArgumentParser()
    suite.add_arguments(parser)
    suite.run(parser.parse_args([*options, "--problem", "quadratic,digits"]))


def test_two_runs_on_one_folder_are_refused(tmp_path):
    with locks.locked(tmp_path), pytest.raises(SystemExit, match="is in use by proc"):
        started("--results", str(tmp_path))
    assert not list(tmp_path.glob("*/*.jsonl"))


def test_nothing_but_missing_data_is_a_failure(tmp_path, monkeypatch):
    def left_out(problem, args, bar):
        missing = names is None or problem.name in names
        return MissingData("no data") if missing else None

    monkeypatch.setattr(suite, "run_problem", left_out)
    names = ["digits"]
    started("--results", str(tmp_path))
    names = None
    with pytest.raises(SystemExit, match="data of every problem is missing"):
        started("--results", str(tmp_path))


@pytest.mark.slow
def test_commands(tmp_path):
    results, missing = tmp_path / "results", tmp_path / "empty"
    missing.mkdir()
    options = ["--optimizer", "adam,aida", "--results", str(results), "--smoke"]
    names = "toy-beale,fashion-cnn,quadratic"
    done = run(
        "run", "--budget", "small", "--problem", names, *options,
        "--fashion-mnist", str(missing),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = (x for x in done.stdout.splitlines() if x.startswith("fashion-cnn"))
    assert "left out" in line
    lines = (results / "small" / "quadratic.jsonl").read_text().splitlines()
    assert len(lines) == 2 * (2 + 2)  # optimizers, trials and seeds
    again = run("run", "--budget", "small", "--problem", "quadratic", *options)
    assert again.returncode == 0
    assert (results / "small" / "quadratic.jsonl").read_text().splitlines() == lines
    done = run("report", "--results", str(results), "--out", str(tmp_path))
    assert done.returncode == 0 and "warn" not in done.stderr.lower(), done.stderr
    text = (tmp_path / "RESULTS.md").read_text()
    assert "Budget `small`" in text and "quadratic" in text and "Beale" in text
    pages = [tmp_path / "RESULTS.md", *(tmp_path / "pages").iterdir()]
    pictures = [
        page.parent / line.split("(")[-1].split(")")[0]
        for page in pages
        for line in page.read_text().splitlines()
        if line[:2] == "!["
    ]
    assert len(pictures) == 3  # of all, and of both problems
    assert all(path.read_bytes()[1:4] == b"PNG" for path in pictures)


def test_a_smoke_run_leaves_the_published_results_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    suite.add_arguments(parser)
    trained = []
    monkeypatch.setattr(suite, "run_problem", lambda p, args, bar: trained.append(args))
    for options in ([], ["--smoke"], ["--smoke", "--results", "here"]):
        suite.run(parser.parse_args([*options, "--problem", "quadratic"]))
    folders = [args.results for args in trained]
    assert folders == [store.RESULTS, suite.SMOKE_RESULTS, Path("here")]


def test_published_results_make_the_published_tables(tmp_path):
    done = run("report", "--smoke", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for made in [tmp_path / "RESULTS.md", *(tmp_path / "pages").iterdir()]:
        published = store.RESULTS.parent / made.relative_to(tmp_path)
        rows, expected = (
            [line for line in path.read_text().splitlines() if line[:1] == "|"]
            for path in (made, published)
        )
        assert rows == expected


NUMBER = r"[+-]?\d+(?:\.\d+)?"
INTERVAL = re.compile(rf"({NUMBER})(?: %)? \[({NUMBER}), ({NUMBER})\]")


def intervals(text):
    """Returns all "middle [lower, upper]" of a text, as numbers."""
    found = INTERVAL.findall(" ".join(text.replace("−", "-").split()))
    return {tuple(map(float, numbers)) for numbers in found}


@pytest.mark.parametrize(
    "page",
    ["README.md", "benchmarks/README.md", "docs/choosing.md", "docs/measurements.md"],
)
def test_intervals_of_the_texts_are_those_of_the_report(page):
    folder = store.RESULTS.parent
    pages = [folder / "RESULTS.md", *(folder / "pages").glob("*.md")]
    made = set().union(*(intervals(path.read_text()) for path in pages))
    # What is behind by so much, and how many seeds the other one wins.
    made |= {(-x, -upper, -lower) for x, lower, upper in made}
    made |= {(100 - x, 100 - upper, 100 - lower) for x, lower, upper in made}
    found = intervals((folder.parent / page).read_text())
    assert found and found <= made, found - made


EPS_ROWS = {
    "LSTM": "char-lstm",
    "Transformer": "char-transformer",
    "Digits": "digits",
    "Fashion-MNIST": "fashion-cnn",
    "VAE": "mnist-vae",
    "GAN": "wgan",
}
RATES_ROWS = {
    "AdaBelief": "adabelief",
    "Aida": "aida",
    "LAdaBelief": "ladabelief",
    "AdaBelief with `rectify=True`": "adabelief-rectified",
}


def rows_under(page, head):
    """Returns the cells of the table whose head begins so, a list a row."""
    _, text = (store.RESULTS.parents[1] / page).read_text().split(f"{head}", 1)
    lines = text.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("| ").split(" |")] for line in lines]


def test_eps_in_the_text_is_that_of_the_tuning():
    tuned = statistics.load(store.RESULTS, "small", "tune")
    rows = rows_under("benchmarks/README.md", "| | AdaBelief, 1e-16 |")
    assert len(rows) == len(EPS_ROWS)
    for title, *cells in rows:
        name = EPS_ROWS[title.split(",")[0]]
        larger = problems()[name].larger_is_better
        columns = [(x, eps) for x in ("adabelief", "aida") for eps in (1e-16, 1e-8)]
        columns += [("adam", 1e-8), ("adam", 1e-4)]
        for cell, (optimizer, eps) in zip(cells, columns, strict=True):
            mine = tuned[(tuned.problem == name) & (tuned.optimizer == optimizer)]
            mine = mine[np.isclose(mine.eps, eps, rtol=1e-3, atol=0)]
            last = mine.valid.map(lambda x: x[-1]).astype(float).groupby(mine.rate)
            best = last.mean().max() if larger else last.mean().min()
            assert abs(float(cell) - best) <= 0.51 * 10 ** -len(cell.split(".")[1])


def test_rates_in_the_text_are_those_chosen():
    seeds, _ = statistics.split(statistics.load(store.RESULTS, "small", "seed"))
    rates = seeds.groupby(["problem", "optimizer"]).rate.first().unstack()
    exponents = [0, -1, -0.5, 0.5, 1]  # of ten, a column each
    rows = rows_under("docs/choosing.md", "| | the same |")
    assert [row[0] for row in rows] == list(RATES_ROWS)
    for title, *cells in rows:
        found = np.log10(rates[RATES_ROWS[title]] / rates.adam)
        expected = [int((np.abs(found - x) < 0.1).sum()) for x in exponents]
        cells = [*cells, *[""] * (len(expected) - len(cells))]
        assert [int(cell.strip("| ") or 0) for cell in cells] == expected


@pytest.mark.parametrize("name", problems())
def test_published_trainings_began_where_the_code_begins(name):
    """Else network, data or metric are not those of the results any more."""
    problem = problems()[name]
    try:
        splits = problem.load()
    except MissingData as missing:
        pytest.skip(str(missing))
    records = [
        min(rows, key=lambda row: row["seed"])
        for budget in BUDGETS
        if (rows := store.read(store.path_of(store.RESULTS, budget, name)))
    ]
    with problem.precision():
        for record in records:
            draw, _ = jax.random.split(jax.random.key(record["seed"]))
            start = jax.jit(problem.measure)(problem.init(draw), splits.valid)
            # The published digits, and sums in the order of another machine.
            assert float(start) == pytest.approx(record["valid"][0], rel=1e-4)


def test_targets_are_where_the_pilots_adam_ends():
    rows = statistics.load(store.RESULTS, "pilot", "seed")
    for name, group in rows.groupby("problem"):
        last = float(np.median([valid[-1] for valid in group.valid]))
        assert problems()[name].target == float(f"{last:.3g}")
    own = {name for name in problems() if not statistics.is_toy(name)}
    assert own - set(rows.problem) == {"quadratic"}


def test_report_without_results(tmp_path):
    with pytest.raises(SystemExit, match="benchmarks run"):
        report.write(tmp_path, tmp_path)


@pytest.mark.parametrize("problem", problems().values(), ids=problems())
def test_problems_fit_the_suite(problem):
    assert problem.evaluations % CALLS == 0
    assert problem.steps % problem.evaluations == 0
    assert problem.metric and problem.title and np.isfinite(problem.target)


def test_every_optimizer_has_a_look_in_the_order_of_legends():
    labels = [optimizer.label for optimizer in OPTIMIZERS.values()]
    assert labels == [label for label in looks.LOOKS if label in labels]


def frame(optimizer, steps, test, problem="digits", budget=100):
    return pd.DataFrame(
        {
            "problem": problem,
            "optimizer": optimizer,
            "seed": range(len(steps)),
            "steps": budget,
            "steps_to_target": steps,
            "test": test,
            "valid": [[0.0, 50.0, 100.0]] * len(steps),
            "digits": 8,
            "failed": False,
        }
    )


def test_speed_and_wins_of_known_runs():
    half, whole = (
        frame("aida", [10, 20, 30], [95, 96, 97]),
        frame("adam", [20, 40, 60], [95, 97, 96]),
    )
    found = statistics.pairs(pd.concat([half, whole]), "aida", "adam")
    assert np.exp(statistics.interval(found, statistics.speed)) == pytest.approx(
        [0.5] * 3
    )
    assert statistics.wins(found[0]).tolist() == [0.5, 0, 1]
    assert statistics.effect(found[0]).tolist() == [0, -1, 1]
    middle, lower, upper = statistics.interval(found, statistics.wins)
    assert middle == 0.5 and 0 <= lower < middle < upper <= 1


def test_bootstrap_over_problems_covers_them():
    rows = pd.concat(
        [
            frame("aida", [10] * 5, [90] * 5),
            frame("adam", [20] * 5, [90] * 5),
            frame("aida", [20] * 5, [1] * 5, "mnist-vae"),
            frame("adam", [20] * 5, [1] * 5, "mnist-vae"),
        ]
    )
    ratio = np.exp(
        statistics.interval(statistics.pairs(rows, "aida", "adam"), statistics.speed)
    )
    assert ratio == pytest.approx([0.5**0.5, 0.5, 1])


def test_a_seed_that_misses_the_target():
    rows = frame("adam", [10.0, np.nan, np.nan], [95, None, 10])
    assert statistics.median_steps(rows) == np.inf
    assert np.exp(statistics.log_steps(rows)) == pytest.approx([10, 100, 100])
    assert statistics.losses(problems()["digits"], rows).tolist() == [-95, np.inf, -10]
    assert markdown.reached(rows) == "– (1 of 3)"


def test_performance_profile():
    steps = pd.DataFrame(
        {"digits": [10, 20], "mnist-vae": [np.inf, 30]}, index=["adam", "aida"]
    )
    shares = statistics.profile(steps, np.array([1, 2, 100]))
    assert shares.loc["adam"].tolist() == [0.5, 0.5, 0.5]
    assert shares.loc["aida"].tolist() == [0.5, 1, 1]


def test_best_takes_the_metrics_direction_and_the_mean_over_seeds():
    rows = [
        {"valid": [9.0, last], "steps_to_target": None, "rate": rate, "eps": 0.0}
        for rate, last in ((1, None), (1, 99.0), (2, 90.0), (2, 70.0), (3, 75.0))
    ]
    assert best(problems()["digits"], rows) == (2, 0.0)
    assert best(QUADRATIC, rows) == (3, 0.0)


def test_wins_count_nothing_that_the_records_cannot_tell():
    first, second = frame("aida", [10] * 3, [0.12345678, 0.1234568, 0.2]), None
    second = frame("adam", [10] * 3, [0.12345679, 0.1234570, 0.3])
    (pair,) = statistics.pairs(pd.concat([first, second]), "aida", "adam")
    assert statistics.wins(pair).tolist() == [0.5, 0, 0]
    (old,) = statistics.pairs(
        pd.concat([first, second]).drop(columns="digits"), "aida", "adam"
    )
    assert statistics.wins(old).tolist() == [0.5, 0.5, 0]


def test_steps_to_a_target_between_two_evaluations():
    row = pd.Series({"valid": [10.0, 60.0, 90.0], "steps": 100})
    digits = problems()["digits"]
    assert statistics.steps_to(digits, row, 75) == 75
    assert statistics.steps_to(digits, row, 91) == np.inf
    assert statistics.steps_to(digits, row, 5) == 0
    falls = pd.Series({"valid": [10.0, None, 2.0], "steps": 100})
    assert statistics.steps_to(QUADRATIC, falls, 4) == 100


def test_rows_in_which_neither_gets_to_the_target_have_a_dash():
    rows = pd.concat([frame(x, [np.nan] * 3, [50, 60, 70]) for x in ("aida", "adam")])
    assert markdown.ratio(statistics.pairs(rows, "aida", "adam")) == "–"


def test_score_is_the_area_under_the_profile():
    steps = pd.DataFrame(
        {
            "digits": [10, 20, 50],
            "mnist-vae": [30, np.inf, np.inf],
            "wgan": [np.inf, np.inf, np.inf],  # which nobody solves
        },
        index=["adam", "aida", "sgd"],
    )
    ratios = np.linspace(1, 4, 30_001)
    area = statistics.profile(steps, ratios).mean(axis=1)
    pd.testing.assert_series_equal(statistics.score(steps), area, atol=1e-4)


def test_what_a_wrong_learning_rate_leaves():
    rows = pd.DataFrame(
        [
            {"rate": rate, "eps": eps, "valid": [10.0, last]}
            for rate, eps, last in (
                (0.1, 0.0, 60.0), (0.1, 1.0, 20.0), (1.0, 0.0, 130.0),
                (1.0, 0.0, 10.0), (10.0, 0.0, None), (10.0, 0.0, 5.0),
            )
        ]
    ).assign(problem="digits", optimizer="adam")  # fmt: skip
    found = statistics.sensitivity(rows).set_index("wrong").left
    assert found.to_dict() == pytest.approx({-1: 100 * 50 / 60, 0: 100, 1: 0})


def test_the_problem_of_the_readme_trains():
    text = (store.RESULTS.parent / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    assert len(code.splitlines()) < 80
    namespace = {}
    exec(code, namespace)
    (line,) = namespace["PROBLEMS"]
    trials = [Trial(rate, 1e-8, 0) for rate in (1e-3, 1e-1)]
    curves = train_together(
        line, OPTIMIZERS["adam"], line.load(), trials, line.steps, int
    )
    assert curves.valid[1, -1] < line.target < curves.valid[0, -1]


@pytest.mark.parametrize(
    ("name", "curve", "failed"),
    [
        ("digits", [10, 50, 90], False),
        ("digits", [10, 98, 52], True),  # lost more than half of what it had
        ("digits", [10, 30, 45], True),  # less than half of Adam's 80
        ("digits", [10, 10, 10], True),  # died at chance
        ("quadratic", [290, 400, 105], False),
        ("quadratic", [290, 105, 300], True),
        ("quadratic", [290, 105, None], True),
    ],
)
def test_when_a_training_has_failed(name, curve, failed):
    problem = problems()[name]
    signed = statistics.signed(problem, curve)
    adam = {"digits": 80, "quadratic": 185}[name]
    assert statistics.failed(signed, adam) == failed

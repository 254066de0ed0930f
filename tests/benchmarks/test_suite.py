"""Does the benchmark suite search, train, resume and report what really happened?"""

import re
import shutil
from functools import partial
from itertools import product
from pathlib import Path

import jax
import numpy as np
import optax
import pandas as pd
import pytest

from benchmarks import looks, store
from benchmarks.__main__ import main
from benchmarks.intervals import in_words, interval
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.suite import markdown, protocol, records, report, statistics, trials
from benchmarks.suite import run as suite
from benchmarks.suite.candidates import CANDIDATES, rate_of
from benchmarks.suite.problems import problems
from benchmarks.suite.protocol import SEEDS, Outcome, Setting
from benchmarks.suite.trials import Curves, Trial, train_all
from benchmarks.toy import command

QUADRATIC, DIGITS = problems()["quadratic"], problems()["digits"]


# Trainings


@pytest.mark.long
@pytest.mark.parametrize("together", [False, True])
def test_trials_trained_together_are_those_trained_alone(together, monkeypatch):
    """One after the other as on a CPU, and under vmap as on an accelerator."""
    monkeypatch.setattr(trials, "on_cpu", lambda: not together)
    monkeypatch.setattr(trials, "WIDTH", 2)
    trials.compiled.cache_clear()
    problem, adam = suite.smaller(QUADRATIC), OPTIMIZERS["adam"]
    problem.steps, splits = 100, problem.load()
    some = [Trial(1e-2, 1e-8, 0.0, 0), Trial(3e-2, 1e-4, 0.1, 1), Trial(3, 1, 0.5, 2)]
    curves = list(train_all(problem, adam, splits, some))
    for curve, trial in zip(curves, some, strict=True):
        rate = trials.schedule(problem, 100, trial.rate, trial.warmup)
        tx = optax.adam(rate, *problem.betas, trial.eps)
        draw, key = jax.random.split(jax.random.key(trial.seed))
        params = problem.init(draw)
        state = tx.init(params)
        step = jax.jit(partial(problem.step, tx))
        for _ in range(100):
            key, now = jax.random.split(key)
            params, state, _ = step(params, state, splits.train, now)
        # Sums in another order, amplified by 100 steps.
        valid, test = (problem.measure(params, x) for x in splits[1:])
        np.testing.assert_allclose(curve.valid[-1], valid, rtol=1e-4)
        np.testing.assert_allclose(curve.test, test, rtol=1e-4)
        assert curve.valid.shape == (26,) and curve.train.shape == (25,)


def test_the_rate_rises_and_falls():
    steps = np.arange(200)
    plain, warm = (trials.schedule(QUADRATIC, 200, 0.3, x)(steps) for x in (0.0, 0.1))
    cosine = optax.cosine_decay_schedule(0.3, 200)(steps)
    np.testing.assert_allclose(plain, cosine, atol=1e-7)
    np.testing.assert_allclose(warm[:20], 0.3 * np.arange(1, 21) / 20, rtol=1e-6)
    cosine = optax.cosine_decay_schedule(0.3, 180)(steps[:180])
    np.testing.assert_allclose(warm[20:], cosine, atol=1e-7)
    gan = trials.schedule(problems()["wgan"], 200, 0.3, 0.1)(steps)
    np.testing.assert_allclose(gan[19:], 0.3, rtol=1e-6)


# The search


def searched(candidate, outcome, problem=QUADRATIC, at_once=None):
    """Returns what a search finds whose trainings come to `outcome`."""
    found = {}
    for _ in range(100):
        want = protocol.missing(problem, candidate, found)
        for setting, seeds in [*want.items()][:at_once]:
            for seed in seeds:
                found.setdefault(setting, {})[seed] = outcome(setting, seed)
    assert not want
    return found


def bowl(end, speed, noise=0.0):
    """Outcomes that are best at one exponent by the end, at another by speed."""

    def outcome(setting, seed):
        rng = np.random.default_rng([seed, setting.exponent + 50])
        away = noise * rng.normal(size=2) + (setting.eps > 1e-9)
        values = [(setting.exponent - x) ** 2 for x in (end, speed)]
        return Outcome(*(values + away), True)

    return outcome


@pytest.mark.parametrize("name", ["adam", "sgd", "aida"])
@pytest.mark.parametrize(("end", "speed"), [(-5, -4), (-9, -5), (-6, -1), (-9, -1)])
def test_no_best_rate_is_at_the_edge_of_what_was_tried(name, end, speed):
    candidate = CANDIDATES[name]
    found = searched(candidate, bowl(end, speed, 0.1))
    exponents = {setting.exponent for setting in found}
    for criterion, best in (("end", end), ("speed", speed)):
        choice = protocol.choose(candidate, found, criterion)
        assert choice == ((best, candidate.epses[0]), True)
        assert {best - 1, best, best + 1} <= exponents
        assert set(found[choice.setting]) == {x for some in SEEDS for x in some}


@pytest.mark.parametrize("best", [-20, 20])
def test_the_limit_of_the_search_is_said(best):
    candidate = CANDIDATES["adabelief"]
    found = searched(candidate, bowl(best, -6))
    choice = protocol.choose(candidate, found, "end")
    limit = candidate.default + np.sign(best) * protocol.LIMIT
    assert choice == ((limit, 1e-16), False)
    assert protocol.choose(candidate, found, "speed").bracketed


def test_divergence_is_never_chosen_nor_gone_beyond():
    def outcome(setting, seed):
        end = np.inf if setting.exponent > -5 else -setting.exponent
        return Outcome(end, end, True)

    found = searched(CANDIDATES["adam"], outcome)
    assert protocol.choose(CANDIDATES["adam"], found, "end").setting.exponent == -5
    assert max(setting.exponent for setting in found) == CANDIDATES["adam"].default + 4


def test_ten_seeds_choose_among_what_three_cannot_tell_apart():
    """The three tuning seeds mislead, and the seven after them do not."""

    def outcome(setting, seed):
        near = setting.exponent in (-6, -5)
        lucky = 0.2 * (setting.exponent == -6) * (seed in SEEDS.first)
        spread = 0.3 * ((seed % 3) - 1) * (1 if setting.exponent == -6 else -1)
        value = (0.0 if near else 9.0) + 0.1 * (setting.exponent == -6) - lucky
        return Outcome(value + spread + (setting.eps > 1e-9), value, True)

    found = searched(CANDIDATES["adabelief"], outcome)
    first = {
        x: protocol.mean(found, Setting(x, 1e-16), SEEDS.first, "end") for x in (-6, -5)
    }
    assert first[-6] < first[-5]
    choice = protocol.choose(CANDIDATES["adabelief"], found, "end")
    assert choice.setting.exponent == -5
    several = set(SEEDS.first + SEEDS.second)
    assert {x.exponent for x, seeds in found.items() if several <= set(seeds)} >= {
        -6,
        -5,
    }


def test_speed_does_not_choose_where_nothing_gets_to_the_target():
    def outcome(setting, seed):
        return Outcome(float(abs(setting.exponent + 5)), 1.0, False)

    found = searched(CANDIDATES["sgd"], outcome)
    assert protocol.criteria(QUADRATIC, found) == ("end",)
    toy = problems()["toy-beale"]
    found = searched(CANDIDATES["sgd"], bowl(-5, -3), toy)
    assert protocol.criteria(toy, found) == ("speed",)


def test_an_interrupted_search_goes_on_where_it_was():
    outcome = bowl(-9, -3, 1.0)
    one_by_one = searched(CANDIDATES["aida"], outcome, at_once=1)
    assert one_by_one == searched(CANDIDATES["aida"], outcome)


def test_all_optimizers_try_alike():
    for candidate in CANDIDATES.values():
        want = protocol.missing(QUADRATIC, candidate, {})
        exponents = {x.exponent - candidate.default for x in want}
        assert exponents == set(range(-2, 5))
        assert len(want) == len(exponents) * len(candidate.epses)
        assert set(want.values()) == {SEEDS.first}
    assert [rate_of(x) for x in (-7, -6, -1, 0)] == [3.16e-4, 1e-3, 0.316, 1.0]


# Records


DEFAULT = Setting(-6, 0.0)


def curves_of(valid, count=2):
    valid = np.array(valid, float)
    return [Curves(np.zeros(50), np.resize(valid, 51), valid[-1])] * count


def record(setting=DEFAULT, seeds=(1000, 1001), valid=(9.0, 50.0), **changes):
    made = records.describe(DIGITS, "sgd", setting, seeds, curves_of(valid))
    return made | changes


def add(folder, *found):
    store.append(records.path_of(folder, "digits"), list(found))


def test_records_say_what_the_search_asks(tmp_path):
    add(tmp_path, record(), record(Setting(-5, 0.0)))
    rows = records.read(tmp_path, DIGITS, "sgd")
    found = records.found(DIGITS, rows)
    assert set(found) == {Setting(-6, 0.0), Setting(-5, 0.0)}
    assert found[Setting(-6, 0.0)][1001] == Outcome(-9.0, np.log(1000), False)
    assert rows[0]["rate"] == 1e-3 and rows[0]["device"] == "cpu"


def test_records_of_something_else_do_not_count(tmp_path):
    others = {"version": 2, "steps": 400, "warmup": 0.1, "problem": "wgan"}
    add(tmp_path, *(record(**{key: value}) for key, value in others.items()))
    assert not records.read(tmp_path, DIGITS, "sgd")


def test_a_training_recorded_twice_is_refused_by_name(tmp_path):
    add(tmp_path, record(), record(seeds=(1001, 1002)))
    with pytest.raises(SystemExit, match=r"sgd has rate, eps and seed .*1001\) twice"):
        statistics.load(tmp_path)


def test_a_diverged_training_is_a_result():
    made = record(valid=(9.0, 99.0, np.nan))
    assert made["last"] == made["test"] == [None, None] and made["best"] == [99.0, 99.0]
    (outcome, _) = records.found(DIGITS, [made])[Setting(-6, 0.0)].values()
    assert outcome.end == np.inf and outcome.reached


def test_curves_are_kept_of_fresh_seeds_alone():
    assert "valid" not in record()
    made = record(seeds=(100, 101))
    assert np.shape(made["valid"]) == (3, 26) and np.shape(made["train"]) == (3, 25)


def test_steps_to_a_target_between_two_evaluations():
    assert records.steps_to(DIGITS, [10, 90, DIGITS.target + 8.3]) == 750
    assert np.isnan(records.steps_to(DIGITS, [10, 60, 98]))
    assert records.steps_to(DIGITS, [99, 60, 98]) == 0
    falls = [300, np.nan, 100]
    assert records.steps_to(QUADRATIC, falls) == QUADRATIC.steps


def test_records_are_added_behind_those_that_are_there(tmp_path):
    """An editor had dropped the last newline, and with it the last record went."""
    path = tmp_path / "new" / "slope.jsonl"
    store.append(path, [{"seed": 0}, {"seed": 1}])
    path.write_text(path.read_text().removesuffix("\n"))
    store.append(path, [{"seed": 2}])
    assert store.read(path) == [{"seed": seed} for seed in range(3)]


@pytest.mark.parametrize("bad", ["{", "3"])
def test_a_line_that_is_no_record_is_named(tmp_path, bad):
    path = tmp_path / "slope.jsonl"
    path.write_text("\n".join(['{"seed": 0}', bad, '{"seed": 1}']))
    with pytest.raises(SystemExit, match=r"slope\.jsonl, line 2 is no JSON object"):
        store.read(path)


# Statistics


def frame(optimizer, steps, test, problem="digits", budget=100, **more):
    return pd.DataFrame(
        {
            "problem": problem,
            "optimizer": optimizer,
            "seed": range(len(steps)),
            "stage": "fresh",
            "steps": budget,
            "steps_to_target": np.array(steps, float),
            "test": np.array(test, float),
            "first": 0.0,
            "last": 100.0,
            "failed": False,
        }
        | more
    )


def test_an_interval_is_students():
    estimate = interval([1.0, 2.0, 3.0])
    # t of 2 degrees of freedom is 4.302653, the standard error 1/√3.
    np.testing.assert_allclose(estimate, [2, 2 - 2.484138, 2 + 2.484138], rtol=1e-6)
    assert in_words(estimate, ".2f") == "2.00 [-0.48, 4.48]"
    assert in_words(interval([1.0]), ".1f") == "1.0"


def test_speed_wins_and_effect_of_known_runs():
    half = frame("aida", [10, 20, 30], [95, 96, 97])
    whole = frame("adam", [20, 40, 60], [95, 97, 96])
    rows = pd.concat([half, whole])
    (pair,) = statistics.pairs(rows, "aida", "adam")
    np.testing.assert_allclose(np.exp(statistics.speed(pair)), 0.5)
    assert statistics.wins(pair).tolist() == [0.5, 0, 1]
    assert statistics.effect(pair).tolist() == [0, -1, 1]  # of Adam's gain of 100
    assert statistics.difference(pair).tolist() == [0, -1, 1]


def test_the_ratio_is_over_problems_and_misses_are_counted():
    rows = pd.concat(
        [
            frame("adabelief", [10] * 5, [90] * 5),
            frame("adam", [20] * 5, [90] * 5),
            frame("adabelief", [20] * 4 + [np.nan], [1] * 5, "mnist-vae", 20),
            frame("adam", [20] * 5, [1] * 5, "mnist-vae", 20),
            frame("adabelief", [np.nan] * 5, [1] * 5, "wgan"),
            frame("adam", [np.nan] * 5, [1] * 5, "wgan"),
        ]
    )
    table = markdown.speeds(rows, statistics.Estimate(0.0, -0.1, 0.1))
    (line,) = (x for x in table.splitlines() if x.startswith("| AdaBelief ÷ Adam |"))
    lower, upper = np.exp(np.log(0.5) / 2 * (1 + np.array([1, -1]) * 12.7062))
    ratio = f"{0.5**0.5:.2f} [{lower:.2f}, {upper:.2f}]"
    assert line.split(" | ")[1:] == [ratio, "0.50, 1.00", "0.71", "1 : 0 of 10 |"]


def test_a_seed_that_misses_the_target():
    rows = frame("adam", [10.0, np.nan, np.nan], [95, None, 10])
    assert np.exp(statistics.log_steps(rows)) == pytest.approx([10, 100, 100])
    assert statistics.losses(DIGITS, rows).tolist() == [-95, np.inf, -10]
    assert markdown.steps(rows) == "– (2 of 3 miss)"


@pytest.mark.parametrize(
    ("name", "curve", "failed"),
    [
        ("digits", [10, 50, 90], False),
        ("digits", [10, 98, 52], True),  # lost more than half of what it had
        ("digits", [10, 30, 45], True),  # less than half of Adam's 80
        ("quadratic", [290, 105, 300], True),
        ("quadratic", [290, 105, None], True),
    ],
)
def test_when_a_training_has_failed(name, curve, failed):
    first, *_, last = curve = np.array(curve, float)
    best = (np.nanmax if problems()[name].larger_is_better else np.nanmin)(curve)
    gain = {"digits": 80.0, "quadratic": -185.0}[name]
    both = pd.DataFrame(
        {
            "problem": name,
            "optimizer": ["aida", "adam"],
            "stage": "fresh",
            "first": first,
            "best": [best, first + gain],
            "last": [last, first + gain],
        }
    )
    assert statistics.judged(both).failed.tolist() == [failed, False]


def test_the_noise_floor_is_that_of_tuning():
    """Two settings of equal speed: none. Two that seeds cannot tell apart: some."""
    spreads = []
    for noise in (0.0, 1.0):
        found = searched(CANDIDATES["adabelief"], bowl(-5, -5, noise))
        rng = np.random.default_rng(0)
        spreads.append(statistics.retuned(found, rng, 500).std())
    assert spreads[0] == 0 and 0.05 < spreads[1] < 2


def test_an_error_has_the_digits_that_it_supports():
    values = np.array([1.0, 2.0, 3.0, 4.0])  # a standard error of 0.6455
    assert markdown.with_error(values) == "2.5 ± 0.6"
    assert markdown.with_error(values / 4, "+") == "+0.62 ± 0.16"
    assert markdown.with_error(100 * values) == "250 ± 65"


def test_a_wins_on_eps_is_seed_by_seed():
    rows = [
        {"rate": rate, "eps": eps, "seed": seed, "last": 90 + eps + seed + rate}
        for rate, eps, seed in product((1, 2), (0.0, 3.0), (0, 1, 2))
    ]
    tuned = pd.DataFrame(rows).assign(problem="digits", optimizer="aida", stage="first")
    epses = CANDIDATES["aida"].epses
    tuned["eps"] = tuned.eps.map({0.0: epses[0], 3.0: epses[1]})
    assert markdown.eps_effect(tuned) == "-3 ± 0 (3)"


# Commands


@pytest.mark.long
def test_run_trains_what_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path / "empty"))
    options = ["--results", str(tmp_path), "--smoke", "--problem"]
    main(["run", *options, "fashion-cnn,quadratic"])
    assert "\nfashion-cnn is left out" in capsys.readouterr().out
    path = records.path_of(tmp_path, "quadratic")
    seeds = [seed for record in store.read(path) for seed in record["seeds"]]
    assert {1000, 1001, 100, 101} == set(seeds)
    before = path.read_text()
    main(["run", *options, "quadratic"])
    assert path.read_text() == before
    with pytest.raises(SystemExit, match="the data of every problem is missing"):
        main(["run", *options, "fashion-cnn"])


def test_two_runs_on_one_folder_train_nothing_twice(tmp_path, monkeypatch, capsys):
    """What one is at, another leaves out."""
    words, tried = ["run", "--results", str(tmp_path), "--problem", "quadratic"], []

    def stage(problem, name, *rest):
        tried.append((problem.name, name))
        if len(tried) == 1:
            main([*words, "--optimizer", "sgd"])
        return False

    monkeypatch.setattr(suite, "stage", stage)
    main([*words, "--optimizer", "sgd"])
    assert tried == [("quadratic", "sgd")]
    assert "another process is at it" in capsys.readouterr().out


def test_a_smoke_run_leaves_the_published_results_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = []
    monkeypatch.setattr(suite, "complete", lambda *args: folders.append(args[3]))
    monkeypatch.setattr(store, "RESULTS", tmp_path / "published")
    for more in ([], ["--smoke"], ["--smoke", "--results", "here"]):
        main(["run", "--problem", "quadratic", "--optimizer", "sgd", *more])
    found = [args.results for args in folders]
    assert found == [tmp_path / "published", suite.SMOKE_RESULTS, Path("here")]


@pytest.mark.long
def test_a_report_of_one_problem(tmp_path):
    words = ["report", "--results", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="benchmarks run"):
        main(words)
    path = records.path_of(store.RESULTS, "quadratic")
    records.path_of(tmp_path, "quadratic").parent.mkdir()
    shutil.copy(path, records.path_of(tmp_path, "quadratic"))
    main(words)
    assert "Noisy quadratic" in (tmp_path / "out" / "RESULTS.md").read_text()
    drawn = {path.stem for path in tmp_path.rglob("*.png")}
    assert drawn == {"rates", "quadratic"}


@pytest.mark.parametrize("problem", problems().values(), ids=problems())
def test_problems_fit_the_suite(problem):
    assert problem.evaluations % records.POINTS == 0
    assert problem.steps % problem.evaluations == 0
    assert problem.metric and problem.title and np.isfinite(problem.target)


def test_every_optimizer_has_a_look_in_the_order_of_legends():
    toys = {name: OPTIMIZERS[name] for name in command.NAMES}
    for group in (OPTIMIZERS, CANDIDATES, toys):
        labels = [optimizer.label for optimizer in group.values()]
        assert labels == [label for label in looks.LOOKS if label in labels]


def test_the_problem_of_the_page_trains():
    text = (store.RESULTS.parent / "SUITE.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    assert len(code.splitlines()) < 80
    namespace = {}
    exec(code, namespace)
    (line,) = namespace["PROBLEMS"]
    some = [Trial(rate, 1e-8, 0.0, 0) for rate in (1e-3, 1e-1)]
    slow, fast = train_all(line, OPTIMIZERS["adam"], line.load(), some)
    assert fast.valid[-1] < line.target < slow.valid[-1]


# What is published


@pytest.fixture(scope="module")
def published():
    return statistics.load(store.RESULTS)


@pytest.fixture(scope="module")
def chosen():
    return statistics.choices(store.RESULTS)


def test_published_results_make_the_published_tables(published, chosen):
    folder = store.RESULTS.parent
    made = report.pages(store.RESULTS, published, chosen)
    for name, text in made.items():
        assert text == (folder / name).read_text()
        for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
            path = (folder / name).parent / picture
            assert path.read_bytes()[1:4] == b"PNG"
    pages = {f"pages/{path.name}" for path in (folder / "pages").iterdir()}
    assert {"RESULTS.md", *pages} == set(made)


PILOTS = [path.stem for path in (store.RESULTS / "pilot").iterdir()]


@pytest.mark.parametrize("name", PILOTS)
def test_targets_are_what_the_pilot_came_to(name):
    """To three digits, after a quarter of the steps."""
    problem = problems()[name]
    (record,) = store.read(store.path_of(store.RESULTS, "pilot", name))
    assert (record["optimizer"], len(record["seeds"])) == ("adam", 10)
    assert record["steps"] == problem.steps / 4
    assert float(f"{np.median(record['last']):.3g}") == problem.target


def test_every_published_choice_is_bracketed_or_at_the_limit(published, chosen):
    for row in chosen.itertuples():
        same = (published.problem == row.problem) & (
            published.optimizer == row.optimizer
        )
        exponents = set((2 * np.log10(published.rate[same])).round().astype(int))
        best = round(2 * np.log10(row.rate))
        assert row.bracketed == ({best - 1, best + 1} <= exponents)
        away = abs(best - CANDIDATES[row.optimizer].default)
        assert row.bracketed or away == protocol.LIMIT
        fresh = published[same & (published.stage == "fresh")]
        mine = fresh[(fresh.rate == row.rate) & (fresh.eps == row.eps)]
        assert sorted(mine.seed) == list(SEEDS.fresh)


NUMBER = r"[+-]?\d+(?:\.\d+)?"
INTERVAL = re.compile(rf"({NUMBER})(?: %)? \[({NUMBER}), ({NUMBER})\]")


def intervals(text):
    """Returns all "middle [lower, upper]" of a text, as numbers."""
    found = INTERVAL.findall(" ".join(text.replace("−", "-").split()))
    return {tuple(map(float, numbers)) for numbers in found}


def page(name):
    return (store.RESULTS.parents[1] / name).read_text()


def made_by_report():
    folder = store.RESULTS.parent
    pages = [folder / "RESULTS.md", *(folder / "pages").glob("*.md")]
    return "".join(path.read_text() for path in pages)


PAGES = "README.md", "benchmarks/README.md", "docs/choosing.md", "docs/measurements.md"
ERROR = re.compile(rf"({NUMBER}) ± ({NUMBER})")
# `python -m benchmarks toy` computes these, as test_toy.py does.
OF_TOYS = {(0.09, 0.01, 0.71), (0.85, 0.84, 0.86)}


@pytest.mark.parametrize("name", PAGES)
def test_intervals_of_the_texts_are_those_of_the_report(name):
    found = intervals(page(name))
    assert found and found <= intervals(made_by_report()) | OF_TOYS


@pytest.mark.parametrize("name", PAGES[:3])
def test_errors_of_the_texts_are_those_of_the_report(name):
    made = {
        tuple(x.lstrip("+-") for x in pair) for pair in ERROR.findall(made_by_report())
    }
    assert set(ERROR.findall(page(name))) <= made


def test_the_best_rates_are_those_of_the_report():
    """A number counts problems; the columns are a tenth to ten times Adam's rate."""
    made, said = (
        {
            cells[0].replace("`", ""): cells[1:]
            for line in page(name).split(head)[1].split("\n\n")[0].splitlines()
            if line.startswith("| ")
            for cells in [[x.strip() for x in line.strip("|").split("|")]]
        }
        for name, head in (
            ("benchmarks/RESULTS.md", "|  | 1/30 or less |"),
            ("docs/choosing.md", "| | a tenth | a third |"),
        )
    )
    names = {name: name for name in said if name in made}
    (rectified,) = (x for x in said if "rectify=True" in x)
    names |= {rectified: "AdaBelief, rectified"}
    assert len(names) == 6
    for name, label in names.items():
        assert [*made[label][1:6], ""] == [*said[name], made[label][6]]


def test_the_pages_say_what_is_not_trained(chosen):
    known = {x for x in problems() if not statistics.is_toy(x)}
    lacking = {
        CANDIDATES[name].label
        for name in CANDIDATES
        if not known <= set(chosen.problem[chosen.optimizer == name])
    }
    words = " and ".join(sorted(lacking, reverse=True))
    for name in ("benchmarks/README.md", "docs/measurements.md"):
        text = " ".join(page(name).split())
        assert text.count(f"{words} are not yet trained") == bool(lacking)

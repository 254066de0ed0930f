"""What do the published curves say, in tables and pictures?

Nothing is trained. The page PUBLISHED.md and its pictures are made of curves that come
with the code: those of AdaBelief's authors and of a replication.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from benchmarks import cli
from benchmarks.published import pictures
from benchmarks.published.curves import (
    CIFAR,
    EPOCHS,
    LABELS,
    SOURCES,
    TREEBANK,
    Training,
    find,
    pairs,
    read,
)
from benchmarks.tables import table

OUT, PAGE = Path(__file__).parents[1], Path(__file__).with_name("page.md")
THREE = ("adabelief", "adam", "sgd")
LEVEL = 90  # % of training accuracy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    words = "where PUBLISHED.md and figures/ go"
    parser.add_argument("--out", type=cli.folder, default=OUT, help=words)


def run(args: argparse.Namespace) -> None:
    """Writes the page and its pictures."""
    path, folder = args.out / "PUBLISHED.md", args.out / "figures" / "published"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text(), encoding="utf-8")
    pictures.draw(folder)
    print(f"wrote {path} and {folder}")


def text() -> str:
    """Returns the page."""
    labels = [LABELS[name] for name in THREE]
    full = [
        three
        for model in CIFAR
        for source in SOURCES
        if not (three := find(source, model, *THREE))[0].begun
    ]
    layers = [find("authors", model, *THREE) for model in TREEBANK]
    one, two, three = (f"{adam.last - belief.last:.1f}" for belief, adam, _ in layers)
    off, others = differences(), [behind(model) for model in CIFAR]
    return PAGE.read_text(encoding="utf-8").format(
        cifar=table(["", *labels, "SGD's best epoch"], cifar_rows()).rstrip(),
        adam=between(belief.last - adam.last for belief, adam, _ in full),
        sgd=between(belief.last - sgd.last for belief, _, sgd in full),
        best=between(belief.last - sgd.test.max() for belief, _, sgd in full),
        speed=table(["", *labels], speed_rows()).rstrip(),
        treebank=treebank(labels),
        one=one,
        two=two,
        three=three,
        median=np.median(off),
        count=len(off),
        most=max(off),
        adamw=between(adamw for adamw, _ in others),
        rest=between(best for _, best in others),
        details="".join(details()).rstrip(),
        files=len(read()),
    )


def between(values: Iterable[float]) -> str:
    """Returns the least and the largest, in words."""
    found = list(values)
    return f"{min(found):.1f} to {max(found):.1f}"


def tenths(value: float) -> str:
    """Returns a number with one digit after the point; a half, as of 91.25, goes up."""
    return f"{value + 1e-9:.1f}"


def cifar_rows() -> Iterator[list[str]]:
    """Yields a row for each model and group."""
    for model, title in CIFAR.items():
        for source in SOURCES:
            three = find(source, model, *THREE)
            cells = ["–" if t.begun else tenths(t.last) for t in three]
            yield [f"{title}, {source}", *cells, tenths(three[-1].test.max())]


def speed_rows() -> Iterator[list[str]]:
    """Yields when the authors' trainings have learned most of the training data."""
    for model, title in CIFAR.items():
        three = find("authors", model, *THREE)
        yield [title, *(str(np.argmax(t.train >= LEVEL) + 1) for t in three)]


def treebank(labels: list[str]) -> str:
    """Returns the table of perplexities; one of the replication's runs has begun."""
    head = ["", *(f"{x}, authors" for x in labels)]
    head += [f"{x}, replication" for x in labels[1:]]
    rows = []
    for model, title in TREEBANK.items():
        shown = find("authors", model, *THREE) + find("replication", model, *THREE[1:])
        rows.append([title, *(tenths(t.last) + stopped(t) for t in shown)])
    return table(head, rows).rstrip()


def stopped(training: Training) -> str:
    """Returns where a training stopped early, in words."""
    count = len(training.test)
    return "" if count == EPOCHS else f" (stops at epoch {count})"


def differences() -> list[float]:
    """Returns how far two full trainings of one setting end apart on CIFAR-10."""
    return [
        abs(a.last - b.last)
        for model in CIFAR
        for a, b in pairs(model)
        if a and b and not (b.copied or a.begun or b.begun)
    ]


def behind(model: str) -> tuple[float, float]:
    """Returns how far AdamW, and the best of all others, end below AdaBelief."""
    ends = {a.optimizer: a.last for a, _ in pairs(model) if a}
    belief = ends.pop("adabelief")
    return belief - ends["adamw"], belief - max(ends.values())


def details() -> Iterator[str]:
    """Yields a table of each model."""
    columns = (f"{what}, {who}" for who in SOURCES for what in ("last five", "best"))
    head = ["", "settings", *columns]
    cifar, treebank = "accuracy in percent", "perplexity"
    titles = {m: f"CIFAR-10, {title}: test {cifar}" for m, title in CIFAR.items()}
    for model, title in TREEBANK.items():
        titles[model] = f"Penn Treebank, {title}: test {treebank}"
    for model, title in titles.items():
        rows = []
        for authors, replication in pairs(model):
            one = authors or replication
            cells = [*ends(authors), *ends(replication)]
            rows.append([LABELS[one.optimizer], one.settings, *cells])
        yield f"### {title}\n\n{table(head, rows)}"


def ends(training: Training | None) -> list[str]:
    """Returns the last five epochs and the best one, in words."""
    if training is None:
        return ["–", "–"]
    if training.begun:
        return ["one epoch", "–"]
    copy = " (copy)" if training.copied else ""
    best = f"{training.test[training.best]:.2f} ({training.best + 1})"
    return [f"{training.last:.2f}{copy}{stopped(training)}", best]

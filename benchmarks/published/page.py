"""What do the published curves say, in tables and pictures?"""

import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.published import pictures
from benchmarks.published.curves import (
    CIFAR,
    EPOCHS,
    LABELS,
    MODELS,
    TREEBANK,
    Training,
    find,
    first,
    pairs,
    read,
    settings,
)
from benchmarks.tables import table

OUT = Path(__file__).parents[1]
THREE = ("adabelief", "adam", "sgd")
LEVEL = 90  # % of training accuracy
TOP = """# Long training runs that others have published

AdaBelief's authors say that it converges like Adam and generalises like SGD. Such a
claim needs runs of 200 epochs, which we have not made. The authors kept the curves of
their runs, on CIFAR-10 and Penn Treebank. A group that repeated the work for the ML
Reproducibility Challenge 2021 kept theirs (the *replication*). This page is made from
both:

    pip install ".[benchmarks]"  # in the clone
    python -m benchmarks published

## What the curves say

"""
DETAILS = """## Every run

"Last five" is the mean of the last five epochs on test data. "Best" is the best single
epoch on test data, with its number in parentheses. The settings are the learning rate,
on CIFAR-10 the weight decay, and eps where the file's name states one. The authors'
program does not pass all of these on to the optimizer: Yogi, for one, then keeps its
own default eps.

"""


def write(out: Path) -> list[Path]:
    """Writes the page and its pictures, and returns their paths."""
    trainings = read()
    path, folder = out / "PUBLISHED.md", out / "figures" / "published"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(text(trainings)), encoding="utf-8")
    return [path, *pictures.draw(trainings, folder)]


def text(trainings: list[Training]) -> Iterator[str]:
    """Yields the parts of the page."""
    yield TOP
    yield from cifar(trainings)
    yield from treebank(trainings)
    yield "## What they cannot say\n\n"
    yield from (point(words) for words in limits(trainings))
    yield "\n"
    yield DETAILS
    for task, models in MODELS.items():
        for model, title in models.items():
            yield details(trainings, task, model, title)
    yield where_from(len(trainings))


def cifar(trainings: list[Training]) -> Iterator[str]:
    """Yields what is said of CIFAR-10."""
    yield "**CIFAR-10: test accuracy in percent, mean of the last five epochs.**\n\n"
    head = ["", *(LABELS[o] for o in THREE), "SGD's best epoch"]
    yield table(head, cifar_rows(trainings))
    adam, sgd = gaps(trainings, "adam"), gaps(trainings, "sgd")
    best = gaps(trainings, "sgd", at_best=True)
    yield paragraph(f"""
        Adam ends {adam} points below AdaBelief, and SGD ends {sgd} points below it. So
        at these settings AdaBelief generalises better than either. But SGD does not end
        at its best: after its best epoch it loses accuracy, which a better schedule
        might keep. That best epoch is {best} points below AdaBelief's end.
    """)
    yield f"**First epoch with a training accuracy of {LEVEL} %, authors.**\n\n"
    yield table(["", *(LABELS[o] for o in THREE)], speed_rows(trainings))
    yield paragraph("""
        AdaBelief converges faster than Adam here, and Adam faster than SGD. The
        learning rate falls to a tenth once, before epoch 151.
    """)
    yield "![Training and test accuracy on CIFAR-10](figures/published/cifar10.png)\n\n"


def tenths(value: float) -> str:
    """Returns a number with one digit after the point; a half, as of 91.25, goes up."""
    return f"{value + 1e-9:.1f}"


def cifar_rows(trainings: list[Training]) -> Iterator[list[str]]:
    """Yields a row for each model and group."""
    for model, title in MODELS[CIFAR].items():
        for source in ("authors", "replication"):
            three = [find(trainings, source, CIFAR, model, o) for o in THREE]
            cells = ["–" if t.begun else tenths(t.last) for t in three]
            best = three[-1].test[three[-1].best]
            yield [f"{title}, {source}", *cells, tenths(best)]


def gaps(trainings: list[Training], other: str, at_best: bool = False) -> str:
    """Returns the least and the largest lead of AdaBelief on CIFAR-10, in points."""
    found = []
    for model in MODELS[CIFAR]:
        for source in ("authors", "replication"):
            belief = find(trainings, source, CIFAR, model, "adabelief")
            rival = find(trainings, source, CIFAR, model, other)
            if not belief.begun:
                end = rival.test[rival.best] if at_best else rival.last
                found.append(belief.last - end)
    return between(found)


def speed_rows(trainings: list[Training]) -> Iterator[list[str]]:
    """Yields when the authors' trainings have learned most of the training data."""
    for model, title in MODELS[CIFAR].items():
        three = [find(trainings, "authors", CIFAR, model, o) for o in THREE]
        yield [title, *(str(first(t.train, LEVEL)) for t in three)]


def treebank(trainings: list[Training]) -> Iterator[str]:
    """Yields what is said of Penn Treebank."""
    yield "**Penn Treebank: test perplexity, mean of the last five epochs.**\n\n"
    head = ["", *(f"{LABELS[o]}, authors" for o in THREE)]
    head += [f"{LABELS[o]}, replication" for o in THREE[1:]]
    rows, leads = [], []
    for model, title in MODELS[TREEBANK].items():
        ours = [find(trainings, "authors", TREEBANK, model, o) for o in THREE]
        theirs = [find(trainings, "replication", TREEBANK, model, o) for o in THREE[1:]]
        cells = [tenths(t.last) + stopped(t) for t in [*ours, *theirs]]
        rows.append([title, *cells])
        leads.append(ours[1].last - ours[0].last)
    yield table(head, rows)
    one, two, three = (f"{lead:.1f}" for lead in leads)
    yield paragraph(f"""
        Lower is better. AdaBelief's lead over Adam grows with the number of layers:
        {one} with one, {two} with two, {three} with three. The replication has no full
        run of AdaBelief here. The learning rate falls after epochs 100 and 145. Up to
        the first fall, with two and three layers, SGD is ahead of AdaBelief and Adam.
    """)
    yield "![Test perplexity on Penn Treebank](figures/published/treebank.png)\n\n"


def stopped(training: Training) -> str:
    """Returns where a training stopped early, in words."""
    count = len(training.test)
    return "" if count == EPOCHS else f" (stops at epoch {count})"


def differences(trainings: list[Training]) -> np.ndarray:
    """Returns how far two full trainings of one setting end apart on CIFAR-10."""
    both = [p for model in MODELS[CIFAR] for p in pairs(trainings, CIFAR, model)]
    return np.array(
        [
            abs(a.last - b.last)
            for a, b in both
            if a and b and not (b.copied or a.begun or b.begun)
        ]
    )


def limits(trainings: list[Training]) -> Iterator[str]:
    """Yields what the curves leave open, a point each."""
    off = differences(trainings)
    yield f"""
        **How much is chance.** Each group trained every setting once. On CIFAR-10 the
        two results for a setting differ by {np.median(off):.2f} points in the median of
        {len(off)} settings, and by {off.max():.2f} at most. A lead of no more than this
        says nothing.
    """
    yield """
        **What tuning would change.** No file says how a setting was chosen. On CIFAR-10
        Adam and all methods like it have the learning rate 1e-3, and only AdamW has
        another weight decay. SGD has the learning rate 0.1 in every file. On Penn
        Treebank rates and eps differ from method to method, and with the number of
        layers.
    """
    adamw, best = behind(trainings)
    yield f"""
        **Whether it is AdaBelief that does it.** Adam's weight decay is part of its
        gradient. Adam ends far behind on training data too, so this decay may hold it
        back. AdamW's decay is not part of the gradient. In the authors' runs AdamW ends
        {adamw} points below AdaBelief. The best of all other methods ends {best} below.
    """
    yield """
        **What a validation set would choose.** There was none: both groups followed the
        test set alone. So the data that choose the best epoch also judge it, and we
        quote the mean of the last five epochs instead.
    """
    yield """
        **Whether all of AdaBelief's results repeat.** The replication has full curves
        of AdaBelief with VGG-11 and DenseNet-121. Its AdaBelief files for ResNet-34 and
        Penn Treebank end after one epoch. Two of its files for other methods (marked
        "copy") are the authors' own.
    """


def behind(trainings: list[Training]) -> tuple[str, str]:
    """Returns how far AdamW, and the best of all others, end below AdaBelief."""
    decoupled, others = [], []
    for model in MODELS[CIFAR]:
        belief = find(trainings, "authors", CIFAR, model, "adabelief")
        mine = [p[0] for p in pairs(trainings, CIFAR, model) if p[0]]
        rest = {t.optimizer: t.last for t in mine if t.optimizer != "adabelief"}
        decoupled.append(belief.last - rest["adamw"])
        others.append(belief.last - max(rest.values()))
    return between(decoupled), between(others)


def between(values: list[float]) -> str:
    """Returns the least and the largest, in words."""
    return f"{min(values):.1f} to {max(values):.1f}"


def paragraph(words: str) -> str:
    """Returns a paragraph in lines of 88 columns."""
    return f"{textwrap.fill(' '.join(words.split()), 88, break_on_hyphens=False)}\n\n"


def point(words: str) -> str:
    """Returns a point of a list."""
    return textwrap.indent(paragraph(words)[:-1], "  ").replace("  ", "- ", 1)


def details(trainings: list[Training], task: str, model: str, title: str) -> str:
    """Returns the table of one model."""
    unit = "accuracy in percent" if task == CIFAR else "perplexity"
    name = "CIFAR-10" if task == CIFAR else "Penn Treebank"
    rows = []
    for authors, replication in pairs(trainings, task, model):
        one = authors or replication
        cells = [*ends(authors), *ends(replication)]
        rows.append([LABELS[one.optimizer], settings(one), *cells])
    groups = ("authors", "replication")
    head = [
        "",
        "settings",
        *(f"{what}, {who}" for who in groups for what in ("last five", "best")),
    ]
    return f"### {name}, {title}: test {unit}\n\n{table(head, rows)}"


def ends(training: Training | None) -> list[str]:
    """Returns the last five epochs and the best one, in words."""
    if training is None:
        return ["–", "–"]
    if training.begun:
        return ["one epoch", "–"]
    copy = " (copy)" if training.copied else ""
    best = f"{training.test[training.best]:.2f} ({training.best + 1})"
    return [f"{training.last:.2f}{copy}{stopped(training)}", best]


def where_from(count: int) -> str:
    """Returns what a reader needs to find the files."""
    return (
        "## Where the curves are from\n\n"
        + paragraph(f"""
        [published/curves.json](published/curves.json) has the numbers of {count} files
        with their paths, and the repositories, commits and licences. The authors' files
        are in `juntang-zhuang/Adabelief-Optimizer`, the replication's in
        `anirudhb11/Adabelief-Optimizer-RC`. On CIFAR-10 a batch has 128 images, shifted
        and mirrored at random. A test makes this page again from the curves.
    """).rstrip("\n")
        + "\n"
    )

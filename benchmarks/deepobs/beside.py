"""What does the page say of our training runs beside the published ones?"""

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.deepobs.check import (
    CRITERIA,
    OTHERWISE,
    PUBLISHED,
    Criterion,
    compared,
    describe,
    read,
    recorded,
)
from benchmarks.deepobs.problems.quadratic_deep import QuadraticDeep
from benchmarks.store import Record
from benchmarks.tables import table


def published(known: dict[str, list[Record]], folder: Path) -> dict[str, str]:
    """Returns how near to the published curves ours are, and what is not trained."""
    rows, lacking = list(printed(folder)), {}
    done = {name for name, *_ in rows}
    for training in read(PUBLISHED):
        name = training["problem"]
        if name == QuadraticDeep.name:
            continue
        if curves := recorded(training, known[name]):
            verdict = compared(training, curves)
            judged = "held" if verdict.held else "**not held**"
            rows.append([verdict.name, judged, verdict.words])
        elif describe(training) not in done:
            lacking.setdefault(f"`{name}`", {})[training["optimizer"]] = None
    parts = (f"{name} ({', '.join(which)})" for name, which in lacking.items())
    shown = table(["published run", "", "deviation"], rows).rstrip()
    return {"compared": shown, "lacking": ", ".join(parts)}


def printed(folder: Path) -> Iterator[list[str]]:
    """Yields a row for each verdict that was printed, and its curves not kept."""
    for path in sorted(folder.glob("*.txt")):
        lines = path.read_text(encoding="utf-8")
        for line in re.findall(r"^(held|not held) +(.*?): (.*)$", lines, re.MULTILINE):
            judged, name, deviation = line
            yield [name, f"{judged} (printed)", deviation]


def tolerances() -> str:
    """Returns how near is near, as a list."""
    lines = [f"- `{name}`: {words(c)};" for name, c in CRITERIA.items()]
    return "\n".join([*lines, f"- every other network: {words(OTHERWISE)}."])


def words(criteria: list[Criterion]) -> str:
    """Returns how near is near, in words."""
    parts = []
    for c in criteria:
        unit, metric = "%" if c.relative else "points", c.metric.replace("_", " ")
        epochs = f"each of {c.epochs} epochs" if c.epochs > 1 else "the first epoch"
        epochs = f"the mean of {c.epochs} epochs" if c.averaged else epochs
        parts.append(f"{100 * c.tolerance:.2g} {unit} of {metric} in {epochs}")
    return ", ".join(parts)


def quoted(records: list[Record]) -> dict[str, str]:
    """Returns numbers of the quadratic: published, and ours at the published rate."""
    start, after, *_ = read(PUBLISHED)[0]["epochs"]["test_loss"]
    ends = {
        r["optimizer"]: f"{r['last']['valid_loss']:.1f}"
        for r in records
        if "last" in r and r["rate"] == 1e-3
    }
    return {
        "start": f"{start:.0f}",
        "after": f"{after:.0f}",
        "rectified": ends.get("adabelief-rectified", "–"),
        "plain": ends.get("adabelief", "–"),
    }

"""What does `step-time` print of its numbers?"""

import argparse
import math
from typing import Any

from benchmarks.speed.cases import NAMING, REFERENCE
from benchmarks.speed.output import print_table
from benchmarks.timing import STEPS_AT_ONCE

REMARKS = """
Median (lower-upper quartile) of {steps} rounds of all, each in another order.
/: the ratio within a round, which is robust against what slows a whole round.
update: `update` and `apply_updates` in one jitted call, parameters and state donated.
compile: CPU seconds of tracing, lowering and XLA's compilation of that call, from
    empty caches.
state: bytes per parameter, the step count left out.
PyTorch's optimizers run `step()`, with gradients in place and nothing compiled."""
GPU_REMARKS = """update: {at_once} in a row, so that one runs while the next is issued.
of copy: the bytes that the method must move, at the rate of a copy on this device,
    {terabytes:.2f} TB/s read and written; as a share of the update's time.
issuing: the share of that time in which the host hands steps over. Near 100 %, the
    update takes as long as the host needs."""


def print_size(what: str, numbers: dict[str, Any]) -> None:
    """Prints how many parameters there are."""
    line = "\n{}: {parameters:,} parameters in {arrays} arrays"
    print(line.format(what, **numbers))


def median_and_quartiles(numbers: dict[str, float], unit: float = 1.0) -> str:
    """Returns the median and the quartiles, to three digits of the median."""
    digits = max(0, 2 - math.floor(math.log10(numbers["median"] / unit)))
    text = {key: f"{value / unit:.{digits}f}" for key, value in numbers.items()}
    return "{median} ({lower}-{upper})".format(**text)


def print_whole_steps(found: dict[str, Any]) -> None:
    """Prints a table for each model: Adam's milliseconds, and ratios to them."""
    for name, numbers in found.items():
        print_size(f"whole training step, {name}", numbers)
        batches = numbers["batches"].values()
        rows = [["optimizer", *(f"batch {count}" for count in numbers["batches"])]]
        times = [x[REFERENCE]["seconds"] for x in batches]
        rows.append(
            [f"{REFERENCE}, ms", *(median_and_quartiles(x, unit=1e-3) for x in times)]
        )
        for optimizer in list(next(iter(batches)))[1:]:
            ratios = [median_and_quartiles(x[optimizer]["ratio"]) for x in batches]
            rows.append([f"{optimizer} / {REFERENCE}", *ratios])
        print_table(rows)


def print_updates(results: dict[str, Any], args: argparse.Namespace) -> None:
    """Prints the table of updates, and what all columns count."""
    print_size("update alone", results)
    beside, bandwidth = f"/ {REFERENCE}", results["copy_bytes_per_second"]
    rows = [["optimizer", "update, ms", beside, "compile, s", beside, "state"]]
    rows[0] += ["of copy", "issuing"] if bandwidth else []
    for name, x in results["optimizers"].items():
        seconds, compiling = x["step"]["seconds"], ["", ""]
        if x["compile"]:
            numbers = x["compile"]["seconds"], x["compile"]["ratio"]
            compiling = [median_and_quartiles(n) for n in numbers]
        row = [name, median_and_quartiles(seconds, unit=1e-3)]
        row += [median_and_quartiles(x["step"]["ratio"]), *compiling]
        row.append(f"{x['state_bytes_per_parameter']:.3g}")
        if bandwidth:
            moved = x["least_bytes_per_parameter"] * results["parameters"]
            row.append(f"{moved / seconds['median'] / bandwidth:.0%}")
            row.append(f"{x['issuing_share']:.0%}")
        rows.append(row)
    print_table(rows)
    print(REMARKS.format(steps=args.steps), NAMING, sep="")
    if bandwidth:
        print(GPU_REMARKS.format(terabytes=bandwidth / 1e12, at_once=STEPS_AT_ONCE))
    if left_out := set(args.optimizers) - results["optimizers"].keys():
        print("left out, not installed:", ", ".join(sorted(left_out)))

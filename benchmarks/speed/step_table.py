"""What does `step-time` print of its numbers?"""

import argparse
import math
from typing import Any

from benchmarks.speed.cases import REFERENCE
from benchmarks.speed.output import print_table
from benchmarks.timing import STEPS_AT_ONCE

REMARKS = """
Median (lower-upper quartile) of {steps} rounds of all, each in another order.
/: the ratio within a round, which is robust against what slows a whole round.
update: `update` and `apply_updates` in one jitted call, parameters and state donated.
compile: CPU seconds of tracing, lowering and XLA's compilation of that call, from
    empty caches, rounds: {compilations}.
state: bytes per parameter, the step count left out.
PyTorch's optimizers run `step()`, with gradients in place and nothing compiled.
A name is an import path, or one of adabelief_optax; aida-k8 is Aida with k=8, the
others have k=2, and aida-loop is Aida as published, K rounds of projections.
-bf16-moments: both moments in bfloat16. -bf16-all: parameters, gradients and state in
bfloat16 (LAdaBelief's second moment in float32), and `stochastic_rounding` at the end.
All else is float32.
"""
GPU_REMARKS = """update: {at_once} in a row, so that one runs while the next is issued.
of copy: the bytes that the method must move, at the rate of a copy on this device,
    {terabytes:.2f} TB/s read and written; as a share of the update's time."""


def print_setting(results: dict[str, Any]) -> None:
    """Prints the hardware and the versions."""
    line = "{platform}, {cpu}, {cores} cores; JAX on {backend} ({device})"
    print(line.format(**results))
    print(", ".join(f"{name} {text}" for name, text in results["versions"].items()))


def print_size(what: str, numbers: dict[str, Any]) -> None:
    """Prints how many parameters there are."""
    line = "\n{}: {parameters:,} parameters in {arrays} arrays"
    print(line.format(what, **numbers))


def median_and_quartiles(numbers: dict[str, float], unit: float = 1.0) -> str:
    """Returns the median and the quartiles, to three digits of the median."""
    digits = max(0, 2 - math.floor(math.log10(numbers["median"] / unit)))
    text = {key: f"{value / unit:.{digits}f}" for key, value in numbers.items()}
    return "{median} ({lower}-{upper})".format(**text)


def table_of_batches(batches: dict[Any, Any]) -> list[list[str]]:
    """Returns the head, Adam's milliseconds and a row of ratios for each optimizer."""
    rows = [["optimizer", *(f"batch {count}" for count in batches)]]
    adams = [numbers[REFERENCE]["seconds"] for numbers in batches.values()]
    times = [median_and_quartiles(seconds, unit=1e-3) for seconds in adams]
    rows.append([f"{REFERENCE}, ms", *times])
    for name in list(next(iter(batches.values())))[1:]:
        ratios = [numbers[name]["ratio"] for numbers in batches.values()]
        rows.append([f"{name} / {REFERENCE}", *map(median_and_quartiles, ratios)])
    return rows


def print_whole_steps(results: dict[str, Any]) -> None:
    """Prints a table for each model."""
    print_setting(results)
    for name, numbers in results["whole_steps"].items():
        print_size(f"whole training step, {name}", numbers)
        print_table(table_of_batches(numbers["batches"]))


def bandwidth_share(results: dict[str, Any], numbers: dict[str, Any]) -> str:
    """Returns how near a step comes to a copy of the bytes that it must move."""
    if (least := numbers["least_bytes_per_parameter"]) is None:
        return ""
    rate = least * results["parameters"] / numbers["step"]["seconds"]["median"]
    return f"{rate / results['copy_bytes_per_second']:.0%}"


def table_of_updates(results: dict[str, Any]) -> list[list[str]]:
    """Returns the head and a row for each optimizer."""
    beside = f"/ {REFERENCE}"
    rows = [["optimizer", "update, ms", beside, "compile, s", beside, "state"]]
    for name, numbers in results["optimizers"].items():
        step, compiling = numbers["step"], numbers["compile"]
        row = [name, median_and_quartiles(step["seconds"], unit=1e-3)]
        row.append(median_and_quartiles(step["ratio"]))
        row += map(median_and_quartiles, compiling.values()) if compiling else ["", ""]
        rows.append([*row, f"{numbers['state_bytes_per_parameter']:.3g}"])
    if results["copy_bytes_per_second"]:
        rows[0].append("of copy")
        for row, numbers in zip(rows[1:], results["optimizers"].values(), strict=True):
            row.append(bandwidth_share(results, numbers))
    return rows


def print_updates(results: dict[str, Any], args: argparse.Namespace) -> None:
    """Prints the table of updates, and what all columns count."""
    if args.small_arrays:
        print_setting(results)
    print_size("update alone", results)
    print_table(table_of_updates(results))
    print(REMARKS.format(steps=args.steps, compilations=args.compilations))
    if left_out := set(args.optimizers) - results["optimizers"].keys():
        print("left out, not installed:", ", ".join(sorted(left_out)))
    if (bandwidth := results["copy_bytes_per_second"]) is None:
        return
    print(GPU_REMARKS.format(terabytes=bandwidth / 1e12, at_once=STEPS_AT_ONCE))
    slow = [k for k, v in results["optimizers"].items() if v["issuing_share"] > 0.8]
    if slow:
        print("issued no faster than run:", ", ".join(slow))

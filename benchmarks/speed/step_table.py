"""What does `step-time` print of its numbers?"""

import argparse
import math
from typing import Any

from benchmarks.speed.cases import REFERENCE
from benchmarks.timing import STEPS_AT_ONCE

REMARKS = """
Median (lower-upper quartile).
step: `update` and `apply_updates` in one jitted call, parameters and state donated;
    rounds of all optimizers, each in another order: {steps}.
/: the ratio within a round, which is robust against what slows a whole round.
compile: tracing, lowering and XLA's compilation of that call, from empty caches,
    rounds: {compilations}.
state: bytes per parameter, the step count left out.
PyTorch's optimizers run `step()`, with gradients in place and nothing compiled.
A name is an import path, or one of adabelief_optax; aida-k8 is Aida with k=8, the
others have k=2, and aida-loop is Aida as published, K rounds of projections.
-bf16-all: parameters, gradients and state in bfloat16 (LAdaBelief's second moment in
float32), and `stochastic_rounding` at the end; the others are float32 throughout.
"""
GPU_REMARKS = """step: {at_once} in a row, so that one runs while the next is issued.
of copy: the bytes that the method must move, at the rate of a copy on this device,
    {terabytes:.2f} TB/s read and written; as a share of the step's time."""


def print_setting(results: dict[str, Any]) -> None:
    """Prints the hardware, the versions and the parameters."""
    line = "{platform}, {cpu}, {cores} cores; JAX on {backend} ({device})"
    print(line.format(**results))
    print(", ".join(f"{name} {text}" for name, text in results["versions"].items()))
    print("{parameters:,} parameters in {arrays} arrays\n".format(**results))


def median_and_quartiles(numbers: dict[str, float], unit: float = 1.0) -> str:
    """Returns the median and the quartiles, to three digits of the median."""
    digits = max(0, 2 - math.floor(math.log10(numbers["median"] / unit)))
    text = {key: f"{value / unit:.{digits}f}" for key, value in numbers.items()}
    return "{median} ({lower}-{upper})".format(**text)


def bandwidth_share(results: dict[str, Any], numbers: dict[str, Any]) -> str:
    """Returns how near a step comes to a copy of the bytes that it must move."""
    if (least := numbers["least_bytes_per_parameter"]) is None:
        return ""
    rate = least * results["parameters"] / numbers["step"]["seconds"]["median"]
    return f"{rate / results['copy_bytes_per_second']:.0%}"


def table(results: dict[str, Any]) -> list[list[str]]:
    """Returns the head and a row for each optimizer."""
    beside = f"/ {REFERENCE}"
    rows = [["optimizer", "step, ms", beside, "compile, s", beside, "state"]]
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


def print_remarks(results: dict[str, Any], args: argparse.Namespace) -> None:
    """Prints the pairs, and what the columns count."""
    print()
    for pair, ratio in results["pairs"].items():
        print(f"step of {pair}: {median_and_quartiles(ratio)}")
    print(REMARKS.format(steps=args.steps, compilations=args.compilations))
    if left_out := set(args.optimizers) - results["optimizers"].keys():
        names = ", ".join(sorted(left_out))
        print("left out, not installed or not for this device:", names)
    if (bandwidth := results["copy_bytes_per_second"]) is None:
        return
    print(GPU_REMARKS.format(terabytes=bandwidth / 1e12, at_once=STEPS_AT_ONCE))
    slow = [k for k, v in results["optimizers"].items() if v["issuing_share"] > 0.8]
    if slow:
        print("issued no faster than run (take a larger --width):", ", ".join(slow))

"""What do the kernels of a compiled program move in device memory?

XLA's text is read. An instruction of the entry computation is a kernel, or moves
data itself; what is inside of a fusion stays in registers. So the traffic is the
operands and the results of those instructions, each operand once, in the sizes of the
instructions that define them. A shape's layout ends in its memory space, `S(1)` say;
on TPU some of these are on the chip and cost nothing.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

# They only name what is there already, or wait for what an instruction before moves.
FREE = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "partition-id",
    "after-all",
    "opt-barrier",
    "copy-done",
    "all-reduce-done",
}
# How often their bodies run, or what they start, is not read here.
UNREADABLE = {"while", "conditional", "async-start"}
ON_TPU_CHIP = frozenset({1, 6})  # vector and scalar memory

_HEAD = re.compile(r"(ENTRY )?%([\w.\-]+) .*\{$")
# A name, its shape, the opcode, the operands in parentheses, and what it calls. Shapes
# have parentheses too, but not right after a lower-case word, nor before an attribute.
_INSTRUCTION = re.compile(
    r"\s*(?:ROOT )?%(?P<name>[\w.\-]+) = (?P<shape>.*?) (?P<opcode>[a-z][\w\-]*)"
    r"\((?P<operands>.*?)\)(?P<attributes>, [\w\-]+=.*)?$"
)
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\](?:\{([^}]*)\})?")


class Array(NamedTuple):
    """One array of a shape, in a memory space; 0 is the device's main memory."""

    size: int
    bits: int
    space: int


class Instruction(NamedTuple):
    """A line of the text; a tuple has several arrays."""

    name: str
    opcode: str
    arrays: list[Array]
    operands: list[str]
    called: str


def _arrays(shape: str) -> list[Array]:
    arrays = []
    for dtype, dims, layout in _ARRAY.findall(shape):
        digits = re.search(r"\d+", dtype)
        bits = int(digits[0]) if digits else 8 if dtype == "pred" else 0
        space = re.search(r"S\((\d+)\)", layout)
        size = math.prod(int(n) for n in dims.split(",") if n)
        arrays.append(Array(size, bits, int(space[1]) if space else 0))
    return arrays


def _instruction(line: str) -> Instruction:
    if not (match := _INSTRUCTION.match(line)):
        raise ValueError(f"not an instruction of XLA's: {line[:80]}")
    # Not a constant's value or a parameter's number, which have no %.
    operands = dict.fromkeys(re.findall(r"%([\w.\-]+)", match["operands"]))
    called = re.search(r"\b(?:to_apply|calls)=%([\w.\-]+)", match["attributes"] or "")
    return Instruction(
        match["name"],
        match["opcode"],
        _arrays(match["shape"]),
        list(operands),
        called[1] if called else "",
    )


def parse(text: str) -> dict[str, list[Instruction]]:
    """Returns the instructions of every computation; that of the entry is `ENTRY`."""
    computations: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if head := _HEAD.match(line):
            current = computations["ENTRY" if head[1] else head[2]] = []
        elif line.lstrip().startswith(("%", "ROOT %")):
            current.append(_instruction(line))
    return computations


def _kernels(
    computations: dict[str, list[Instruction]], name: str
) -> Iterator[tuple[str, list[Array]]]:
    """Yields the opcode and the arrays of each instruction that moves data."""
    defined: dict[str, list[Array]] = {}
    for instruction in computations[name]:
        _, opcode, arrays, operands, called = instruction
        defined[instruction.name] = arrays
        if opcode in UNREADABLE:
            raise ValueError(f"what a {opcode} moves cannot be read from XLA's text")
        if opcode == "call":
            yield from _kernels(computations, called)
        elif opcode not in FREE:
            # The result of copy-start is target, source and a token to wait for; that
            # of another start is as that of what it starts.
            results = arrays[:1] if opcode == "copy-start" else arrays
            read = [array for operand in operands for array in defined[operand]]
            yield opcode, read + results


def traffic(text: str, on_chip: frozenset[int] = frozenset()) -> tuple[float, int]:
    """Returns the bytes that a program reads and writes, and how many kernels it has.

    What a TPU's scalar core does, arithmetic of one number outside of a fusion, is no
    kernel.

    Args:
        text: `jax.jit(f).lower(...).compile().as_text()`.
        on_chip: the memory spaces that cost nothing.

    Raises:
        ValueError: where the number would be wrong.
    """
    moved, kernels = 0.0, 0
    for opcode, arrays in _kernels(parse(text), "ENTRY"):
        moved += sum(x.size * x.bits / 8 for x in arrays if x.space not in on_chip)
        kernels += opcode == "fusion" or any(x.size > 1 for x in arrays)
    return moved, kernels


def all_reduces(text: str) -> int:
    """Returns how many sums over devices a program has."""
    opcodes = [x.opcode for body in parse(text).values() for x in body]
    return opcodes.count("all-reduce") + opcodes.count("all-reduce-start")

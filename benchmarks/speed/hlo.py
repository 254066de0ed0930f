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

_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\](?:\{([^}]*)\})?")
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%([\w.\-]+) = (.*)")
_HEAD = re.compile(r"(ENTRY )?%([\w.\-]+) .*\{$")


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


class Traffic(NamedTuple):
    """Of one run.

    Attributes:
        moved: bytes read and written.
        large: kernels that touch an array of at least the given size.
        small: all others, such as those of a few numbers per layer. What a TPU's scalar
            core does, arithmetic of one number outside of a fusion, is no kernel.
    """

    moved: float
    large: int
    small: int


class UnreadableError(ValueError):
    """The program has an instruction whose traffic its text does not tell."""


def _close(text: str) -> int:
    """Returns the index after the parenthesis that closes the first one."""
    depth = 0
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return i + 1
    raise UnreadableError(f"no closing parenthesis: {text[:80]}")


def _arrays(shape: str) -> list[Array]:
    arrays = []
    for dtype, dims, layout in _ARRAY.findall(shape):
        digits = re.search(r"\d+", dtype)
        bits = int(digits[0]) if digits else 8 if dtype == "pred" else 0
        space = re.search(r"S\((\d+)\)", layout)
        size = math.prod(int(n) for n in dims.split(",") if n)
        arrays.append(Array(size, bits, int(space[1]) if space else 0))
    return arrays


def _instruction(line: str) -> Instruction | None:
    if not (match := _INSTRUCTION.match(line)):
        return None
    name, rest = match[1], match[2]
    end = _close(rest) if rest.startswith("(") else rest.index(" ")
    shape, rest = rest[:end], rest[end:].lstrip()
    opcode, rest = rest[: rest.index("(")], rest[rest.index("(") :]
    end = _close(rest)
    # Not a constant's value or a parameter's number, which have no %.
    operands = list(dict.fromkeys(re.findall(r"%([\w.\-]+)", rest[:end])))
    called = re.search(r"\b(?:to_apply|calls)=%([\w.\-]+)", rest[end:])
    return Instruction(
        name, opcode, _arrays(shape), operands, called[1] if called else ""
    )


def parse(text: str) -> dict[str, list[Instruction]]:
    """Returns the instructions of every computation; that of the entry is `ENTRY`."""
    computations: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if head := _HEAD.match(line):
            current = computations["ENTRY" if head[1] else head[2]] = []
        elif instruction := _instruction(line):
            current.append(instruction)
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
            raise UnreadableError(f"has a {opcode}")
        if opcode == "call":
            yield from _kernels(computations, called)
        elif opcode not in FREE:
            # The result of copy-start is target, source and a token to wait for; that
            # of another start is as that of what it starts.
            results = arrays[:1] if opcode == "copy-start" else arrays
            read = [array for operand in operands for array in defined[operand]]
            yield opcode, read + results


def traffic(text: str, large: int, on_chip: frozenset[int] = frozenset()) -> Traffic:
    """Returns what the kernels of an optimized program move.

    Args:
        text: `jax.jit(f).lower(...).compile().as_text()`.
        large: a kernel is large if it touches so many entries of an array.
        on_chip: the memory spaces that cost nothing.

    Raises:
        UnreadableError: where the number would be wrong.
    """
    moved, touches_large = 0.0, []
    for opcode, arrays in _kernels(parse(text), "ENTRY"):
        off_chip = [array for array in arrays if array.space not in on_chip]
        moved += sum(array.size * array.bits / 8 for array in off_chip)
        if opcode == "fusion" or any(array.size > 1 for array in arrays):
            touches_large.append(any(array.size >= large for array in off_chip))
    return Traffic(moved, sum(touches_large), len(touches_large) - sum(touches_large))


def all_reduces(text: str) -> int:
    """Returns how many sums over devices a program has."""
    opcodes = [x.opcode for body in parse(text).values() for x in body]
    return opcodes.count("all-reduce") + opcodes.count("all-reduce-start")

"""How sums over layers are made: the one file that knows XLA.

`step` in `_engine.py` steps one leaf, in the order of the equations. Where it needs
sums over its layers, it yields `Sums` and waits. Here all leaves wait together. How
their sums are made changes no number, only what it costs:

Devices. JAX says how a leaf is split in explicit sharding and inside `jax.shard_map`.
There XLA would take each sum out of the all-reduce with a kernel of its own. We add up
on each device first, put the sums of all leaves into one array, and add that up over
the devices, once.

GPU. XLA sums a large array with two kernels: one reduces it to some hundred numbers,
one adds these up. It does so for each sum of each array. We write the first reduction
ourselves, to equally many numbers for each array, so that one second kernel adds up
those of four arrays. The kernels that make the steps of these four arrays all read its
result, so XLA makes them one, too.

GPU, several devices. XLA computes the new s of a leaf, where it is one number, in a
kernel of its own, since the step reads it too. We put the numbers of 32 leaves into one
array and take them out again. XLA then computes s in the step, and writes the numbers
with one kernel.

GPU. XLA computes the new average m in the kernel that sums over the layer. It writes m
to a new buffer, and in the end copies it over the old m: 8 bytes per parameter. We make
the old m depend on the sums. XLA then computes m again, in place, in the kernel that
makes the step.

CPU. If `+ eps_root` were the last operation of the second moment s, on one array, XLA
would compute s again inside the parameter update. That would need the old s after it is
overwritten: a copy, and twice the work. So we add eps_root to the square first (the
parentheses in `_moments.py`).

CPU, averages of 16 bits. XLA gives plain sums to a library that takes whole arrays of
32 bits, so it would keep m in one. We first add up rows of some hundred neighbours, all
sums of a leaf in one loop. To XLA this is no plain sum, and it computes m inside. The
old m then comes after the sums, so that the new one can be written over it. (An average
of 32 bits needs no array but its own, and plain sums are the most exact.)

Where nothing is summed, XLA would keep the unrounded m, from which s was made.
`average_again` writes m as another formula, so that XLA computes it again instead.

Numbers of 16 bits. XLA may leave out a cast to 16 bits that a cast back undoes, in one
program and not in another. It may not leave out `rounded_for_certain`.

Small leaves. For each of many small leaves XLA has dozens of instructions to compile.
We take the three sums of a small leaf as one, and the projections of sixteen leaves as
those of one array.
"""

import math
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

from adabelief_optax._checks import is_traced
from adabelief_optax._layers import Layers, local_sum, split_over, spread, varying
from adabelief_optax._moments import is_wide, widen
from adabelief_optax._projection import mutual_scales

_SPEC: Callable[..., PartitionSpec] = PartitionSpec
_LARGE = 2**16  # entries; XLA sums fewer in one kernel
_SMALL = 2**12  # up to here one stacked sum is as fast as three
_ROW = range(2**8, 2**4, -1)  # neighbours whose sum a CPU makes first
_FEW = 16  # small leaves whose projections are those of one array
_ALIKE = 4  # leaves that share their kernels on a GPU
_TOGETHER = 32  # single numbers that one kernel writes there
_NUMBERS = 2**10  # to which our first sum reduces a leaf there, unless it is huge
_SUMMED = 2**13  # entries for one of these; of more XLA would sum twice again


class Sums(NamedTuple):
    """What a step asks for: sums of arrays over the layers of its leaf.

    The answer is a pair: the sums, on a leading axis, or the scales that `rounds` of
    projection make of them; and m, if it is given, perhaps computed again.
    """

    arrays: tuple[jax.Array, ...]
    layers: Layers
    m: jax.Array | None = None
    rounds: tuple[tuple[Any, Any], ...] = ()


Steps = Generator[Sums, tuple[Any, Any], Any]


class _Platform(NamedTuple):
    """What is done for a kind of device, and not for others."""

    gpu: bool = False
    cpu: bool = False


def run(
    step: Callable[[Any], Steps], predict: Callable[[Any], jax.Array], leaves: list[Any]
) -> list[Any]:
    """Returns what `step` returns of each leaf.

    Args:
        step: takes a leaf with its old average m, and may yield `Sums`.
        predict: makes the new average of a leaf.
        leaves: those of all parameters.
    """
    steps, stepped = list(map(step, leaves)), list(leaves)
    answers: dict[int, Any] = dict.fromkeys(range(len(leaves)))
    across_devices = False
    while answers:
        asked: dict[int, Sums] = {}
        for i, answer in answers.items():
            try:
                asked[i] = steps[i].send(answer)
            except StopIteration as end:
                stepped[i] = end.value
        across_devices |= any(_split(x.arrays[0], x.layers) for x in asked.values())
        waiting = [leaves[i] for i in asked]
        new = _answers(predict, waiting, list(asked.values())) if asked else []
        answers = dict(zip(asked, new, strict=True))
    return _numbers_together(stepped) if across_devices else stepped


def _numbers_together(stepped: list[Any]) -> list[Any]:
    """Returns the same leaves; on a GPU their numbers go through arrays of a few."""
    arrays, structure = jax.tree.flatten(stepped)
    alike: dict[Any, list[int]] = {}
    for i, x in enumerate(arrays):
        if x.ndim == 0 and is_traced(x):
            place = jax.typeof(x).sharding.mesh, varying(x)
            alike.setdefault((x.dtype, *place), []).append(i)
    for group in alike.values():
        for start in range(0, len(group), _TOGETHER):
            some = group[start : start + _TOGETHER]
            new = jax.lax.platform_dependent(
                [arrays[i] for i in some],
                default=lambda numbers: numbers,
                cuda=_through_an_array,
                rocm=_through_an_array,
            )
            for i, x in zip(some, new, strict=True):
                arrays[i] = x
    found: list[Any] = jax.tree.unflatten(structure, arrays)
    return found


def _through_an_array(numbers: list[jax.Array]) -> list[jax.Array]:
    together = jnp.stack(numbers)
    return [
        jax.lax.index_in_dim(together, i, keepdims=False) for i in range(len(numbers))
    ]


def _answers(
    predict: Callable[[Any], jax.Array], leaves: list[Any], asked: list[Sums]
) -> list[tuple[Any, jax.Array | None]]:
    """Returns the answers to what all leaves ask for, as suits the platform."""
    answer = partial(_answers_for, predict, leaves, asked)
    if not is_traced(asked[0].arrays[0]):
        return answer(_Platform())
    on_gpu = partial(answer, _Platform(gpu=True))
    platforms = {"cuda": on_gpu, "rocm": on_gpu}
    # What is summed is made of m, or of the stepsizes, which s makes.
    of = (x.s if y.m is None else x.m for x, y in zip(leaves, asked, strict=True))
    if not all(map(is_wide, of)):
        platforms["cpu"] = partial(answer, _Platform(cpu=True))
    answers: list[tuple[Any, jax.Array | None]] = jax.lax.platform_dependent(
        default=partial(answer, _Platform()), **platforms
    )
    return answers


def _answers_for(
    predict: Callable[[Any], jax.Array],
    leaves: list[Any],
    asked: list[Sums],
    platform: _Platform,
) -> list[tuple[Any, jax.Array | None]]:
    groups = _groups(asked, platform.gpu)
    arrays = [[asked[i].arrays for i in group] for group in groups]
    layers = tuple(tuple(asked[i].layers for i in group) for group in groups)
    sums = _sums(arrays, layers, platform)
    answers: dict[int, tuple[Any, jax.Array | None]] = {}
    for group, of_group in zip(groups, sums, strict=True):
        rounds = asked[group[0]].rounds
        results = _scales(of_group, *_known_apart(rounds)) if rounds else of_group
        for column, i in enumerate(group):
            result = tuple(_entry(results, row, column) for row in range(len(results)))
            again = partial(_again, predict, leaves[i], asked[i], platform)
            answers[i] = result, again(of_group, _entry(of_group, 0, column))
    return [answers[i] for i in range(len(asked))]


def _entry(sums: jax.Array, row: int, column: int) -> jax.Array:
    rest = sums.shape[2:]
    alone = jax.lax.slice(
        sums, (row, column, *[0] * len(rest)), (row + 1, column + 1, *rest)
    )
    return jax.lax.squeeze(alone, (0, 1))


def _groups(asked: list[Sums], gpu: bool) -> list[list[int]]:
    """Returns which leaves have their sums in one array."""
    alike: dict[Any, list[int]] = {}
    for i, x in enumerate(asked):
        alike.setdefault(_kind(x, gpu) or i, []).append(i)
    most = _ALIKE if gpu else _FEW
    return [
        group[start : start + most]
        for group in alike.values()
        for start in range(0, len(group), most)
    ]


def _kind(asked: Sums, gpu: bool) -> Any:
    """Returns what leaves of one group have in common; None for one that is alone."""
    x, layers = asked.arrays[0], asked.layers
    if not _is_one_layer(x, layers) or (not gpu and is_large(x)):
        return None
    # By identity: k and xi may be traced, and can then not be compared.
    rounds = tuple(id(number) for pair in asked.rounds for number in pair)
    size = x.size if gpu else None
    place = jax.typeof(x).sharding.mesh, varying(x), _split(x, layers)
    return size, x.dtype, len(asked.arrays), rounds, place


def _is_one_layer(x: jax.Array, layers: Layers) -> bool:
    # The size may be symbolic, as in an export for any batch.
    return isinstance(x.size, int) and x.size > 0 and not layers.axes


def _split(x: jax.Array, layers: Layers) -> tuple[str, ...]:
    """Returns the axes of the mesh that are known to split the layers of x."""
    sharding = jax.typeof(x).sharding
    spec = [*sharding.spec, *[None] * x.ndim]
    explicit = _explicit_axes(x)
    parts = [spec[i] for i in layers.summed(x.ndim)]
    names = [
        name
        for part in parts
        for name in (part if isinstance(part, tuple) else (part,))
        if name in explicit
    ]
    # In one order for all leaves, or XLA takes two all-reduces.
    return *sorted(names), *split_over(x, layers.axis_name)


@partial(jax.jit, static_argnums=(1, 2), inline=True)  # outside jit one call
def _sums(
    arrays: list[list[tuple[jax.Array, ...]]],
    layers: tuple[tuple[Layers, ...], ...],
    platform: _Platform,
) -> list[jax.Array]:
    """Returns the sums of each group, of shape [arrays of a leaf, leaves, *layers]."""
    first = [group[0][0] for group in arrays]
    names = [_split(x, of[0]) for x, of in zip(first, layers, strict=True)]
    on_each = partial(
        _sums_on_each_device, layers=layers, names=names, platform=platform
    )
    explicit = [x for x in first if _explicit_axes(x)]
    if not (explicit and any(names)):
        return on_each(arrays)
    axes = [
        _SPEC(None, None, *(jax.typeof(x).sharding.spec[i] for i in of[0].axes))
        for x, of in zip(first, layers, strict=True)
    ]
    summed: list[jax.Array] = jax.shard_map(
        on_each,
        mesh=jax.typeof(explicit[0]).sharding.mesh,
        in_specs=(jax.tree.map(lambda x: jax.typeof(x).sharding.spec, arrays),),
        out_specs=axes,
        axis_names=_explicit_axes(explicit[0]),
    )(arrays)
    return summed


def _explicit_axes(x: jax.Array) -> frozenset[str]:
    """Returns the axes of explicit sharding, over which we add up ourselves."""
    if not hasattr(jax, "shard_map"):  # JAX 0.6: it adds them up one by one
        return frozenset()
    mesh = jax.typeof(x).sharding.mesh
    types = zip(mesh.axis_names, mesh.axis_types or (), strict=False)
    return frozenset(name for name, kind in types if kind == AxisType.Explicit)


def _sums_on_each_device(
    arrays: list[list[tuple[jax.Array, ...]]],
    layers: tuple[tuple[Layers, ...], ...],
    names: list[tuple[str, ...]],
    platform: _Platform,
) -> list[jax.Array]:
    sums = [_local_sums(*group, platform) for group in zip(arrays, layers, strict=True)]
    together: dict[Any, list[int]] = {}
    for i, (x, split) in enumerate(zip(sums, names, strict=True)):
        if split:
            together.setdefault((split, varying(x), x.dtype), []).append(i)
    for (split, *_), indices in together.items():
        parts = [sums[i].reshape(-1) for i in indices]
        ends = [sum(part.size for part in parts[: i + 1]) for i in range(len(parts))]
        total = jax.lax.psum(jnp.concatenate(parts), split)
        for i, part in zip(indices, jnp.split(total, ends[:-1]), strict=True):
            sums[i] = part.reshape(sums[i].shape)
    return sums


def _local_sums(
    group: list[tuple[jax.Array, ...]],
    layers: tuple[Layers, ...],
    platform: _Platform,
) -> jax.Array:
    """Returns the sums of a group over what this device has of each layer."""
    x = group[0][0]
    if not (platform.gpu and _is_one_layer(x, layers[0]) and _is_here(x)):
        if platform.cpu and _is_here(x):
            group = list(map(_sums_of_rows, group, layers))
        return jnp.stack(list(map(_sums_of_leaf, group, layers)), 1)
    parts = [
        jnp.stack(list(map(_first_sum, column))) for column in zip(*group, strict=True)
    ]
    if is_large(x):
        return jnp.stack(parts).sum(-1)
    return jnp.stack([part.sum(-1) for part in parts])


def _is_here(x: jax.Array) -> bool:
    """Returns whether x is known to be on one device as a whole."""
    sharding = jax.typeof(x).sharding
    whole = sharding.mesh.size <= 1 or not any(sharding.spec)
    return whole and not _is_automatic(x)


def _is_automatic(x: jax.Array) -> bool:
    """Returns whether XLA may split x by itself: its parts would have to travel."""
    mesh = jax.typeof(x).sharding.mesh
    return mesh.size > 1 and AxisType.Auto in (mesh.axis_types or ())


def _sums_of_rows(
    arrays: tuple[jax.Array, ...], layers: Layers
) -> tuple[jax.Array, ...]:
    """Returns sums of neighbours in each array, of all arrays in one loop."""
    shape, axes = arrays[0].shape, _row_axes(arrays[0], layers)
    if not axes:
        return arrays
    before, after = shape[: axes.start], shape[axes.stop :]
    size = math.prod(shape[axes.start : axes.stop])
    fewest = -(-size // _ROW.start)
    row = next((n for n in _ROW if size % n == 0), -(-size // fewest))
    rows = [x.reshape(*before, size, *after) for x in arrays]
    if size % row:
        wider = [(0, 0)] * rows[0].ndim
        wider[axes.start] = 0, -size % row
        rows = [jnp.pad(x, wider) for x in rows]
    rows = [x.reshape(*before, -1, row, *after) for x in rows]
    # A loop of one sum would be a plain sum: it makes that sum twice.
    operands = rows if len(rows) > 1 else rows * 2
    zeros = [jnp.zeros([], x.dtype) for x in operands]
    sums = jax.lax.reduce(operands, zeros, _added, (axes.start + 1,))
    if len(rows) == 1:
        sums = [jnp.maximum(*sums)]  # which are equal
    ones = (1,) * (len(axes) - 1)
    return tuple(x.reshape(*before, -1, *ones, *after) for x in sums)


def _row_axes(x: jax.Array, layers: Layers) -> range:
    """Returns neighbouring axes, the last that are long, of which a CPU sums rows."""
    if not isinstance(x.size, int) or x.size <= _SMALL:
        return range(0)
    starts, stops = (0, *(i + 1 for i in layers.axes)), (*layers.axes, x.ndim)
    between = map(range, reversed(starts), reversed(stops))
    long = (r for r in between if math.prod(x.shape[i] for i in r) >= _ROW.stop)
    return next(long, range(0))


def _added(x: tuple[Any, ...], y: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a + b for a, b in zip(x, y, strict=True))


def _sums_of_leaf(arrays: tuple[jax.Array, ...], layers: Layers) -> jax.Array:
    size = arrays[0].size
    if isinstance(size, int) and size <= _SMALL:
        # The new leading axis is one more that is not summed.
        stacked = layers._replace(axes=(0, *(axis + 1 for axis in layers.axes)))
        return local_sum(jnp.stack(arrays), stacked)
    return jnp.stack([local_sum(x, layers) for x in arrays])


def _first_sum(x: jax.Array) -> jax.Array:
    """Returns a thousand sums of a large array, and a small array as it is."""
    if not is_large(x):
        return x.reshape(-1)
    wanted = max(_NUMBERS, 1 << (x.size // _SUMMED).bit_length())
    # A power of 2 that divides the size.
    return x.reshape(min(wanted, x.size & -x.size), -1).sum(-1)


def is_large(x: jax.Array) -> bool:
    """Returns whether XLA sums an array in two kernels."""
    return isinstance(x.size, int) and x.size >= _LARGE


def _known_apart(rounds: tuple[tuple[Any, Any], ...]) -> tuple[Any, Any]:
    """Returns the arrays among k and xi, and the numbers, which are not traced."""
    numbers = tuple(x for pair in rounds for x in pair)
    known = tuple(x if isinstance(x, int | float) else None for x in numbers)
    return [x for x in numbers if not isinstance(x, int | float)], known


@partial(jax.jit, static_argnums=2, inline=True)  # outside jit one call
def _scales(sums: jax.Array, arrays: list[Any], known: tuple[Any, ...]) -> jax.Array:
    rest = iter(arrays)
    numbers = [next(rest) if x is None else x for x in known]
    return mutual_scales(sums, tuple(zip(numbers[::2], numbers[1::2], strict=True)))


def _again(
    predict: Callable[[Any], jax.Array],
    leaf: Any,
    asked: Sums,
    platform: _Platform,
    sums: jax.Array,
    square: jax.Array,
) -> jax.Array | None:
    """Returns m, perhaps computed again from an old m that comes after the sums.

    Args:
        predict: makes m of a leaf.
        leaf: with the old average.
        asked: what was to be summed, and m.
        platform: what the program is compiled for.
        sums: those of the leaf and of the others in its group.
        square: the leaf's sums of squares.
    """
    if asked.m is None:
        return None
    if not is_wide(leaf.m):
        # XLA would keep m in 32 bits. A barrier, too, would make it keep an array of 32
        # bits. To add a number that XLA cannot know to be 0 does not.
        rows = _row_axes(leaf.m, asked.layers) and not _is_automatic(leaf.m)
        if not (rows if platform.cpu else platform.gpu and is_large(leaf.m)):
            return asked.m
        zero = jnp.where(jax.lax.stop_gradient(square) < -1, 1.0, 0.0)
        late = leaf.m + spread(zero, leaf.m, asked.layers).astype(leaf.m.dtype)
        return predict(leaf._replace(m=late))
    # After one sum, that of |e|², a large m is read from where it has been written.
    if not platform.gpu or (len(asked.arrays) == 1 and is_large(leaf.m)):
        return asked.m
    late, _ = jax.lax.optimization_barrier((leaf.m, sums))
    return predict(leaf._replace(m=late))


def average_again(b1: Any, g: jax.Array, old: jax.Array) -> jax.Array:
    """Returns the new average once more, by another formula than `ema`."""
    old = widen(old)
    new: jax.Array = old + (1 - b1) * (g - old)
    return new


def rounded_for_certain(x: jax.Array, dtype: Any) -> jax.Array:
    """Returns x in float32, rounded to the nearest number that a dtype of 16 bits has.

    The caller must take care of float16's subnormal numbers.
    """
    info = jnp.finfo(dtype)
    rounded: jax.Array = jax.lax.reduce_precision(x, info.nexp, info.nmant)
    return rounded

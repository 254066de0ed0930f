"""How long are AdaBelief's steps when gradients come as predicted, and when not?

One parameter, four streams of gradients that no update changes. Notebook 2 explains the
picture; the README shows it: `python -m benchmarks.toy.streams` writes it to docs/.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib import rc_context, style
from matplotlib.figure import Figure

from adabelief_optax import ignore_prediction, scale_by_belief
from benchmarks import looks

LENGTH = 200
NOISE = np.random.default_rng(0).standard_normal(LENGTH)
STREAMS = {
    "always 1": np.ones(LENGTH),
    "1 and some noise": 1 + 0.3 * NOISE,
    "noise alone": NOISE,
    "1, −1, 1, −1, …": (-1.0) ** np.arange(LENGTH),
}
EPS = {"eps": 0.0, "eps_root": 1e-8}
# Adam+ is Adam with eps_root where AdaBelief has it, so that nothing else differs.
PAIR = {
    "Adam+": optax.chain(ignore_prediction(), scale_by_belief(**EPS)),
    "AdaBelief": scale_by_belief(**EPS),
}


def run(tx: optax.GradientTransformation, gradients: jax.Array) -> jax.Array:
    """Returns the updates for a sequence of gradients, which no update changes."""

    def step(
        state: optax.OptState, g: jax.Array
    ) -> tuple[optax.OptState, optax.Updates]:
        u, state = tx.update(g, state, jnp.zeros_like(g))
        return state, u

    return jax.jit(lambda g: jax.lax.scan(step, tx.init(g[0]), g)[1])(gradients)


def lengths() -> dict[tuple[str, str], np.ndarray]:
    """Returns the lengths of all steps, in learning rates, by stream and optimizer."""
    return {
        (title, name): np.abs(run(tx, jnp.asarray(stream, jnp.float32)))
        for title, stream in STREAMS.items()
        for name, tx in PAIR.items()
    }


def draw(sizes: dict[tuple[str, str], np.ndarray], colors: dict[str, str]) -> Figure:
    """Returns a figure: above each stream, below it the steps of both optimizers."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    rows = figure.subplots(4, 2, sharex=True, height_ratios=(1, 1.7, 1, 1.7))
    pairs = [rows[i : i + 2, j] for i in (0, 2) for j in (0, 1)]
    for (title, stream), (top, bottom) in zip(STREAMS.items(), pairs, strict=True):
        top.plot(stream, color=colors["gradient"], lw=0.8)
        top.set(title=title, ylim=(-4, 4))
        for name in PAIR:
            width = 4 if name == "Adam+" else 1.6  # AdaBelief's lies on it
            look = looks.line(name) | {"color": colors[name], "lw": width}
            bottom.semilogy(sizes[title, name], **look)
        bottom.set_ylim(1e-3, 20)
        bottom.set_yticks([1e-3, 1e-2, 1e-1, 1, 10])
        top.grid(alpha=0.3)
        bottom.grid(alpha=0.3)
    for i in (0, 2):
        rows[i, 0].set_ylabel("gradient")
        rows[i + 1, 0].set_ylabel("step ÷ rate")
    for axes in rows[3]:
        axes.set_xlabel("step")
    rows[1, 1].legend(loc="lower right")
    return figure


LIGHT = {"gradient": "black", **{name: looks.LOOKS[name].color for name in PAIR}}
DARK = {"gradient": "white", "Adam+": "#D9A0DA", "AdaBelief": looks.SKY}
GITHUB = "#0D1117"  # the ground of its dark pages


def save(folder: Path) -> None:
    """Writes the picture for light and for dark pages."""
    sizes = lengths()
    (folder / "streams-light.png").write_bytes(looks.png(draw(sizes, LIGHT), 130))
    dark = {"figure.facecolor": GITHUB, "axes.facecolor": GITHUB}
    with style.context("dark_background"), rc_context(dark):
        (folder / "streams-dark.png").write_bytes(looks.png(draw(sizes, DARK), 130))


if __name__ == "__main__":
    save(Path(__file__).parents[2] / "docs")

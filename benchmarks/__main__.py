"""Runs a benchmark: `python -m benchmarks COMMAND`, with `--help` for its options."""

import argparse
import sys
from importlib import import_module

COMMANDS = {
    "bfloat16": (
        "suite.bfloat16",
        "do parameters in bfloat16 train as well, and what does it take?",
    ),
    "data": (
        "data.command",
        "which data do the problems need, and is it here?",
    ),
    "deepobs": (
        "deepobs.command",
        "what do the optimizers do on DeepOBS's problems, and others' curves there?",
    ),
    "demo": (
        "demo",
        "do these optimizers train a small image classifier as well as Adam?",
    ),
    "published": (
        "published.page",
        "what do long trainings say that others have run and published?",
    ),
    "run": (
        "suite.run",
        "which optimizer trains what, how well and how fast, at equal tuning?",
    ),
    "report": (
        "suite.report",
        "what do the results of `run` say, in tables and pictures?",
    ),
    "step-time": (
        "speed.step_time",
        "what does one optimizer step cost, beside optax.adam's?",
    ),
    "toy": (
        "toy.command",
        "how many steps does each optimizer need on functions of two numbers?",
    ),
    "traffic": (
        "speed.traffic",
        "what does the step move in the memory of a TPU or a GPU?",
    ),
}  # of each, the module and the question that it answers


def command_name(arguments: list[str]) -> str:
    """Returns the command, or exits and says which there are."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Runs a benchmark and prints its results.",
        epilog="`COMMAND --help` shows the options of a command.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, question) in COMMANDS.items():
        commands.add_parser(name, help=question)
    return parser.parse_args(arguments[:1]).command


def main(arguments: list[str]) -> None:
    """Imports the module of the chosen command alone: each needs other packages."""
    name = command_name(arguments)
    module = import_module(f"benchmarks.{COMMANDS[name][0]}")
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    module.run(parser.parse_args(arguments[1:]))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("stopped")

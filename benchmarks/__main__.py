"""Runs a benchmark: `python -m benchmarks COMMAND`, with `--help` for its options."""

import argparse
import ast
import sys
from importlib import import_module
from pathlib import Path

COMMANDS = {
    "bfloat16": "suite.bfloat16",
    "data": "data.command",
    "deepobs": "deepobs.command",
    "demo": "demo",
    "published": "published.page",
    "run": "suite.run",
    "report": "suite.report",
    "step-time": "speed.step_time",
    "toy": "toy.command",
    "traffic": "speed.traffic",
}  # of each, the module


def question(module: str) -> str:
    """Returns the first line of a module's docstring, without importing it."""
    path = Path(__file__).parent.joinpath(*module.split(".")).with_suffix(".py")
    text = path.read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def command_name(arguments: list[str]) -> str:
    """Returns the command, or exits and says which there are."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Runs a benchmark and prints its results.",
        epilog="`COMMAND --help` shows the options of a command.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        commands.add_parser(name, help=question(module))
    return parser.parse_args(arguments[:1]).command


def main(arguments: list[str]) -> None:
    """Imports the module of the chosen command alone: each needs other packages."""
    name = command_name(arguments)
    module = import_module(f"benchmarks.{COMMANDS[name]}")
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

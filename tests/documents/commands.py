"""Runs all commands of README.md and of the pages in benchmarks: `make test-commands`.

They have a new environment with nothing but pip in it, and a new clone of the last
commit. The commands and the Python code of a page run in their order, and after them
the commands that stand in the middle of a sentence. What has run once does not run
again.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "benchmarks/README.md",
    "benchmarks/SUITE.md",
    "benchmarks/DEEPOBS.md",
    "benchmarks/PUBLISHED.md",
)
CODE = re.compile(
    r"^```(?P<language>\w*)\n(?P<fenced>.*?)^```|(?P<indented>(?:^    [^\n]*\n)+)"
    r"|`(?P<inline>[^`]+)`",
    re.DOTALL | re.MULTILINE,
)
PROGRAM = re.compile(r"(apt|cd|git|make|pip|python3?|tensorboard) ")
DEEPOBS, QUADRATIC = "python -m benchmarks deepobs", "--problem quadratic_deep"
PUBLISHED = "benchmarks/deepobs/published.json"
# What is run in place of a command that takes too long or changes the whole machine.
INSTEAD = {
    "make test": "true",  # .ci/run has both, in a new clone
    "make demo": "true",
    "apt install dataset-fashion-mnist": "true",  # for the whole machine, as root
    "python -m benchmarks run": "python -m benchmarks run --smoke --problem quadratic",
    f"{DEEPOBS} --report": f"{DEEPOBS} --report --out short",  # not over the page
    f"{DEEPOBS} --check": f"{DEEPOBS} --check {QUADRATIC}",  # hours
    f"{DEEPOBS} --check FILE": f"{DEEPOBS} --check {PUBLISHED} {QUADRATIC}",  # any
    f"{DEEPOBS} --problem fmnist_2c2d --epochs 3 --seeds 3 "  # hours
    "--optimizer sgd,adam,adabelief,adabelief-rectified,aida "
    "--rates 1e-4,3.98e-4,1.58e-3,6.31e-3,2.51e-2": (
        f"{DEEPOBS} {QUADRATIC} --epochs 3 --seeds 3 --optimizer sgd,aida "
        "--rates 1e-4,3.98e-4 --results short --out short"
    ),
    f"{DEEPOBS} --problem cifar10_3c3d --schedule cosine "  # hours
    "--optimizer sgd,adam,adabelief,aida --rates 3.16e-4,1e-3,3.16e-3,1e-2 "
    "--tuning-epochs 8 --epochs 15 --seeds 3": (
        f"{DEEPOBS} {QUADRATIC} --schedule cosine --optimizer sgd --rates 1e-3,1e-2 "
        "--tuning-epochs 2 --epochs 3 --seeds 3 --results short --out short"
    ),
}


def commands_of(text: str) -> list[str]:
    """Returns what a page in Markdown tells its reader to type, in order."""
    blocks, mentions = [], []
    for match in CODE.finditer(text):
        indented, language = match["indented"], match["language"]
        if language == "python":
            blocks.append(f"python - <<'END'\n{match['fenced']}END")
        elif language in {"bash", "sh", "shell"}:
            blocks += uncommented(match["fenced"])
        elif indented and " = " not in indented:  # else it is an equation
            blocks += uncommented(indented)
        elif match["inline"] and PROGRAM.match(match["inline"]):
            mentions.append(" ".join(match["inline"].split()))
    return blocks + mentions


def uncommented(block: str) -> list[str]:
    """Returns the commands of a block without what is said of them."""
    lines = re.sub(r"\\\n *", "", block).splitlines()
    return [re.sub(r"  +#.*", "", line).strip() for line in lines]


def environment(folder: Path) -> dict[str, str]:
    """Returns the variables of a shell in which a new environment is active.

    git takes this folder for the project's address, and no data have been downloaded.
    """
    venv.create(folder / "env", with_pip=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MAKE") and name not in {"MFLAGS", "PYTHONPATH"}
    }
    return kept | {
        "PATH": f"{folder / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "ADABELIEF_OPTAX_DATA": str(folder / "data"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{ROOT}.insteadOf",
        "GIT_CONFIG_VALUE_0": project["urls"]["Repository"],
    }


def follow(
    page: str, folder: Path, variables: dict[str, str], finished: set[str]
) -> None:
    """Does what a page says, or exits and says what failed."""
    clone = ["git clone " + variables["GIT_CONFIG_VALUE_0"], "cd adabelief_optax"]
    commands = commands_of((ROOT / page).read_text())
    if clone[0] not in commands:
        commands = clone[(folder / "adabelief_optax").exists() :] + commands
    for command in commands:
        if command.startswith("cd "):
            folder /= command.removeprefix("cd ")
            continue
        if command in finished:
            continue
        finished.add(command)
        start = time.perf_counter()
        done = subprocess.run(
            ["bash", "-c", INSTEAD.get(command, command)],
            cwd=folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - start
        shown = command.splitlines()[-2 if "\n" in command else 0]
        instead = f" [{INSTEAD[command]}]" if command in INSTEAD else ""
        print(f"{seconds:6.1f} s  {shown}{instead}", flush=True)
        if done.returncode:
            sys.exit(f"{done.stdout}\n{page}: this failed: {command}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        variables, finished = environment(Path(folder)), set[str]()
        for page in sys.argv[1:] or PAGES:
            print(f"== {page}", flush=True)
            follow(page, Path(folder), variables, finished)

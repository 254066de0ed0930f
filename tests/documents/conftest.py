"""Runs examples in the process of the tests, which has imported JAX already."""

import signal
import sys

import pytest


@pytest.fixture
def run(monkeypatch, capsys):
    """Returns a function that runs an example, and returns what it prints."""
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    # An example sets another, which goes with the test.
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    def run(example, directory, *options):
        capsys.readouterr()
        arguments = map(str, ["--directory", directory, *options])
        monkeypatch.setattr(sys, "argv", [example.__file__, *arguments])
        example.main()
        return capsys.readouterr().out

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def refusal(run):
    """Returns a function that returns the one line with which a run ends."""

    def refusal(*run_of):
        with pytest.raises(SystemExit) as error:
            run(*run_of)
        assert isinstance(error.value.code, str) and "\n" not in error.value.code
        return error.value.code

    return refusal

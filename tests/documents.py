"""The README and the pages of `migopy/docs`, for the tests that try what they show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, NamedTuple

TOP = Path(__file__).resolve().parents[1]
README = (TOP / "README.md").read_text(encoding="utf-8")
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((TOP / "migopy" / "docs").glob("*.md"))}
CONTRIBUTING = (TOP / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")

FOR_USERS = {"README.md": README, **{f"migopy/docs/{topic}.md": text for topic, text in PAGES.items()}}
ALL = {**FOR_USERS, ".github/CONTRIBUTING.md": CONTRIBUTING}
"""The texts by their paths in this checkout."""

TEXT = "\n".join(FOR_USERS.values())

FENCE = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)


class Block(NamedTuple):
    """A block of code, and the line before it."""

    before: str
    language: str
    text: str

    @property
    def path(self) -> str | None:
        """Of a block that is the content of a file: which one."""
        named = re.search(r"`([\w/]+\.py)`.*:$", self.before)
        return named[1] if named and self.language == "python" else None

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Of a terminal session: what is typed, and what is printed then."""
        return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", self.text, re.MULTILINE)


def blocks(text: str) -> list[Block]:
    return [Block(**found.groupdict()) for found in FENCE.finditer(text)]


def example(containing: str) -> str:
    """The text of the one block with that in it."""
    (found,) = [block.text for text in FOR_USERS.values() for block in blocks(text) if containing in block.text]
    return found


def section(title: str, text: str = README) -> str:
    """What stands below a heading, up to the next one of its kind."""
    return re.split(r"(?m)^## ", text.partition(f"\n## {title}\n")[2])[0]


def prose(text: str) -> str:
    """The text without its blocks of code."""
    return re.sub(r"(?ms)^```.*?^```$", "", text)


def commands(text: str) -> Iterator[str]:
    """Every fab command: those of sessions and shells, and those in a sentence or a table."""
    for block in blocks(text):
        lines = block.text.splitlines() if block.language == "sh" else [typed for typed, _ in block.commands]
        yield from (line for line in lines if line.startswith("fab "))
    for code in re.findall(r"`([^`\n]+)`", prose(text)):
        if code.startswith(":"):
            yield f"fab migrations{code}"
        elif re.search(r"\bfab (-\S+ |production |staging )*migrations\b", code):
            yield code

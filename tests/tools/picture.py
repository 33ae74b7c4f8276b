"""The picture of a terminal session in the README, from a real run: python -m tests.tools.picture"""

from __future__ import annotations

import re
import shutil
import unittest
from html import escape
from pathlib import Path

from tests.support import MongoTestCase, Project

PICTURE = Path(__file__).parents[1] / "terminal.svg"
EXAMPLE = Path(__file__).parents[1] / "example"
COMMANDS = ("migrations", "migrations:execute", "migrations:history", "migrations:rollback,3", "migrations:check")

COLOURS = {"31": "#ff7b72", "32": "#7ee787", "1": "#ffffff"}
BACKGROUND, TEXT, PROMPT = "#0d1117", "#c9d1d9", "#8b949e"
LINE_HEIGHT, CHARACTER_WIDTH, MARGIN = 19, 8.43, 20


class Session(MongoTestCase):
    """The test case that lends its database and project to the run; not found by discovery, which wants test_*.py."""

    def runTest(self) -> None:  # noqa: N802 - the name is that of unittest
        project = Project(self, "")
        shutil.copytree(EXAMPLE, project.path, dirs_exist_ok=True)
        settings = {"MONGO_URI": self.server.uri, "MONGO_DATABASE": self.database}
        lines: list[str] = []
        for command in COMMANDS:
            output = project.fab_in_terminal(command, env=settings).stdout.replace("\n\nDone.\n", "\n")
            output = re.sub(r"\b[\w.-]+@[\w.-]+", "ann@web1", output)
            output = re.sub(r"Database \S+ at \S+", "Database blog at localhost:27017", output)
            lines += [f"$ fab {command}", *output.rstrip("\n").split("\n"), ""]
        PICTURE.write_text(svg(lines[:-1]), encoding="utf-8")


def svg(lines: list[str]) -> str:
    """The lines as a picture; the colours of the terminal become those of the text."""
    width = max(len(re.sub(r"\033\[\d+m", "", line)) for line in lines) * CHARACTER_WIDTH + 2 * MARGIN
    height = len(lines) * LINE_HEIGHT + 2 * MARGIN
    rows = "\n".join(
        f'<text x="{MARGIN}" y="{MARGIN + (row + 0.75) * LINE_HEIGHT:g}">{_spans(line)}</text>'
        for row, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}"'
        f' font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">\n'
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>\n<g fill="{TEXT}">\n{rows}\n</g>\n</svg>\n'
    )


def _spans(line: str) -> str:
    if line.startswith("$ "):
        return f'<tspan fill="{PROMPT}">$</tspan> <tspan fill="{COLOURS["1"]}">{escape(line[2:])}</tspan>'
    return re.sub(
        r"\033\[(\d+)m(.*?)\033\[0m",
        lambda match: f'<tspan fill="{COLOURS[match[1]]}">{match[2]}</tspan>',
        escape(line),
    )


if __name__ == "__main__":
    unittest.main(argv=["picture", "Session"])

"""The pictures in README and pages, a terminal session and a report, from real runs: python -m tests.tools.picture"""

from __future__ import annotations

import re
import shutil
import unittest
from html import escape
from pathlib import Path

from tests.browser import Window, views
from tests.support import MongoTestCase, Project

FOLDER = Path(__file__).parents[1]
PICTURE, PICTURE_OF_REPORT = FOLDER / "terminal.svg", FOLDER / "report.png"
EXAMPLE = FOLDER / "example"
COMMANDS = ("migrations", "migrations:execute", "migrations:history", "migrations:rollback,3", "migrations:check")

COLOURS = {"31": "#ff7b72", "32": "#7ee787", "1": "#ffffff"}
BACKGROUND, TEXT, PROMPT = "#0d1117", "#c9d1d9", "#8b949e"
LINE_HEIGHT, CHARACTER_WIDTH, MARGIN = 19, 8.43, 20

REHEARSED = {
    "012_one_account_for_each_email.py": (
        "db.users.create_index('email', unique=True)",
        "db.users.drop_index('email_1')",
    ),
    "013_names.py": (
        "db.users.update_many({}, [{'$set': {'name': {'$concat': ['$first', ' ', '$last']}}}])",
        "db.users.update_many({}, {'$unset': {'name': 1}})",
    ),
    "014_no_phone_numbers.py": ("db.users.update_many({'phone': {'$exists': True}}, {'$unset': {'phone': 1}})", None),
}
"""The bodies of up() and down()."""


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


class Report(MongoTestCase):
    def runTest(self) -> None:  # noqa: N802
        words = ("Ann", "Ben", "Cleo", "Dan"), ("Ames", "Boyd", "Cole")
        users = [{"_id": n, "first": words[0][n % 4], "last": words[1][n % 3]} for n in range(120_000)]
        for n, user in enumerate(users):
            user.update(email=f"{user['first']}.{n}@example.com".lower(), **({"phone": f"555 {n:06}"} if n % 3 else {}))
        users[7]["email"] = users[11]["email"]
        self.db.users.insert_many(users)
        project = self.project(MONGO_URI=self.server.uri)
        for name, (up, down) in REHEARSED.items():
            project.migration(name, up, down)
        project.fab("migrations:rehearse,report=report.html")
        page = project.path / "report.html"
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(r"Rehearsal of \S+ at [^\s<]+", "Rehearsal of shop at localhost:27017", text))
        views(page, [Window(1000, 1080, is_dark=False)])
        shutil.copy(page.with_suffix(".0.png"), PICTURE_OF_REPORT)


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
    unittest.main(argv=["picture", "Session", "Report"])

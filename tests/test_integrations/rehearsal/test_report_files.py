"""The option report: Markdown and HTML of what a rehearsal has found."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from tests.browser import View, Window, views
from tests.test_integrations.rehearsal.test_preflight import GRAVE, PreflightTestCase

NASTY = "a|b `c` <script>alert(1)</script>\n# d & \u001b[31m*e* @f"
UP = f"db.small.update_many({{}}, {{'$set': {{'text': {NASTY!r}}}}})"
WINDOWS = [Window(*size, is_dark) for size in ((400, 1500), (1400, 600)) for is_dark in (False, True)]

LIGHT = ("#ffffff", "#1c1e21", "#3b6fb6", "#b3261e")
DARK = ("#15171a", "#e6e8eb", "#7aa7e6", "#ff8a80")
"""The colors of paper, words, bars and troubles."""


class Elements(HTMLParser):
    """The names of the elements, which have to be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.found.add(tag)
        if tag not in ("meta", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag, tag


class TestReportFiles(PreflightTestCase):
    def report(self, name: str, code: int = 4) -> str:
        path = self.team.path / name
        manager = self.manager(PREFLIGHT_DOCUMENTS=100)
        result = self.run_task("rehearse", of=manager, documents="20", report=str(path))
        self.assert_code(code, result)
        self.assertNotIn("Traceback", result.stderr)
        return path.read_text(encoding="utf-8")

    def write_both(self) -> None:
        self.write(GRAVE["a scan"])
        self.team.migration("2_b.py", UP, "pass")

    def test_markdown_has_one_row_for_each_line_whatever_the_data(self) -> None:
        self.write_both()
        report = self.report("report.md")
        self.assertIn("| 1&#95;a.py | ", report)
        self.assertRegex(
            report, r"### On the real data\n\n- users&#58; .*\n- \*\*users&#58; no index fits .*COLLSCAN&#93;\*\*\n"
        )
        for table in re.findall(r"(?m)(?:^\|.*\n)+", report):
            self.assertEqual(1, len({line.count("|") for line in table.splitlines()}), table)
        self.assertNotIn("<script", report)
        self.assertNotIn("`", report)
        self.assertIn("<code>&#39;a&#124;b &#96;c&#96; &#60;script&#62;", report)
        self.assertIn("### Time", report)

    def test_html_has_no_script_and_loads_nothing(self) -> None:
        self.write_both()
        report = self.report("report.html")
        elements = Elements(report)
        self.assertEqual([], elements.open)
        self.assertEqual({"svg", "table", "rect"}, elements.found & {"script", "link", "img", "svg", "table", "rect"})
        self.assertNotRegex(report, "https?:|url\\(|@import")
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt;", report)
        self.assertIn("prefers-color-scheme: dark", report)
        self.assertRegex(report, r'<li class="bad">users: no index fits')
        self.assertIn("What down() does not restore", report)

    def test_in_a_browser_all_of_it_is_seen_on_any_screen(self) -> None:
        self.write_both()
        name = f"3_{'a_long_name_' * 5}.py"
        self.team.migration(name, "db.users.update_many({}, {'$unset': {'email': 1}})", None)
        self.report("report.html")
        for view in views(self.team.path / "report.html", WINDOWS):
            with self.subTest(view.window):
                self.assertEqual(view.window.width, view.width, "the page is wider than the window")
                self.assert_inside(view)
                shown = [box.text for box in view.boxes if box.height]
                self.assertIn("COLLSCAN", shown)
                self.assertIn(name, shown)
                self.assertIn("'a|b `c` <script>alert(1)</script>\\n# d & \\x1b[31m*e* @f'", shown)
                self.assertEqual(view.window.width > 1000, "up() again" in shown)  # the head of the table
                self.assert_colors(view)

    def assert_inside(self, view: View) -> None:
        """Nothing that is shown begins or ends outside of the window, and each bar has a length."""
        for box in view.boxes:
            if box.height:
                self.assertLessEqual(0, box.left, box)
                self.assertGreaterEqual(view.window.width, box.right, box)
        bars = [box.right - box.left for box in view.boxes if box.element == "rect"]
        self.assertGreaterEqual(len(bars), 6)  # three migrations, and a command of each
        self.assertGreater(min(bars), 0)

    def assert_colors(self, view: View) -> None:
        """The picture has the colors of its scheme: most of it is paper, and words, bars and troubles are seen."""
        paper, *others = DARK if view.window.is_dark else LIGHT
        self.assertGreater(view.pixels[paper], 0.6 * view.window.width * view.window.height)
        for color in others:
            self.assertGreater(view.pixels.get(color, 0), 300, color)

    def test_a_rehearsal_that_fails_is_reported_too(self) -> None:
        self.team.migration("1_a.py", "1 / 0")
        path = self.team.path / "report.md"
        self.assert_code(1, self.run_task("rehearse", report=str(path)))
        self.assertIn("ZeroDivisionError", path.read_text())

    def test_a_file_that_cannot_be_written_is_named_before_anything_is_copied(self) -> None:
        self.team.migration("1_a.py", "pass")
        for name, sentence in {
            "report.txt": "report has to be a file that ends in .md or .html, not 'report.txt'.",
            "": "report has to be a file that ends in .md or .html, not ''.",
            "/none/report.md": "The report /none/report.md cannot be written there. Nothing was copied.",
        }.items():
            result = self.run_task("rehearse", report=name)
            self.assert_code(1, result)
            self.assertIn(sentence, result.stderr)
            self.assertNotIn("Copying", result.stderr)

"""The option report: Markdown and HTML of what a rehearsal has found."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from tests.test_integrations.rehearsal.test_preflight import GRAVE, PreflightTestCase

NASTY = "a|b `c` <script>alert(1)</script>\n# d & \u001b[31m*e* @f"
UP = f"db.small.update_many({{}}, {{'$set': {{'text': {NASTY!r}}}}})"


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
        self.assertRegex(report, r"- users&#58; no index fits .*COLLSCAN")
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

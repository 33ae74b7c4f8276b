"""A real browser without a window, for the tests of pages that people read in one."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shutil
import subprocess
import unittest
from pathlib import Path
from typing import Any, NamedTuple, Sequence

NAME = "chromium-headless-shell"

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")

POLICY = re.compile("<meta http-equiv[^>]*>")
"""What forbids the page a script, such as the one that measures it."""

MEASURE = """<script>
const box = (element) => { const at = element.getBoundingClientRect();
  return [element.tagName.toLowerCase(), element.textContent, at.left, at.right, at.height] };
document.title = JSON.stringify([document.documentElement.scrollWidth,
  [...document.querySelectorAll("h1, h2, h3, p, th, td, li, rect")].map(box)]);
</script>"""

COUNT_PIXELS = """<script>
const count = (image) => {
  const paper = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext("2d"), found = {};
  paper.drawImage(image, 0, 0);
  const { data } = paper.getImageData(0, 0, image.naturalWidth, image.naturalHeight);
  for (let at = 0; at < data.length; at += 4) {
    const color = "#" + [...data.slice(at, at + 3)].map((part) => part.toString(16).padStart(2, "0")).join("");
    found[color] = (found[color] || 0) + 1 }
  return found };
onload = () => { document.title = JSON.stringify([...document.images].map(count)) };
</script>"""


class Window(NamedTuple):
    width: int
    height: int
    is_dark: bool


class Box(NamedTuple):
    """An element, in pixels of the page; one that is not shown has no height."""

    element: str
    text: str
    left: float
    right: float
    height: float


class View(NamedTuple):
    """What a window shows: ``width`` is that of the page, ``pixels`` are those of the picture by color."""

    window: Window
    width: int
    boxes: list[Box]
    pixels: dict[str, int]


def views(page: Path, windows: Sequence[Window]) -> list[View]:
    """Open a page in each of the windows, measure it, and take its picture beside it."""
    measured = page.with_suffix(".measured.html")
    measured.write_text(POLICY.sub("", page.read_text(encoding="utf-8")) + MEASURE, encoding="utf-8")
    pictures = [page.with_suffix(f".{number}.png") for number in range(len(windows))]
    found = []
    for window, picture in zip(windows, pictures):
        size, scheme = f"--window-size={window.width},{window.height}", 0 if window.is_dark else 1
        found.append(
            _title(measured, size, f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={picture}")
        )
    counting = page.with_suffix(".counting.html")
    # The picture is a part of the page: a script may not look into other files.
    images = (f'<img src="data:image/png;base64,{base64.b64encode(each.read_bytes()).decode()}">' for each in pictures)
    counting.write_text("".join(images) + COUNT_PIXELS)
    pixels = _title(counting)
    return [
        View(window, width, [Box(*box) for box in boxes], counts)
        for window, (width, boxes), counts in zip(windows, found, pixels)
    ]


def _title(page: Path, *options: str) -> Any:
    """What the script of a page has made its title."""
    program = shutil.which(NAME)
    if program is None and not os.environ.get("CI"):
        raise unittest.SkipTest(f"It needs {NAME}, a package of Debian.")
    assert program, f"{NAME} is not installed, a package of Debian."
    profile = page.with_suffix(".profile")
    shown = subprocess.run(
        [program, *FLAGS, f"--user-data-dir={profile}", *options, "--dump-dom", page.as_uri()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        timeout=60,
        check=True,
    )
    found = re.search("<title>(.*?)</title>", shown.stdout, re.DOTALL)
    assert found, shown.stdout
    return json.loads(html.unescape(found[1]))

"""What people see: messages in colours, tables, and questions. Nothing that a stream does stops a run."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from typing import Callable

from .streams import has_colours, say
from .texts import escaped, masked, safe_str

RED, GREEN, BOLD, PLAIN = "\033[31m", "\033[32m", "\033[1m", "\033[0m"

COLOUR = r"(\033\[[0-9;]*m)"
"""The escape sequences that a text may bring along: those of ``Str``, which change nothing but its colour."""


class Str(str):
    """Text that can be coloured: ``Str('done').green()``."""

    def _painted(self, colour: str) -> Str:
        return Str(colour + self + PLAIN)

    def white(self) -> Str:
        """The text as it is: a terminal with a white background has to show it too."""
        return self

    def red(self) -> Str:
        return self._painted(RED)

    def green(self) -> Str:
        return self._painted(GREEN)

    def white_bold(self) -> Str:
        return self._painted(BOLD)


class ColorsLogger:
    """Messages for people, to stderr, whatever the state of Python's logging is.

    Handlers that a team adds to the logger named ``migopy`` get them too, without colours.
    """

    def __init__(self, name: str = "migopy") -> None:
        self._logger = logging.getLogger(name)
        self._logger.setLevel(logging.INFO)
        # With logging.basicConfig() in the fabfile each line would come twice.
        self._logger.propagate = False

    def white(self, message: object) -> None:
        self._say(message, Str.white)

    def red(self, message: object) -> None:
        self._say(message, Str.red)

    def green(self, message: object) -> None:
        self._say(message, Str.green)

    def white_bold(self, message: object) -> None:
        self._say(message, Str.white_bold)

    def _say(self, message: object, paint: Callable[[Str], Str]) -> None:
        text = harmless(safe_str(message))
        say(paint(Str(text)) if has_colours(sys.stderr) else text)
        with contextlib.suppress(Exception):  # a handler of the team's that fails
            self._logger.info("%s", text)


def harmless(text: str) -> str:
    """A message, which may have several lines and colours, without secrets and other control characters."""
    parts = re.split(COLOUR, masked(text))
    return "".join(part if re.match(COLOUR, part) else escaped(part, kept="\n\t") for part in parts)


def ask(question: str) -> bool:
    """Ask on stderr, as everything for people goes there; only ``yes`` is yes."""
    say(f"{harmless(question)} [yes/no]", end=" ")
    return sys.stdin.readline().strip().lower() == "yes"

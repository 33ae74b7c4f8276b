"""Messages and questions on stderr. A stream that fails stops no run."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from typing import Callable

from ..errors import WrongState
from .options import is_yes, means_yes
from .streams import has_colours, is_screen, is_terminal, say, width_of
from .texts import escape, mask, safe_str, wrap

RED, GREEN, BOLD, RESET = "\033[31m", "\033[32m", "\033[1m", "\033[0m"

COLOUR = r"(\033\[[0-9;]*m)"
"""The escape sequences that a message may contain: the colours of ``Str``."""


class Str(str):
    """A string that can be coloured: ``Str('done').green()``."""

    def white(self) -> Str:
        return self  # white text could not be read on a white background

    def red(self) -> Str:
        return Str(RED + self + RESET)

    def green(self) -> Str:
        return Str(GREEN + self + RESET)

    def white_bold(self) -> Str:
        return Str(BOLD + self + RESET)


class ColorsLogger:
    """Writes messages to stderr, whatever the configuration of Python's logging.

    Handlers that a team adds to the logger ``migopy`` get the messages too, without colours.
    """

    _level = logging.INFO

    def __init__(self, name: str = "migopy") -> None:
        self._logger = logging.getLogger(name)
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False  # logging.basicConfig() in a fabfile would print each message twice

    def white(self, message: object) -> None:
        self._say(message, Str.white)

    def red(self, message: object) -> None:
        self._say(message, Str.red)

    def green(self, message: object) -> None:
        self._say(message, Str.green)

    def white_bold(self, message: object) -> None:
        self._say(message, Str.white_bold)

    def error(self, message: object) -> None:
        """A failure, which the handlers of a team get as an ERROR."""
        self._level = logging.ERROR
        try:
            self.red(message)  # which a team may have overridden
        finally:
            self._level = logging.INFO

    def _say(self, message: object, colour: Callable[[Str], Str]) -> None:
        text = clean(safe_str(message))
        lines = wrap(text, width_of(sys.stderr)) if is_screen(sys.stderr) else text
        say(colour(Str(lines)) if has_colours(sys.stderr) else lines)
        with contextlib.suppress(Exception):  # a handler of the team may fail
            if self._logger.hasHandlers():  # without any, logging prints an ERROR itself
                self._logger.log(self._level, "%s", text)


def failure_method(logger: ColorsLogger) -> Callable[[object], None]:
    """What shows a failure: ``error``, which a logger of a team may lack, or else ``red``."""
    method: Callable[[object], None] = getattr(logger, "error", logger.red)
    return method


def clean(text: str) -> str:
    """The text without secrets and control characters. Colours and line breaks stay."""
    parts = re.split(COLOUR, mask(text))
    return "".join(part if re.match(COLOUR, part) else escape(part, keep="\n\t") for part in parts)


def ask(question: str) -> bool:
    """Ask on stderr, and return whether the answer is ``yes`` or ``y``."""
    say(f"{clean(question)} [yes/no]", end=" ")
    answer = sys.stdin.readline()
    if not answer:  # Ctrl-D, which begins no new line
        say("")
    return means_yes(answer)


def require_yes(question: str, force: str | None, *, may_ask: bool) -> None:
    """Ask before something that cannot be undone. Raises ``WrongState`` unless the answer or ``force`` is yes."""
    if is_yes("force", force):
        return
    for is_silent, why in (
        (not may_ask, "--abort-on-prompts forbids questions"),
        (not is_terminal(sys.stdin), "there is no terminal to ask on"),
    ):
        if is_silent:
            raise WrongState(f"Nothing was done: {why}. The question is: {question} Write force=yes to answer yes.")
    if not ask(question):
        raise WrongState("Nothing was done.")

"""Questions before something that cannot be undone."""

from __future__ import annotations

import sys

from ..errors import WrongState
from ..terminal import is_terminal
from ..terminal.messages import ask
from ..terminal.options import is_yes
from .door import env


def require_yes(question: str, force: str | None) -> None:
    """Ask a person. Raises ``WrongState`` unless the answer or ``force`` is yes."""
    if is_yes("force", force):
        return
    for is_silent, why in (
        (env.abort_on_prompts, "--abort-on-prompts forbids questions"),
        (not is_terminal(sys.stdin), "there is no terminal to ask on"),
    ):
        if is_silent:
            raise WrongState(f"Nothing was done: {why}. The question is: {question} Write force=yes to answer yes.")
    if not ask(question):
        raise WrongState("Nothing was done.")

"""The command line: how subtasks and their options are read, written and quoted."""

from __future__ import annotations

import inspect
import keyword
import shlex
from typing import Any, Callable, Mapping, Sequence

WRITTEN = {
    "spec_migr": "NAME",
    "name": "NAME",
    "dump_folder": "DUMP",
    "words": "WORDS",
    "topic": "TOPIC",
    "to": "to=NAME",
    "last": "last=N",
    "pending": "pending=ok",
    "documents": "documents=N",
    "keep": "keep=yes",
    "force": "force=yes",
    "from_": "from=NAME",
    "json": "json=yes",
}
"""How the options of our subtasks are written, as in the README; those of the team by the names of their parameters."""


def as_text(options: Sequence[object], named: Mapping[str, object]) -> tuple[list[str], dict[str, str]]:
    """What the command line would give for a call in Python: ``execute(migrations, 'execute', to=1)``.

    True is yes; None and False are left out, those before another option are empty then.
    """
    texts = ["" if _is_left_out(value) else _text(value) for value in options]
    while texts and _is_left_out(options[len(texts) - 1]):
        texts.pop()
    return texts, {name: _text(value) for name, value in named.items() if not _is_left_out(value)}


def _is_left_out(value: object) -> bool:
    return value is None or value is False


def _text(value: object) -> str:
    return "yes" if value is True else str(value)


def parse(options: list[str], named: dict[str, str]) -> tuple[str | None, list[str], dict[str, str]]:
    """Tell the subtask from its options; ``subtask=`` and ``spec_migr=`` may be written out, as in 1.0.

    An empty subtask is none, ``fab migrations:`` is ``fab migrations``. An empty option is one: what it means is for
    the subtask to say.
    """
    named = dict(named)
    options = ([named.pop("subtask")] if "subtask" in named else []) + options
    if "spec_migr" in named:
        options[1:1] = [named.pop("spec_migr")]
    return (options[0] or None if options else None), options[1:], named


def parameter_name(option: str) -> str:
    """No parameter can be called as a keyword of Python is: ``from=NAME`` goes to ``from_``."""
    return f"{option}_" if keyword.iskeyword(option) else option


def usage(fab_task: str, name: str, method: Callable[..., Any]) -> str:
    """How the command is written, what may be left out in brackets: ``fab migrations:execute[,NAME][,to=NAME]``."""
    written = f"fab {fab_task}:{name}"
    for position, parameter in enumerate(inspect.signature(method).parameters.values()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            written += "[,...]"
            continue
        option = parameter.name.rstrip("_")
        is_needed = parameter.default is parameter.empty
        plain = option if is_needed or position == 0 else f"{option}=..."
        word = WRITTEN.get(parameter.name, plain)
        written += f",{word}" if is_needed else f"[,{word}]"
    return written


def option_text(options: list[str], named: dict[str, str]) -> str | None:
    """The options as they are written on the fab command line, for ``task_hook``; None without any.

    Fabric's ``parse_arguments`` knows ``\\,`` and ``\\=`` but no way to write a backslash before a comma, so a value
    that ends in one stands last.
    """
    pairs = [escaped(value) for value in options]
    pairs += [f"{escaped(name)}={escaped(value)}" for name, value in named.items()]
    positional_last = sorted(pairs, key=lambda pair: pair.endswith("\\"))
    return ",".join(positional_last) if pairs else None


def escaped(value: str) -> str:
    return value.replace(",", r"\,").replace("=", r"\=")


def fab_command(fab_task: str, subtask: str | None, option: str | None) -> str:
    """The command line, the task one shell word: ``fab migrations:execute,1_first.py``."""
    word = fab_task
    if subtask or option is not None:
        word += f":{escaped(subtask or '')}"
    if option is not None:
        word += f",{option}"
    # Fabric's run() puts the line into double quotes and escapes only ", $ and ` there (_shell_escape), so a
    # backslash of ours must not stand before one of them, or before another backslash: '\''$x' instead of '\$x'.
    return "fab " + shlex.quote(word).replace("\\", "\\''")

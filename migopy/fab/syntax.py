"""Reading, writing and quoting subtasks and their options on the command line of fab."""

from __future__ import annotations

import keyword
import shlex
from typing import Any, Callable, Mapping, Sequence

from ..terminal.signature import signature

NOTATION = {
    "spec_migr": "NAME",
    "name": "NAME",
    "dump_folder": "DUMP",
    "words": "WORDS",
    "collection": "COLLECTION",
    "file": "FILE",
    "topic": "TOPIC",
    "to": "to=NAME",
    "last": "last=N",
    "was": "was=OLD",
    "pending": "pending=ok",
    "documents": "documents=N",
    "preflight": "preflight=N",
    "report": "report=FILE",
    "keep": "keep=yes",
    "force": "force=yes",
    "plan": "plan=yes",
    "resume": "resume=yes",
    "from_": "from=NAME",
    "because": "because=WORDS",
    "full": "full",
    "pace": "pace=N",
    "json": "json=yes",
}
"""How messages write the options of our subtasks, by parameter name."""


def command_line_options(options: Sequence[object], named: Mapping[str, object]) -> tuple[list[str], dict[str, str]]:
    """The options of a call in Python as Fabric would pass them: ``execute(migrations, 'execute', to=1)``.

    True becomes ``yes``. None and False are left out, or become an empty string before another option.
    """
    texts = ["" if _is_left_out(value) else _option_value(value) for value in options]
    while texts and _is_left_out(options[len(texts) - 1]):
        texts.pop()
    return texts, {name: _option_value(value) for name, value in named.items() if not _is_left_out(value)}


def _is_left_out(value: object) -> bool:
    return value is None or value is False


def _option_value(value: object) -> str:
    return "yes" if value is True else str(value)


def parse(options: list[str], named: dict[str, str]) -> tuple[str | None, list[str], dict[str, str]]:
    """Separate the subtask from its options. As in 1.0, ``subtask=`` and ``spec_migr=`` may be written out.

    ``fab migrations:`` is ``fab migrations``, so an empty subtask becomes None. An empty option stays.
    """
    named = dict(named)
    options = ([named.pop("subtask")] if "subtask" in named else []) + options
    if "spec_migr" in named:
        options[1:1] = [named.pop("spec_migr")]
    return (options[0] or None if options else None), options[1:], named


def parameter_name(option: str) -> str:
    """``from`` goes to the parameter ``from_``: no parameter can have the name of a Python keyword."""
    return f"{option}_" if keyword.iskeyword(option) else option


def usage(fab_task: str, name: str, method: Callable[..., Any]) -> str:
    """What to write, optional parts in brackets: ``fab migrations:execute[,NAME][,to=NAME]``."""
    command = f"fab {fab_task}:{name}"
    for position, parameter in enumerate(signature(method).parameters.values()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            command += "[,...]"
            continue
        option = parameter.name.rstrip("_")
        is_needed = parameter.default is parameter.empty
        word = NOTATION.get(parameter.name, option if is_needed or position == 0 else f"{option}=...")
        command += f",{word}" if is_needed else f"[,{word}]"
    return command


def option_text(options: list[str], named: dict[str, str]) -> str | None:
    """The options as they are written on the fab command line, or None without options."""
    texts = [escape(value) for value in options]
    texts += [f"{escape(name)}={escape(value)}" for name, value in named.items()]
    # Fabric reads \, as a comma in a value, so a value that ends in a backslash goes last.
    return ",".join(sorted(texts, key=lambda text: text.endswith("\\"))) if texts else None


def escape(value: str) -> str:
    return value.replace(",", r"\,").replace("=", r"\=")


def fab_command(fab_task: str, subtask: str | None, option: str | None) -> str:
    """The command line, with the task as one shell word: ``fab migrations:execute,1_first.py``."""
    word = fab_task
    if subtask or option is not None:
        word += f":{escape(subtask or '')}"
    if option is not None:
        word += f",{option}"
    # Fabric's run() puts the line into double quotes and escapes only ", $ and ` in it. So we must write no backslash
    # before one of them or before another backslash: '\''$x' instead of '\$x'.
    return "fab " + shlex.quote(word).replace("\\", "\\''")

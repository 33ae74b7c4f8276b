"""Subtasks: how a method becomes one, which a class has, and their lines of help."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Protocol, TypeVar, overload

from ..terminal.messages import ColorsLogger

Method = TypeVar("Method", bound=Callable[..., Any])


@overload
def task(method: Method) -> Method: ...


@overload
def task(*, default: bool = False) -> Callable[[Method], Method]: ...


def task(method: Method | None = None, *, default: bool = False) -> Method | Callable[[Method], Method]:
    """Make a method of a ``MigrationsManager`` a subtask: ``fab migrations:NAME``.

    ``default=True`` makes it the one that plain ``fab migrations`` runs. The first paragraph of its docstring is its
    line in ``fab migrations:help``.
    """

    def mark(method: Method) -> Method:
        method.is_subtask = True  # type: ignore[attr-defined]
        method.is_default_subtask = default  # type: ignore[attr-defined]
        return method

    return mark(method) if method else mark


def names(manager_class: type) -> list[str]:
    """The subtasks in the order of their definition, migopy's own first, then those of the team."""
    defined = dict.fromkeys(name for cls in reversed(manager_class.__mro__) for name in vars(cls))
    return [name for name in defined if hasattr(getattr(manager_class, name, None), "is_subtask")]


def default(manager_class: type) -> str | None:
    """The subtask of plain ``fab migrations``: the one that the most derived class declares."""
    for cls in manager_class.__mro__:
        for name, method in vars(cls).items():
            if getattr(method, "is_default_subtask", False) and name in names(manager_class):
                return name
    return None


def help_line(method: Callable[..., Any]) -> str:
    """The first paragraph of the docstring on one line; empty without a docstring."""
    return " ".join((inspect.getdoc(method) or "").partition("\n\n")[0].split())


def help_lines(manager_class: type[Manager]) -> list[tuple[str, str]]:
    """Command and description of every subtask that has a docstring."""
    lines = [(name, help_line(getattr(manager_class, name))) for name in names(manager_class)]
    return [(f"fab {manager_class.FAB_TASK}:{name}", line) for name, line in lines if line]


class Manager(Protocol):
    """What a task needs of the class that it is made from."""

    FAB_TASK: str
    logger: ColorsLogger

    @classmethod
    def task_hook(cls, subtask: str | None, option: str | None) -> None: ...

    def close(self) -> None: ...

"""The subtasks of a class, and their help lines."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Mapping, Protocol, TypeVar, overload

from ..terminal.messages import ColorsLogger

Method = TypeVar("Method", bound=Callable[..., Any])


@overload
def task(method: Method) -> Method: ...


@overload
def task(*, default: bool = False) -> Callable[[Method], Method]: ...


def task(method: Method | None = None, *, default: bool = False) -> Method | Callable[[Method], Method]:
    """Decorator that makes a method of a ``MigrationsManager`` a subtask: ``fab migrations:NAME``.

    ``default=True`` (bool) makes it the subtask of plain ``fab migrations``. ``fab migrations:help`` prints the first
    paragraph of its docstring.
    """

    def mark(method: Method) -> Method:
        method.is_subtask = True  # type: ignore[attr-defined]
        method.is_default_subtask = default  # type: ignore[attr-defined]
        return method

    return mark(method) if method else mark


def subtask_names(manager_class: type) -> list[str]:
    """In the order of definition: first migopy's own subtasks, then the team's."""
    defined = dict.fromkeys(name for cls in reversed(manager_class.__mro__) for name in vars(cls))
    return [name for name in defined if hasattr(getattr(manager_class, name, None), "is_subtask")]


def default_subtask(manager_class: type) -> str | None:
    """The subtask of plain ``fab migrations``. The most derived class with a default wins."""
    for cls in manager_class.__mro__:
        for name, method in vars(cls).items():
            if getattr(method, "is_default_subtask", False) and name in subtask_names(manager_class):
                return name
    return None


def help_line(method: Callable[..., Any]) -> str:
    """The first paragraph of the docstring on one line, or an empty string."""
    return " ".join((inspect.getdoc(method) or "").partition("\n\n")[0].split())


def help_lines(manager_class: type[Manager]) -> list[tuple[str, str]]:
    """Command and description of every subtask that has a docstring."""
    lines = [(name, help_line(getattr(manager_class, name))) for name in subtask_names(manager_class)]
    return [(f"fab {manager_class.FAB_TASK}:{name}", line) for name, line in lines if line]


class Manager(Protocol):
    """The part of ``MigrationsManager`` that a task needs."""

    FAB_TASK: str
    MONGO_DATABASES: Any
    logger: ColorsLogger

    @classmethod
    def create_task(cls) -> Callable[..., Any]: ...

    @classmethod
    def task_hook(cls, subtask: str | None, option: str | None) -> None: ...

    @classmethod
    def run_in_databases(cls, subtask: str | None, options: list[str], named: Mapping[str, str]) -> Any: ...

    def close(self) -> None: ...

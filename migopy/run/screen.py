"""What the reading subtasks show people, in colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

from .report import problems_beside, summary_line

if TYPE_CHECKING:
    from ..terminal import ColorsLogger
    from .status import Problem, Status


def show_status(logger: ColorsLogger, status: Status, *, is_new: bool) -> None:
    """Show the database, what is unregistered, and the problems; ``is_new`` says that the database does not exist."""
    inventory = status.inventory
    not_yet = ", which does not exist yet" if is_new else ""
    logger.white(f"Database {status.database} at {status.server}{not_yet}")
    logger.white(summary_line(status))
    if status.unregistered:
        logger.white_bold(f"Unregistered migrations ({inventory.command}:execute to execute them):")
        for migration in status.unregistered:
            logger.red(migration.name)
    elif not status.running_now:
        logger.green(inventory.nothing_to_execute())
    show_problems(logger, status.problems, status)


def show_obstacles(logger: ColorsLogger, obstacles: Sequence[str], status: Status) -> None:
    """Show why execute would stop, then the problems that are not among these reasons."""
    for obstacle in obstacles:
        logger.red(f"execute would stop: {obstacle}")
    show_problems(logger, problems_beside(obstacles, status), status)


def show_problems(logger: ColorsLogger, problems: Sequence[Problem], status: Status | None = None) -> None:
    """Show the problems, unfinished migrations in red, and who holds the lock."""
    for problem in problems:
        say = logger.red if problem.is_unfinished else logger.white
        say(problem.text)
    for sentence in status.lock_sentences if status else ():
        logger.white(sentence)

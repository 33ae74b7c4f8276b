"""Runs a plan: one migration after the other, each with its message and its row for programs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..files.migration import require_plain_function
from ..terminal import signals
from .runner import HOOKS, Run

if TYPE_CHECKING:
    from .direction import Direction
    from .outcome import Outcome
    from .planning import Plan
    from .runner import Team
    from .workspace import Workspace


def run_all(direction: Direction, plan: Plan, workspace: Workspace, outcome: Outcome, team: Team) -> None:
    """Run the migrations of a plan under the lock, and report each.

    Raises ``WrongState`` at the first that was interrupted, and what ``Run.migrate`` raises.
    """
    for hook in HOOKS:
        require_plain_function(getattr(team, hook), hook)
    outcome.plan([migration.name for migration in (*plan.ready, *plan.blocked)])
    with signals.let_through():
        dump = team.dump_before_run() if plan.ready else {}
    if any(migration.in_transaction for migration in plan.ready):
        workspace.prepare_transactions()
    context, logger = workspace.context(direction, plan.status, team, dump), team.logger
    run, started, several = Run(direction, context), time.monotonic(), len(plan.ready) > 1
    with run.announced(plan.ready):
        for place, migration in enumerate(plan.ready, start=1):
            position = f" ({place} of {len(plan.ready)})" if several else ""
            logger.white_bold(f"{direction.doing} migration {migration.name}...{position}")
            with outcome.record(migration.name, direction.done.lower(), run.finished, context.lock.now) as row:
                try:
                    seconds = run.migrate(migration, plan.left_after(place))
                finally:
                    row["seconds"] = run.seconds
                row["walks"] = run.walks
            logger.white(direction.report(migration.name, seconds))
    if several:
        logger.green(direction.report(f"{len(plan.ready)} migrations", time.monotonic() - started))
    plan.stop_at_interrupted()

"""Reading the code of a migration file without running it."""

from __future__ import annotations

import ast
import warnings


def parse(content: bytes) -> ast.Module:
    """The syntax tree of a file. Raises what ``ast.parse`` raises, but shows no warning: an import shows each once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(content)

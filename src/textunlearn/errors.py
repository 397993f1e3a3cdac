"""The one exception users meet. The command line prints it as one sentence and exits with code 2."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: what is wrong, where, and what to do, in one sentence."""

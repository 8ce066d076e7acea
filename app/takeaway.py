"""What a visitor may take along: the address, files and code of what is on screen, as the sidebar's foot shows them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cflows_app.code import command, name_of, script
from cflows_app.export import ENDINGS, what_lacks
from cflows_app.session import Session
from cflows_app.share import LONGEST, query
from cflows_core.config import RunConfig


def takeaway(session: Session, ticket: str) -> dict[str, Any]:
    """The state of the component `Takeaway`."""
    name = name_of(session.run_config)
    return {
        **_reproduced(session.shared, session.threads),
        "ticket": ticket,
        "lacks": what_lacks(session),
        "name": name,
        "kept": list(session.kept),
        "lecture": _lecture(session),
        "files": {form: name + ending for form, ending in ENDINGS.items()},
    }


def _lecture(session: Session) -> dict[str, Any]:
    """Whether this page gives or follows a lecture; the giver's keys."""
    given = session.broadcast
    if given is None:
        return {"follows": session.follows is not None}
    return {"follows": False, "key": given.key, "secret": given.secret, "followers": given.followers}


@lru_cache(maxsize=64)
def _reproduced(config: RunConfig, threads: int) -> dict[str, str]:
    address = query(config)
    many = f"the {len(config.changes):,} changes of this run need more"
    too_long = "" if address else f"An address has at most {LONGEST:,} characters, and {many}: take its code instead."
    exact = config.replace(threads=threads) if threads else config  # its last bits depend on them
    return {"query": address, "too_long": too_long, "python": script(exact), "command": command(exact)}

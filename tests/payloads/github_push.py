"""A push as GitHub tells its webhooks. What the model leaves out is kept, and written back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from annotated_types import Predicate, Timezone

from haiway_bus import Epoch, State

ZERO = "0" * 40


def is_sha(text: str) -> bool:
    return len(text) == 40 and set(text) <= set("0123456789abcdef")


Sha = Annotated[str, Predicate(is_sha)]
Moment = Annotated[datetime, Timezone(...)]


class Part(State, unknown="keep", omit_defaults=True):
    """What all parts of the payload have in common."""


class Author(Part):
    name: str
    email: str | None
    username: str | None = None  # nobody with an account wrote the commit


class User(Part):
    login: str
    id: int
    site_admin: bool


class Commit(Part):
    id: Sha
    tree_id: Sha
    distinct: bool
    message: str
    timestamp: Moment
    url: str
    author: Author
    committer: Author
    added: Sequence[str]
    removed: Sequence[str]
    modified: Sequence[str]


class Repository(Part):
    id: int
    full_name: str
    private: bool
    description: str | None
    homepage: str | None
    language: str | None
    created_at: Annotated[datetime, Epoch("s")]  # in a push, and ISO 8601 elsewhere
    updated_at: Moment
    pushed_at: Annotated[datetime, Epoch("s")]
    default_branch: str


class Push(Part):
    ref: str
    before: Sha
    after: Sha
    base_ref: str | None
    created: bool
    deleted: bool
    forced: bool
    compare: str
    commits: Sequence[Commit]
    head_commit: Commit | None
    repository: Repository
    pusher: Author
    sender: User

    def __validate__(self) -> None:
        if self.deleted != (self.after == ZERO):
            raise ValueError(
                "a push that deletes a branch has no commit after it, and no other has none"
            )
        if self.deleted != (self.head_commit is None):
            raise ValueError("a push has a head_commit unless it deletes a branch")

    @property
    def branch(self) -> str | None:
        return self.ref.removeprefix("refs/heads/") if self.ref.startswith("refs/heads/") else None

"""A GitHub-like webhook: parts that keep what they do not know, two kinds of times. Guarantees 7.7, 7.9, 7.10."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.payloads.checks import REMOVE, Wrong, changed, check, refused

ZERO = "0" * 40
ZOE: dict[str, Any] = {"name": "Zoë Żak", "email": "zoe@example.org", "username": "zoe"}
COMMIT: dict[str, Any] = {
    "id": "a" * 40,
    "tree_id": "0123456789" * 4,
    "distinct": True,
    "message": "Count the retries\n\nA lost one was counted twice 🐛",
    "timestamp": "2026-11-28T10:30:15+01:00",
    "url": "https://github.com/example/shop/commit/aaaa",
    "author": ZOE,
    "committer": {"name": "GitHub", "email": None},
    "added": ["docs/retries.md"],
    "removed": [],
    "modified": ["shop/retries.py", "README.md"],
}
PUSH: dict[str, Any] = {
    "ref": "refs/heads/fix/retries",
    "before": "b" * 40,
    "after": "a" * 40,
    "base_ref": None,
    "created": False,
    "deleted": False,
    "forced": True,
    "compare": "https://github.com/example/shop/compare/bbbb...aaaa",
    "commits": [COMMIT, COMMIT | {"id": "c" * 40, "distinct": False}],
    "head_commit": COMMIT,
    "repository": {
        "id": 186_853_002,
        "node_id": "MDEwOlJlcG9zaXRvcnkxODY4NTMwMDI=",
        "full_name": "example/shop",
        "private": False,
        "owner": {"login": "example", "id": 21_031_067, "site_admin": False},
        "description": None,
        "homepage": None,
        "language": "Python",
        "created_at": 1_557_933_565,
        "updated_at": "2026-11-27T21:03:04Z",
        "pushed_at": 1_795_858_216,
        "stargazers_count": 3,
        "topics": ["shop", "events"],
        "license": None,
        "default_branch": "main",
    },
    "pusher": {"name": "zoe", "email": "zoe@example.org"},
    "sender": {"login": "zoe", "id": 7, "site_admin": False, "type": "User"},
    "organization": {"login": "example", "id": 21_031_067},
    "installation": None,
}
DELETED: dict[str, Any] = PUSH | {
    "after": ZERO,
    "deleted": True,
    "commits": [],
    "head_commit": None,
}


@pytest.fixture
def push(model: Any) -> Any:
    return model("github_push").Push


@pytest.mark.parametrize("payload", [PUSH, DELETED, PUSH | {"before": ZERO, "created": True}])
def test_a_payload_is_read_and_written_with_all_that_it_had(push: Any, payload: Any) -> None:
    check(push, payload)


def test_the_values_are_typed_and_the_rest_can_be_read(push: Any) -> None:
    event = push.from_mapping(PUSH)
    assert event.branch == "fix/retries"
    assert event.updated(ref="refs/tags/v1").branch is None
    commit, repository = event.commits[0], event.repository
    assert commit == event.head_commit
    assert commit.timestamp == datetime(2026, 11, 28, 9, 30, 15, tzinfo=UTC)
    assert commit.timestamp.utcoffset() == timedelta(hours=1)
    assert commit.committer.username is None
    assert repository.created_at == datetime.fromtimestamp(1_557_933_565, UTC)
    assert repository.updated_at == datetime(2026, 11, 27, 21, 3, 4, tzinfo=UTC)
    assert repository.__unknown__["topics"] == ("shop", "events")
    assert repository.__unknown__["license"] is None
    assert event.__unknown__["organization"]["login"] == "example"
    assert set(event.__unknown__) == {"organization", "installation"}


def test_what_a_part_does_not_know_survives_a_change(push: Any) -> None:
    event = push.from_mapping(PUSH)
    renamed = event.updated(repository=event.repository.updated(full_name="example/store"))
    expected = changed(event.to_mapping(), ("repository", "full_name"), "example/store")
    assert renamed.to_mapping() == expected
    assert renamed.to_mapping()["repository"]["topics"] == ["shop", "events"]


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong(("ref",), None, "Push.ref: expected str"),
        Wrong(("head_commit",), REMOVE, "Push.head_commit: missing"),
        Wrong(("commits", 1, "id"), "abc", "Push.commits[1].id: ", in_schema=False),
        Wrong(("commits", 1, "author"), {}, "Push.commits[1].author"),
        Wrong(("commits", 0, "added", 0), None, "Push.commits[0].added[0]: expected str"),
        Wrong(("commits", 0, "timestamp"), 1_795_858_216, "Push.commits[0].timestamp: "),
        Wrong(("commits", 0, "timestamp"), "2026-02-30T10:00:00Z", "Push.commits[0].timestamp: "),
        Wrong(("repository", "created_at"), "2026-11-27T21:03:04Z", "Push.repository.created_at: "),
        Wrong(("repository", "pushed_at"), None, "Push.repository.pushed_at: "),
        Wrong(("repository", "description"), REMOVE, "Push.repository.description: missing"),
        Wrong(("sender", "id"), "7", "Push.sender.id: expected int"),
        Wrong(("after",), ZERO, "Push: a push that deletes", in_schema=False),
        Wrong(("head_commit",), None, "Push: a push has a head_commit", in_schema=False),
    ],
    ids=lambda wrong: f"{'.'.join(map(str, wrong.keys))}={wrong.value!r:.20}",
)
def test_a_wrong_payload_is_refused(push: Any, wrong: Wrong) -> None:
    refused(push, PUSH, wrong)

"""Server-sent events: whole pieces, in one line each, and a position only with the last."""

from __future__ import annotations

import json

from tidegate.dashboard.board import Board
from tidegate.dashboard.stream import PIECE_BYTES, event, events, position_of


def told(board: Board, position: int | None) -> list[dict[str, str]]:
    texts = [piece.decode() for piece in events(board, board.since(position))]
    assert all(text.endswith("\n\n") and text.count("\n\n") == 1 for text in texts)
    return [dict(line.split(": ", 1) for line in text.strip().split("\n")) for text in texts]


def test_changes_are_an_event_with_a_position() -> None:
    board = Board("ab")
    board.put(("shop", "fraud"), b'{"name":"fraud"}')
    board.put(("shop", "churn"), b"{}")
    board.remove(("shop", "churn"))

    [changes] = told(board, 1)

    assert (changes["event"], changes["id"]) == ("changes", "ab-3")
    assert json.loads(changes["data"]) == {
        "reset": False,
        "gone": [["shop", "churn"]],
        "put": [],
        "whole": True,
        "full": False,
    }


def test_much_is_sent_in_pieces_and_only_the_last_has_the_position() -> None:
    board = Board("ab")
    for number in range(5):
        board.put(("shop", str(number)), b'"' + b"x" * (PIECE_BYTES // 2) + b'"')

    facts, *pieces = told(board, None)

    assert facts["event"] == "facts"
    assert [json.loads(piece["data"])["whole"] for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert [json.loads(piece["data"])["reset"] for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert ["id" in piece for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert sum(len(json.loads(piece["data"])["put"]) for piece in pieces) == 5


def test_a_page_is_told_when_there_is_more_than_is_shown() -> None:
    board = Board("ab", most=1)
    for name in ("fraud", "churn"):
        board.put(("shop", name), b"{}")

    assert json.loads(told(board, 0)[-1]["data"])["full"] is True


def test_a_position_counts_only_at_the_board_that_gave_it() -> None:
    board = Board("ab")

    assert position_of(board, "ab-12") == 12
    for other in ("cd-12", "12", "", "ab-", "ab-1x", "ab-" + "9" * 40):
        assert position_of(board, other) is None


def test_an_event_is_what_the_standard_says() -> None:
    assert event("beat", b"{}", "a-1") == b"id: a-1\nevent: beat\ndata: {}\n\n"

"""A page is told the newest form of what has changed for it, however long it was away and however much has happened."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from tidegate.dashboard.board import Board, Changes, Key

FRAUD, CHURN = ("shop", "fraud"), ("shop", "churn")


def board_of(**rows: bytes) -> Board:
    board = Board("a")
    for name, content in rows.items():
        board.put(("shop", name), content)
    return board


def test_a_page_that_is_new_is_told_all_there_is() -> None:
    board = board_of(fraud=b"1", churn=b"2")
    board.tell(b'{"troubles":[]}')

    assert board.since(None) == Changes(3, True, (b"1", b"2"), (), b'{"troubles":[]}')


def test_a_page_is_told_only_what_has_changed_since() -> None:
    board = board_of(fraud=b"1", churn=b"2")
    before = board.position
    board.put(CHURN, b"3")

    assert board.since(before) == Changes(3, False, (b"3",), (), None)
    assert board.since(board.position) == Changes(3, False, (), (), None)


def test_of_many_changes_only_the_newest_form_is_told() -> None:
    board = board_of(fraud=b"0")
    before = board.position
    for number in range(1000):
        board.put(FRAUD, b"%d" % number)
    board.tell(b'{"a":1}')
    board.tell(b'{"a":2}')

    changes = board.since(before)

    assert (changes.put, changes.facts) == ((b"999",), b'{"a":2}')


def test_what_is_gone_is_told_until_it_is_back() -> None:
    board = board_of(fraud=b"1", churn=b"2")
    before = board.position
    assert board.remove(FRAUD)
    assert board.since(before).gone == (FRAUD,)
    board.put(FRAUD, b"3")

    assert board.since(before) == Changes(4, False, (b"3",), (), None)


def test_nothing_new_is_no_news() -> None:
    board = board_of(fraud=b"1")

    assert not board.put(FRAUD, b"1")
    assert not board.remove(CHURN)
    assert board.tell(b'{"a":1}')
    assert not board.tell(b'{"a":1}')
    assert board.position == 2


def test_removals_that_are_remembered_no_more_make_a_page_begin_anew() -> None:
    board = Board("a", remembered=2)
    for number in range(4):
        board.put(("shop", str(number)), b"x")
    before = board.position
    for number in range(3):
        board.remove(("shop", str(number)))

    assert board.since(before).reset
    assert not board.since(before + 1).reset
    assert board.since(before + 1).gone == (("shop", "2"), ("shop", "1"))


def test_a_position_of_the_future_makes_a_page_begin_anew() -> None:
    assert board_of(fraud=b"1").since(99).reset


def test_beyond_the_bound_new_rollouts_are_left_out_and_known_ones_stay_current() -> None:
    board = Board("a", most=2)
    for name in ("a", "b", "c"):
        board.put(("shop", name), b"1")

    assert board.put(("shop", "a"), b"2")
    assert not board.put(("shop", "c"), b"2")
    assert (len(board), board.left_out) == (2, True)


Acts = some.lists(
    some.tuples(some.integers(0, 5), some.one_of(some.none(), some.binary(min_size=1, max_size=1))), max_size=40
)


@given(acts=Acts, looks=some.sets(some.integers(0, 40)), remembered=some.integers(1, 5))
def test_whoever_applies_what_is_told_has_what_is_there(
    acts: list[tuple[int, bytes | None]], looks: set[int], remembered: int
) -> None:
    """Whenever it looks, and however few removals are remembered."""
    board, there, page, at = Board("a", remembered=remembered), dict[Key, bytes](), dict[bytes, int](), None
    for number, (name, content) in enumerate(acts):
        key = ("n", str(name))
        told = None if content is None else b"%d=" % name + content
        if told is None:
            board.remove(key)
            there.pop(key, None)
        else:
            board.put(key, told)
            there[key] = told
        if number in looks or number == len(acts) - 1:
            changes = board.since(at)
            kept = (
                {}
                if changes.reset
                else {row: 1 for row in page if ("n", row.partition(b"=")[0].decode()) not in changes.gone}
            )
            heads = {row.partition(b"=")[0] for row in changes.put}
            page = {row: 1 for row in kept if row.partition(b"=")[0] not in heads} | dict.fromkeys(changes.put, 1)
            at = changes.position
            assert set(page) == set(there.values())

"""The only clock of a fake world: it stands still until a test moves it, and the wall may be set back by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """`now()` is what the wall shows, `monotonic()` the seconds since the start; only `set_back` parts the two."""

    def __init__(self, start: datetime = START) -> None:
        self._wall = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        assert seconds >= 0, "time goes forward; the wall alone may be set back"
        self._wall += timedelta(seconds=seconds)
        self._monotonic += seconds

    def set_back(self, seconds: float) -> None:
        """Somebody sets the wall clock (a negative number: forward)."""
        self._wall -= timedelta(seconds=seconds)


def stamp(moment: datetime) -> str:
    """As Kubernetes writes it, in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)

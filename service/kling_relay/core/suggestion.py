"""The name that a misspelt name probably stands for."""

from collections.abc import Iterable
from difflib import get_close_matches

_SIMILARITY = 0.75
"""Below it, a suggestion is as often nonsense as not."""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like `name`, or None if none is like it. Upper and lower case are the same."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    nearest = get_close_matches(name.lower(), by_lower, n=1, cutoff=_SIMILARITY)
    return by_lower[nearest[0]] if nearest else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for the end of a sentence, or a full stop if no known name is like `name`."""
    nearest = nearest_name(name, known)
    return f"; did you mean {nearest}?" if nearest else "."

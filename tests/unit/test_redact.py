"""Redaction is bounded: nobody who puts text into a log line can make it long or slow, or have a secret cut open."""

import importlib
import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.observe.redact import (
    MAX_ITEMS,
    MAX_TEXT,
    MAX_TRACEBACK,
    SUSPICIOUS,
    Redactor,
)
from tests.unit.test_logs import HIDING, OWN, PLANTED

MAX_STEPS = 2_000
"""Characters that an attempt to match may look at before it fails."""
BAIT = (
    "eyJ",
    "-eyJ",
    "://",
    "token",
    "bearer ",
    "basic\t",
    "=",
    " ",
    "a",
    "kr-",
    "whsec_",
    "/callbacks/",
    "\n",
    "'",
    "@",
)
REDACTOR = Redactor([OWN])


def longest_failure(nodes: Any, *, is_last: bool = True) -> int:
    """Return how many characters a part of a pattern may look at in vain.

    A repetition without a limit must be the last part: then it ends a match, and what it looked at is done with.
    """
    steps = 0
    for number, (operation, argument) in enumerate(nodes):
        last = is_last and number == len(nodes) - 1
        match str(operation):
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, inner = argument
                assert last or most < 1000, f"a repetition without a limit in the middle: {inner}"
                steps += longest_failure(inner, is_last=False) * (least if last else most)
            case "SUBPATTERN":
                steps += longest_failure(argument[-1], is_last=last)
            case "BRANCH":
                steps += sum(longest_failure(branch, is_last=last) for branch in argument[1])
            case "ASSERT" | "ASSERT_NOT":
                steps += longest_failure(argument[1], is_last=False)
            case _:
                steps += 1
    return steps


def test_the_time_of_a_search_is_proportional_to_the_text() -> None:
    parsed = importlib.import_module("re._parser").parse(SUSPICIOUS, re.VERBOSE)
    assert longest_failure(parsed) <= MAX_STEPS


def test_a_pattern_that_looks_at_characters_again_and_again_would_be_noticed() -> None:
    parsed = importlib.import_module("re._parser").parse(r"\beyJ[a-z-]+\.[a-z]+")
    with pytest.raises(AssertionError, match="without a limit"):
        longest_failure(parsed)


@given(st.lists(st.sampled_from(BAIT), min_size=1, max_size=40).map("".join), st.integers(1, 100_000))
def test_a_text_is_cut_before_it_is_searched(bait: str, length: int) -> None:
    text = (bait * (length // len(bait) + 1))[:length]
    redacted = REDACTOR.text(text)
    assert redacted.count("characters in all") == (length > MAX_TEXT)
    longest = MAX_TEXT * len("://[redacted]@") // len("://x@")  # of the shortest secret with what is around it
    assert len(redacted) <= longest + len("… (100000 characters in all)")


def around_the_cut(limit: int) -> Iterator[int]:
    return iter((*range(limit - 1200, limit + 60, 7), limit - 1, limit, limit + 1))


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.long
def test_a_secret_at_the_cut_is_hidden_as_a_whole(name: str) -> None:
    secret = PLANTED[name]
    planted = HIDING.get(name, "it says {} there").format(secret)
    tail = secret.rsplit(":", 1)[-1].split()[-1][-6:] if name != "our own" else "looks like nothing"
    for limit, redact in ((MAX_TEXT, REDACTOR.text), (MAX_TRACEBACK, traceback_of)):
        for offset in around_the_cut(limit):
            redacted = redact("." * offset + " " + planted + " and so on" * 300)
            assert tail not in redacted
            assert secret[:12] not in redacted or name in {"a client key", "a bearer", "a JWT"}, (
                "the part before the cut"
            )


def traceback_of(text: str) -> str:
    return str(REDACTOR(None, "error", {"exception": text})["exception"])


def test_secrets_before_the_cut_do_not_pull_halves_of_others_in() -> None:
    text = (OWN + " ") * 200 + "postgresql://relay:correct-horse@db/ " * 200
    redacted = REDACTOR.text(text)
    assert OWN[:10] not in redacted
    assert "correct" not in redacted


def test_a_field_has_few_items_however_they_are_nested() -> None:
    nested: Any = ["x" * 20] * 1000
    for _ in range(4):
        nested = [nested] * 1000
    line = REDACTOR(None, "info", {"nested": nested, "flat": {f"name {n}": n for n in range(1000)}})
    assert len(orjson.dumps(line["nested"])) < MAX_ITEMS * 40
    assert len(line["flat"]) == MAX_ITEMS


def test_the_end_of_a_traceback_of_usual_length_is_kept() -> None:
    text = "  File x, line 1, in y\n" * 500 + "ValueError: the reason"
    assert traceback_of(text) == text

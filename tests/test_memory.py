"""A budgeted memory forgets what was used longest ago, and never the latest."""

from __future__ import annotations

from engine.memory import BudgetedMemory


def test_what_fits_is_made_once():
    made: list[str] = []
    memory = BudgetedMemory(lambda key: made.append(key) or key, len, 10)
    assert [memory.get(key) for key in ("aa", "bbb", "aa", "bbb")] == ["aa", "bbb", "aa", "bbb"]
    assert made == ["aa", "bbb"]
    assert memory.used == 5


def test_the_longest_unused_goes_first():
    memory = BudgetedMemory(str, len, 6)
    for key in ("aa", "bb", "cc"):
        memory.get(key)
    memory.get("aa")
    memory.get("dd")
    assert [key in memory for key in ("aa", "bb", "cc", "dd")] == [True, False, True, True]
    assert memory.used == 6


def test_the_latest_is_kept_even_if_it_alone_is_too_much():
    memory = BudgetedMemory(str, len, 3)
    memory.get("a")
    assert memory.get("large thing") == "large thing"
    assert "large thing" in memory
    assert "a" not in memory

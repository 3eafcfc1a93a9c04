"""A memory with a budget: keeps what was used last, as many bytes as it may."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


class BudgetedMemory(Generic[Kept]):
    """Things by key, made when they are asked for and not there; the longest unused ones go when there is no more room.

    Args:
        make: makes the thing of a key.
        size_of: its bytes.
        budget: bytes that all may take together; the latest thing is kept even if it alone takes more.
    """

    def __init__(self, make: Callable[[str], Kept], size_of: Callable[[Kept], int], budget: int) -> None:
        self.make, self.size_of, self.budget = make, size_of, budget
        self.used = 0
        self._kept: OrderedDict[str, tuple[Kept, int]] = OrderedDict()

    def get(self, key: str) -> Kept:
        """The thing of a key."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]
        thing = self.make(key)
        size = self.size_of(thing)
        self._kept[key] = thing, size
        self.used += size
        while self.used > self.budget and len(self._kept) > 1:
            _, (_, freed) = self._kept.popitem(last=False)
            self.used -= freed
        return thing

    def __contains__(self, key: str) -> bool:
        return key in self._kept

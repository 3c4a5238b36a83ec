"""A slot for the newest value, between a callback that fills it and a worker that empties it."""

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Holds at most one value; a newer one replaces it. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: T | None = None

    def put(self, value: T) -> bool:
        """Fill the slot; True when a value that nobody took was replaced."""
        with self._lock:
            replaced = self._value is not None
            self._value = value
            return replaced

    def take(self) -> T | None:
        """Empty the slot."""
        with self._lock:
            value, self._value = self._value, None
            return value

    def put_back(self, value: T) -> None:
        """Return a value that cannot be used yet, unless a newer one has come."""
        with self._lock:
            if self._value is None:
                self._value = value

    def __bool__(self) -> bool:
        """Whether there is a value."""
        return self._value is not None

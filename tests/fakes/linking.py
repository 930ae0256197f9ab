"""What linking counts and asks for beside its rows, in memory."""

from __future__ import annotations


class MemoryRecentSubjects:
    """Who met what, and when."""

    def __init__(self) -> None:
        self._met: dict[str, dict[str, int]] = {}

    def met(self, event: str, *, subject: str, now: int, within: int) -> int:
        seen = self._met.get(event, {})
        recent = {who: at for who, at in seen.items() if at > now - within} | {subject: now}
        self._met[event] = recent
        return len(recent)


class MemorySecretPresence:
    """A secret that is set unless a test says otherwise."""

    def __init__(self) -> None:
        self.there = True

    def is_set(self) -> bool:
        return self.there

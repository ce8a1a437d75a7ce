"""What a system's budgets allow at this moment, kept between its answers.

An answer tells what was left when the system made it; answers overtake each other, so the least told in a window counts. Requests
under way may or may not be counted in it, so they are taken off: what is known is a lower bound, exact when nothing is under way.
Times in seconds of a monotonic clock.
"""

from __future__ import annotations

import msgspec

from accord.engine.fair import Lane
from accord.sdk.budget import Budget

LIVE_RESERVE = 0.1  # of a limit: backfill leaves so much of every budget to live messages
SAME_WINDOW_S = 1.0  # ends of a window told in whole seconds differ by so much
UNKNOWN_RESET_S = (
    300.0  # between tries of a used-up budget of which nobody knows when it fills (24 hours on a sliding window)
)
AWAIT_ANSWER_S = 0.05  # the window is over and answers are on their way that will tell of the new one
ASK_FROM = 4  # times the concurrency: with more requests than that left, nobody needs to ask before a request


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """``left`` of ``limit`` as far as known; ``resets_in_s``: None when it fills all the time, or nobody knows."""

    name: str
    left: float
    limit: float | None
    resets_in_s: float | None


class _Account:
    def __init__(self) -> None:
        self.left = self.least = self.most = self.seen_at_s = self.refill_per_s = 0.0
        self.cost = 1.0
        self.limit: float | None = None
        self.resets_at_s: float | None = None
        self.window_ends_s: float | None = None  # as its first answer told: a sliding window's end moves on

    def told(self, budget: Budget, others: int, now_s: float) -> None:
        """``others``: requests under way besides the one whose answer tells."""
        if others and budget.resets_in_s is not None and budget.resets_in_s < SAME_WINDOW_S:
            if self.resets_at_s is None or self.resets_at_s <= now_s + SAME_WINDOW_S:
                self.left = min(self.left, budget.left)
            return  # it is of a window that ends, or has ended: what comes next tells of the new one
        resets_at_s = None if budget.resets_in_s is None else now_s + budget.resets_in_s
        if self.is_same_window(resets_at_s):
            self.least = min(self.least, budget.left)
        else:
            self.least = budget.left
            self.window_ends_s = resets_at_s
        self.left = self.least - others * budget.cost
        self.limit = budget.limit if budget.limit is not None else self.limit
        self.most = max(self.most, budget.left)
        self.resets_at_s = resets_at_s
        self.refill_per_s = budget.refill_per_s
        self.cost = budget.cost
        self.seen_at_s = now_s

    def is_same_window(self, resets_at_s: float | None) -> bool:
        known = self.window_ends_s if self.resets_at_s is not None else None
        return known is not None and resets_at_s is not None and resets_at_s <= known + SAME_WINDOW_S

    def level(self, now_s: float) -> float:
        if self.refill_per_s:
            gained = self.left + (now_s - self.seen_at_s) * self.refill_per_s
            return gained if self.limit is None else min(self.limit, gained)
        if self.resets_at_s is not None and now_s >= self.resets_at_s:
            self.left = self.limit if self.limit is not None else max(self.most, self.cost)
            self.resets_at_s = None  # of the new window only its first answer tells the end
            self.seen_at_s = now_s
        return self.left

    def wait_s(self, needed: float, in_flight: int, now_s: float) -> float:
        level = self.level(now_s)
        if self.limit is not None:
            needed = min(needed, self.limit)
        if level >= needed:
            return 0.0
        if self.refill_per_s:
            return (needed - level) / self.refill_per_s
        if self.resets_at_s is not None:
            return self.resets_at_s - now_s
        if in_flight:
            return AWAIT_ANSWER_S
        return max(0.0, self.seen_at_s + UNKNOWN_RESET_S - now_s)


class Ledger:
    """All budgets of one system."""

    def __init__(self) -> None:
        self.share = 1.0  # of what is left: other processes take the rest
        self._accounts: dict[str, _Account] = {}

    def told(self, budget: Budget, in_flight: int, now_s: float) -> None:
        """``in_flight``: with the request whose answer tells."""
        account = self._accounts.get(budget.name)
        if account is None:
            account = self._accounts[budget.name] = _Account()
        account.told(budget, max(0, in_flight - 1), now_s)

    def is_tight(self, concurrent: int) -> bool:
        """Requests have to be asked about and counted one by one."""
        return any(
            a.left * self.share < (concurrent * ASK_FROM) * a.cost + self._reserve(a) for a in self._accounts.values()
        )

    def wait_s(self, lane: Lane, in_flight: int, now_s: float) -> float:
        """Seconds until one more request fits; 0 when it does."""
        if not self._accounts:
            return 0.0
        return max(
            account.wait_s(
                (account.cost + (self._reserve(account) if lane.is_backfill else 0.0)) / self.share, in_flight, now_s
            )
            for account in self._accounts.values()
        )

    def take(self) -> None:
        for account in self._accounts.values():
            account.left -= account.cost

    def requests_left(self, now_s: float) -> float:
        """How many requests fit now; infinite when no system told a budget."""
        levels = [account.level(now_s) * self.share / account.cost for account in self._accounts.values()]
        return max(0.0, min(levels)) if levels else float("inf")

    def view(self, now_s: float) -> list[BudgetView]:
        views = []
        for name, account in self._accounts.items():
            level = max(0.0, account.level(now_s))
            resets_in_s = None if account.resets_at_s is None else round(account.resets_at_s - now_s, 1)
            views.append(BudgetView(name=name, left=round(level, 1), limit=account.limit, resets_in_s=resets_in_s))
        return views

    def _reserve(self, account: _Account) -> float:
        return float(int((account.limit or 0.0) * LIVE_RESERVE))

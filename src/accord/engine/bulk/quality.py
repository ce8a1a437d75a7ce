"""Profiles of a bulk flow's runs in the journal, and whether the newest differs from the last ones more than its contract bears."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from accord.engine.bulk.profile import FieldProfile, Profile
from accord.journal.group import Journal
from accord.record.watch import Quality

PROFILES_KEPT = 10  # ended runs of a flow whose profiles are kept
COMPARED = 7  # with the last of them of the same kind (whole, or changes only): a week of nights
FINDINGS_MAX = 100  # of one run


def profile_cursor(flow: str) -> str:
    """Of the run under way; it moves with the run's checkpoints."""
    return f"bulk:{flow}:profile"


def profiles_cursor(flow: str) -> str:
    return f"bulk:{flow}:profiles"


async def read_profile(journal: Journal, flow: str, run: str) -> Profile | None:
    """What was counted of the open run ``run``; None when nothing was."""
    raw = await journal.reads.cursor(profile_cursor(flow))
    found = msgspec.json.decode(raw, type=Profile | None) if raw else None
    return found if found is not None and found.run == run else None


async def read_profiles(journal: Journal, flow: str) -> list[Profile]:
    """Of ended runs, the newest first."""
    raw = await journal.reads.cursor(profiles_cursor(flow))
    return msgspec.json.decode(raw, type=list[Profile]) if raw else []


def findings(quality: Quality | None, new: Profile, earlier: Sequence[Profile]) -> list[str]:
    """What is suddenly different, in sentences. Without an earlier run of its kind there is nothing to compare with."""
    alike = [one for one in earlier if one.is_whole == new.is_whole and one.run != new.run][:COMPARED]
    if quality is None or not alike:
        return []
    found = _volume(quality, new, alike)
    for name, field in new.fields.items():
        before = [(one.rows, one.fields[name]) for one in alike if one.rows and name in one.fields]
        if new.rows and before:
            found += _nulls(quality, name, new.rows, field, before)
            found += _values(quality, name, field, [one for _, one in before])
    return found[:FINDINGS_MAX]


def _volume(quality: Quality, new: Profile, alike: Sequence[Profile]) -> list[str]:
    usual = statistics.median(one.read for one in alike)
    if quality.volume is None or abs(new.read - usual) <= quality.volume * usual:
        return []
    return [f"{new.read} rows were read, usual are {usual:g} (volume: {quality.volume:.0%})"]


def _nulls(
    quality: Quality, name: str, rows: int, field: FieldProfile, before: Sequence[tuple[int, FieldProfile]]
) -> list[str]:
    share = field.nulls / rows
    usual = statistics.median(one.nulls / count for count, one in before)
    if quality.nulls is None or abs(share - usual) <= quality.nulls:
        return []
    return [f"{name}: {share:.1%} are null, usual are {usual:.1%} (nulls: {quality.nulls * 100:g} points)"]


def _values(quality: Quality, name: str, field: FieldProfile, before: Sequence[FieldProfile]) -> list[str]:
    is_list = field.is_complete and all(one.is_complete for one in before)
    if not quality.new_values or field.is_personal or not is_list:
        return []
    known = {value for one in before for value in one.values}
    new = sorted(field.values.keys() - known)
    if not known or not new:
        return []
    more = f" and {len(new) - 5} more" if len(new) > 5 else ""
    return [f"{name}: new values {', '.join(map(repr, new[:5]))}{more} (new_values)"]

"""Budgets as servers tell them, in every form there is."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.sdk.budget import Budget
from accord.sdk.rate_headers import BudgetHeaders, BudgetReader, BudgetSource

NOW = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
IN_9_S = str(int(NOW.timestamp()) + 9)


def read(headers: dict[str, str], *sources: BudgetSource) -> list[tuple[float, float | None, float | None]]:
    reader = BudgetReader(sources) if sources else BudgetReader()
    budgets = reader.read(headers, NOW)
    assert not budgets or reader.is_told(headers)
    return [(budget.left, budget.limit, budget.resets_in_s) for budget in budgets]


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "7", "ratelimit-reset": "12"}, (7, 100, 12)),
        ({"ratelimit": "limit=100, remaining=5, reset=50"}, (5, 100, 50)),
        ({"ratelimit": '"default";r=50;t=30', "ratelimit-policy": '"default";q=100;w=60'}, (50, 100, 30)),
        ({"ratelimit": '"p" ; r=0 ; t=3', "ratelimit-policy": '"p";w=60;q=10;pk=:YTtiPTI7Yw==:'}, (0, 10, 3)),
        ({"ratelimit": '"p";r=4', "ratelimit-policy": '"p";q=10;w=60'}, (4, 10, 60)),
        ({"x-ratelimit-limit": "60", "x-ratelimit-remaining": "0", "x-ratelimit-reset": IN_9_S}, (0, 60, 9)),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": IN_9_S + "000"}, (3, None, 9)),
        ({"x-rate-limit-remaining": "3", "x-rate-limit-reset": "5"}, (3, None, 5)),
        ({"x-ratelimit-remaining": "3"}, (3, None, None)),
    ],
)
def test_by_default(headers: dict[str, str], told: tuple[float, float | None, float | None]) -> None:
    assert read(headers) == [told]


def test_several_policies_are_several_budgets() -> None:
    headers = {
        "ratelimit": '"burst";r=5;t=1, "daily";r=900;t=3600, "size";r=10;t=60',
        "ratelimit-policy": '"burst";q=10;w=1,"daily";q=1000;w=86400,"size";q=999;qu="content-bytes";w=60',
    }
    assert read(headers) == [(5, 10, 1), (900, 1000, 3600)], "bytes are no requests"


def test_headers_of_an_api_of_its_own() -> None:
    window = BudgetHeaders(remaining="X-Quota-Left", limit="X-Quota", per=dt.timedelta(seconds=10))
    assert read({"x-quota-left": "4", "x-quota": "100"}, window) == [(4, 100, 10)]
    leaky = BudgetHeaders(usage="X-Calls", refill=2.0)
    assert BudgetReader((leaky,)).read({"x-calls": "39/40"}, NOW) == [
        Budget(name="x-calls", left=1, limit=40, refill_per_s=2.0)
    ]
    assert read({"x-ratelimit-remaining": "0"}, window) == [], "only what is named counts"


def test_salesforce_tells_used_and_allowed() -> None:
    assert read({"sforce-limit-info": "api-usage=10018/100000"}, "salesforce") == [(89982, 100000, None)]
    told = "api-usage=25/5000; per-app-api-usage=17/250(appName=sample)"
    assert read({"sforce-limit-info": told}, "salesforce") == [(233, 250, None)], "the smaller one binds"


@pytest.mark.parametrize("value", ["", "-1", "many", "1.5", "9" * 40, "٣"])
def test_what_is_no_number_tells_nothing(value: str) -> None:
    assert read({"x-ratelimit-remaining": value, "ratelimit": value, "ratelimit-remaining": value}) == []


@given(
    st.dictionaries(
        st.sampled_from(["ratelimit", "ratelimit-policy", "ratelimit-remaining", "x-ratelimit-reset"]), st.text()
    )
)
def test_no_header_breaks_it(headers: dict[str, str]) -> None:
    for left, limit, resets_in_s in read(headers):
        assert left >= 0
        assert limit is None or limit >= 0
        assert resets_in_s is None or 0 <= resets_in_s <= 86_400


def test_either_remaining_or_usage() -> None:
    with pytest.raises(ValueError, match="one of `remaining` and `usage`"):
        BudgetHeaders()
    with pytest.raises(ValueError, match="one of `remaining` and `usage`"):
        BudgetHeaders(remaining="a", usage="b")

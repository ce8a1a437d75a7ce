"""How an API spreads a list over pages: what to ask first and what to ask next.

A state is a JSON value, so a read can be stopped after any page and go on later. ``follow`` returns None at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias
from urllib.parse import urljoin, urlsplit

import msgspec

from accord.errors import ConnectorError
from accord.sdk.bodies import value_at
from accord.sdk.http import HttpResponse

PAGES_MAX = 1_000_000  # a read that has not ended by then goes round in circles

PageSize: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
State: TypeAlias = dict[str, Any]


class _Paging(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """``size`` records are asked for with the query parameter ``size_param``; empty: the API decides."""

    size: PageSize = 100
    size_param: str = ""


class NoPaging(_Paging, frozen=True, kw_only=True, tag="none"):
    """Everything comes in one answer."""


class PagePaging(_Paging, frozen=True, kw_only=True, tag="page"):
    """Pages are numbered. Ends with a page of fewer than ``size`` records, or at ``pages_at``, the number of pages in the body."""

    param: str = "page"
    first: int = 1
    pages_at: str = ""


class OffsetPaging(_Paging, frozen=True, kw_only=True, tag="offset"):
    """``param`` is how many records to skip."""

    param: str = "offset"


class CursorPaging(_Paging, frozen=True, kw_only=True, tag="cursor"):
    """The body holds, at ``at``, the cursor for the next page, sent as ``param``. ``more_at``: a boolean that says if there is one."""

    at: str
    param: str = "cursor"
    more_at: str = ""


class LinkPaging(_Paging, frozen=True, kw_only=True, tag="link"):
    """The header Link names the next page with rel="next" (RFC 8288)."""


class NextPaging(_Paging, frozen=True, kw_only=True, tag="next"):
    """The body holds, at ``at``, the whole address of the next page."""

    at: str


Paging: TypeAlias = NoPaging | PagePaging | OffsetPaging | CursorPaging | LinkPaging | NextPaging


def parameters(paging: Paging, state: State | None) -> dict[str, str]:
    """Query parameters for the page at ``state`` (None: the first). Without effect for a state that is a whole address."""
    if state is not None and "url" in state:
        return {}
    asked = {paging.size_param: str(paging.size)} if paging.size_param else {}
    match paging:
        case PagePaging():
            asked[paging.param] = str(state["page"] if state else paging.first)
        case OffsetPaging():
            asked[paging.param] = str(state["offset"] if state else 0)
        case CursorPaging() if state:
            asked[paging.param] = str(state["cursor"])
    return asked


def follow(
    paging: Paging, state: State | None, response: HttpResponse, body: Any, count: int, address: str
) -> State | None:
    """The state of the page after the one just read (``count`` records), or None at the end.

    ``address`` is the address just asked. Raises ConnectorError when the API names a page on another origin: following it
    would hand the credentials to a stranger.
    """
    match paging:
        case PagePaging():
            page = state["page"] if state else paging.first
            pages = value_at(body, paging.pages_at) if paging.pages_at else None
            is_last = page - paging.first + 1 >= pages if isinstance(pages, int) else count < paging.size
            return None if is_last or count == 0 else {"page": page + 1}
        case OffsetPaging():
            offset = state["offset"] if state else 0
            return None if count < paging.size else {"offset": offset + count}
        case CursorPaging():
            cursor = value_at(body, paging.at)
            has_more = value_at(body, paging.more_at) is True if paging.more_at else True
            return {"cursor": cursor} if cursor not in (None, "") and has_more else None
        case LinkPaging():
            return _address(next_link(response.headers), address)
        case NextPaging():
            found = value_at(body, paging.at)
            return _address(found if isinstance(found, str) else None, address)
    return None


def drifts(paging: Paging) -> bool:
    """Pages are counted, so records shift between them when others change while reading."""
    return isinstance(paging, PagePaging | OffsetPaging)


def next_link(headers: Mapping[str, str]) -> str | None:
    """The target of rel=next in a Link header."""
    for target, attributes in re.findall(
        r"<([^>]*)>((?:\s*;\s*[^,;=]+=(?:\"[^\"]*\"|[^,;]*))*)", headers.get("link", "")
    ):
        relations = re.findall(r"rel\s*=\s*\"?([^\";]*)", attributes, re.IGNORECASE)
        if any("next" in relation.lower().split() for relation in relations):
            return str(target)
    return None


def _address(found: str | None, asked: str) -> State | None:
    if not found:
        return None
    url = urljoin(asked, found)
    if urlsplit(url)[:2] != urlsplit(asked)[:2]:
        raise ConnectorError(
            f"the next page is at another address ({urlsplit(url).netloc})",
            mend="Set `address` to the address the API names, or choose another paging.",
            code="connector.foreign-page",
        )
    return {"url": url}

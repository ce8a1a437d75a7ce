"""Pages people look at: one frame and one style for all stand-ins, light and dark, wide and narrow."""

from __future__ import annotations

import html

STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1b1f24;--quiet:#4d5661;--line:#c9d0d8;--soft:#f4f2ee;--main:#7a3e00;
--on:#fff;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--page:#16140f;--ink:#ece8e1;--quiet:#b5ada1;--line:#45403a;--soft:#23201b;--main:#f0b862;
--on:#16140f;--bad:#ff9a93}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
header{background:var(--main);color:var(--on);padding:.9rem 1.2rem;font-size:1.15rem;font-weight:600}
main{max-width:64rem;margin:0 auto;padding:1rem 1.2rem 2.5rem}h1{font-size:1.5rem;margin:.6rem 0}h2{font-size:1.15rem;margin:1.4rem 0 .4rem}
a{color:var(--main)}.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}thead th{color:var(--quiet)}
td,th{padding:.4rem .6rem;border-bottom:1px solid var(--line);text-align:start;font-weight:normal}.num{text-align:end}
input,select,button{font:inherit;color:inherit;background:var(--page);border:1px solid var(--quiet);border-radius:6px;padding:.4rem .6rem}
td input{width:5.5rem}.fields{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,16rem),1fr));gap:.8rem}
label{display:flex;flex-direction:column;gap:.2rem;color:var(--quiet)}label input,label select{color:var(--ink)}
button{background:var(--main);border-color:var(--main);color:var(--on);padding:.7rem 1.6rem;margin-top:1.2rem;cursor:pointer}
:focus-visible{outline:3px solid var(--main);outline-offset:2px}.fault{color:var(--bad);font-weight:600}
"""


def page(title: str, body: str, name: str = "") -> str:
    """``body`` is HTML, ``title`` and ``name`` (the company's sign above the page) are text."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><header>{html.escape(name or title)}</header><main><h1>{html.escape(title)}</h1>{body}</main></body></html>"
    )


def table(caption: str, head: str, rows: str) -> str:
    """Scrolls by itself where the page is narrow; ``head`` and ``rows`` are HTML (cells, rows)."""
    label = html.escape(caption)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )

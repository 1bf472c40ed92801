"""A hook of mkdocs: "(2.5)" on a page and "contract 2.5" in a docstring become links to the clause."""

from __future__ import annotations

import re
from typing import Any

# What is to be left alone: code, and links that are there already. Odd pieces of a split by it.
KEPT = re.compile(r"(<pre.*?</pre>|<code.*?</code>|<a .*?</a>|<[^>]+>)", re.DOTALL)
CITED = re.compile(
    r"(?:(?<=\()|(?<=[Cc]ontract )|(?<=, )|(?<=,\n))[1-9]\.\d+(?=[,):.]|\s(?:to|and)\s)"
)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    if page.file.src_uri == "guarantees.md":
        return html
    target = "../" * page.url.count("/") + "guarantees/"
    pieces = KEPT.split(html)
    pieces[::2] = [
        CITED.sub(lambda found: f'<a href="{target}#c{found[0]}">{found[0]}</a>', piece)
        for piece in pieces[::2]
    ]
    return "".join(pieces)

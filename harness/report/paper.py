"""A study for a paper: the report's table in LaTeX, its forest figure at a column's width, captions, references."""

import re
from collections.abc import Iterable

import pandas as pd
from markdown_it import MarkdownIt

from harness import __version__
from harness.report.findings import Findings
from harness.report.format import NOTHING, PAGES, interval, number, p_value, paragraph, places_of, points


class Tex(str):
    """Text that is LaTeX already."""


ALIGNED = dict.fromkeys(("component", "variant", "verdict", "what follows the seed"), "l")
"""Columns of the table that are no numbers."""

SHORT = {"adjusted p": Tex("$p$"), "the paper": "Paper", "what follows the seed": "Follows the seed"}
"""Heads that are shorter in a column of a paper, whose caption says the rest."""

LONGEST = 13
"""Characters of a name that has one line in such a column."""


def table(findings: Findings) -> pd.DataFrame:
    """The report's table as text, a row a component, largest effect first; columns without any content are left out.

    Decimals are those that the interval supports. Of a study of sources of randomness: a row a source.
    """
    if findings.by_source:
        sources = [(row, row.sd_interval) for row in findings.rows]
        return pd.DataFrame(
            {
                "what follows the seed": row.variant + (" (every source)" if row.is_baseline else ""),
                "runs": row.finished,
                "error, %": number(row.error.mean, 1),
                "sd, points": number(row.error.sd, 1),
                f"{findings.confidence} interval": f"{number(ends[0], 1)} to {number(ends[1], 1)}" if ends else NOTHING,
            }
            for row, ends in sources
        )
    rows = [
        {
            "component": (effect.label if effect.labelled else effect.row.variant)
            + (f" ({effect.settings} settings) ‡" if effect.settings > 1 else ""),
            "variant": effect.row.variant,
            "effect": number(effect.mean, places_of(effect), sign=True),
            f"{findings.row_confidence} interval": NOTHING if effect.low is None else interval(effect),
            "adjusted p": p_value(effect.row.comparison.adjusted if effect.row.comparison else None),
            "verdict": effect.word or NOTHING,
            "the paper": points(effect.paper),
            "seeds": effect.seeds,
        }
        for effect in findings.components
    ]
    frame = pd.DataFrame(rows)
    return frame.loc[:, [name for name in frame if not (frame[name] == NOTHING).all()]]


# ---- LaTeX


SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\textasciigrave{}",
    "<": "$<$", ">": "$>$", "|": "$|$", "−": "$-$", "×": r"$\times$", "±": r"$\pm$", "→": r"$\rightarrow$",
    "≤": r"$\leq$", "≥": r"$\geq$", "‡": r"$\ddagger$", "\N{NO-BREAK SPACE}": "~",
    "[": "{[}", "]": "{]}", "*": "{*}",  # else the end of the row before would take them for its own
}  # fmt: skip


def tex(text: object) -> Tex:
    """Any text as LaTeX that shows it as it is."""
    if isinstance(text, Tex):
        return text
    line = re.sub(r'"([^"]*)"', r"“\1”", " ".join(str(text).split(" ")))
    line = "".join(SPECIAL.get(character, character) for character in line).replace("--", "-{}-")
    return Tex(re.sub(r"\+(?=\d)", "$+$", line))


def latex(markdown: str) -> Tex:
    """One of the report's sentences, which are Markdown, as LaTeX."""
    marks = {"strong_open": r"\textbf{", "strong_close": "}"}
    (block,) = MarkdownIt("commonmark", {"html": False}).parseInline(markdown)
    parts = [
        rf"\texttt{{{tex(token.content)}}}"
        if token.type == "code_inline"
        else marks.get(token.type, tex(token.content))
        for token in block.children or []
    ]
    return Tex("".join(parts))


TEX = PAGES.overlay(  # every value is escaped by `tex`
    lstrip_blocks=False, finalize=tex, block_start_string="<%", block_end_string="%>", variable_start_string="<<<",
    variable_end_string=">>>", comment_start_string="<#", comment_end_string="#>",
)  # fmt: skip


def caption(findings: Findings, figure: bool = False) -> str:
    """What is shown, n, intervals, test and adjustment, of the table or of the forest figure: Markdown on one line."""
    return paragraph("caption", findings=findings, figure=figure)


def table_tex(findings: Findings) -> str:
    """The table in LaTeX; it needs the package booktabs. What all rows share stands in the caption alone."""
    frame, shared = table(findings), len({effect.seeds for effect in findings.components}) == 1
    frame = frame.drop(columns=["variant", *["seeds"] * shared], errors="ignore")
    aligned = [ALIGNED.get(str(name), "r") for name in frame]
    rows = [[_cell(str(name), cell) for name, cell in zip(frame, row, strict=True)] for row in frame.values]
    if max(len(row[0]) for row in rows) > LONGEST:
        aligned[0] = r"p{0.24\columnwidth}"
        rows = [[Tex(rf"\raggedright {first}"), *rest] for first, *rest in rows]
    return TEX.get_template("table.tex.j2").render(
        label=Tex(findings.study.name),
        version=__version__,
        declaration=findings.study.declaration[:12],
        notes=[Tex(line) for line in findings.warnings],
        caption=latex(caption(findings)),
        columns=Tex("".join(aligned)),
        head=_row(SHORT.get(str(name), str(name)[:1].upper() + str(name)[1:]) for name in frame),
        rows=map(_row, rows),
    )


def _cell(column: str, cell: object) -> Tex:
    """A cell, shorter than on the page: an interval as `[-0.31, 0.77]`, of several settings the mark alone."""
    if column.endswith("interval"):
        return tex(re.sub(r"^(.+) to (.+)$", r"[\1, \2]", str(cell)).replace("+", ""))
    return tex(re.sub(r" \(\d+ settings\)(?= ‡$)", "", str(cell)))


def _row(cells: Iterable[object]) -> Tex:
    return Tex(" & ".join(map(tex, cells)))


def figure_tex(findings: Findings, picture: str) -> str:
    """The forest figure in LaTeX, with its caption; it needs the package graphicx. `picture`: its file's name."""
    return TEX.get_template("figure.tex.j2").render(
        label=Tex(findings.study.name), picture=Tex(picture), caption=latex(caption(findings, figure=True))
    )


def references(findings: Findings) -> str:
    """What to cite, as BibTeX: this project, the paper and, where its images are used, Fashion-MNIST."""
    fashion = "fashion-mnist" in findings.study.data.source
    return TEX.get_template("references.bib.j2").render(version=__version__, fashion=fashion)

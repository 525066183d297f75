"""The report: one HTML page that needs nothing else, with tables, pictures and how each number was measured."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from . import depth, tables
from .measure import CODES, COSTS, GENERATION
from .tables import Cell, Table

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5c6470; --page: #fbfbf9; --card: #ffffff; --line: #dfe1e4; --best: #00704f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e6; --soft: #a3aab4; --page: #15171a; --card: #1f2226; --line: #33373d; --best: #4fd1a5; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; }
p { max-width: 46rem; } .soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: .6rem; background: var(--card); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem; }
caption { text-align: left; padding: .6rem .8rem 0; }
th, td { padding: .45rem .8rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--card); } tbody tr:last-child > * { border-bottom: 0; }
thead th { vertical-align: bottom; font-weight: 600; } thead small { display: block; font-weight: 400; color: var(--soft); }
.best { color: var(--best); font-weight: 700; } .none { color: var(--soft); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .8rem; border: 1px solid var(--line); border-radius: .6rem; background: var(--card); }
figure img { display: block; width: 100%; height: auto; border-radius: .3rem; background: #fff; }
figure.full { margin-bottom: 1rem; } figure.full img { max-width: 52rem; margin: 0 auto; }
figcaption { margin-top: .5rem; } dt { font-weight: 600; margin-top: .6rem; } dd { margin: 0; max-width: 46rem; }
"""


def page(title: str, facts: str, found: Mapping[str, Table], figures: Mapping[str, Figure], code: int, second: str = "") -> str:
    """The page as text; `second` is the file of the page on pretraining, if there is one."""
    parts = [f"<h1>{html.escape(title)}</h1>", f'<p class="soft">{html.escape(facts)}</p>']
    if second:
        parts.append(f'<p><a href="{html.escape(second)}">Is layerwise pretraining worth its time?</a></p>')
    for which, cells in found.items():
        if cells:
            heading = tables.TITLES[which].format(code=code)
            parts += [f"<h2>{html.escape(heading)}</h2>", _table(cells, which), *_notes(cells, which)]
    wide = {name: figure for name, figure in figures.items() if name in _CAPTIONS}
    for name, figure in wide.items():
        parts += [f"<h2>{html.escape(name[0].upper() + name[1:])}</h2>", _figure(figure, _CAPTIONS[name], "full")]
    for heading, kinds in _GRIDS.items():
        chosen = {name: figure for name, figure in figures.items() if name.startswith(kinds)}
        if chosen:
            pictures = "".join(_figure(figure, name[0].upper() + name[1:]) for name, figure in chosen.items())
            parts += [f"<h2>{heading}</h2>", f'<div class="grid">{pictures}</div>']
    parts += ["<h2>How each number was measured</h2>", _methods()]
    return _whole(title, parts)


def pretraining(title: str, facts: str, records: Iterable[Mapping[str, Any]], figures: Mapping[str, Figure], first: str) -> str:
    """The page on depth and initialization; `first` is the file of the other one."""
    done = [record for record in records if record["table"] == "pretraining"]
    columns = ["squared error", *map(depth.label, depth.LABELS)]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        f"<tr><th>{html.escape(record['model'])}</th>" + "".join(_figure_of(record, name) for name in columns) + "</tr>"
        for record in done
    )
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="soft">{html.escape(facts)} · one seed</p>',
        f'<p><a href="{html.escape(first)}">All models compared</a></p>',
        f"<p>{html.escape(_verdict(done))}</p>",
        f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>',
    ]
    for name, figure in figures.items():
        parts += [f"<h2>{name[0].upper() + name[1:]}</h2>", _figure(figure, _PRETRAINING[name], "full")]
    return _whole(title, parts)


def _figure_of(record: Mapping[str, Any], name: str) -> str:
    value = record.get("values", {}).get(name)
    return f"<td>{tables.number(value)}</td>" if value is not None else '<td class="none">–</td>'


def _verdict(records: Sequence[Mapping[str, Any]]) -> str:
    """What the figures say, in words, of the deepest networks."""
    deepest = {
        start: record["values"]
        for record in records
        for start in depth.STARTS
        if "values" in record and record["model"] == depth.name(start, depth.DEPTHS[-1])
    }
    plain, modern = deepest.pop("random weights", None), deepest.pop("random weights, ELU", None)
    if plain is None or modern is None or not deepest:
        return ""
    said = []
    for name, larger in (("squared error", False), (depth.label(depth.LABELS[0]), True)):
        values = {start: found[name] for start, found in deepest.items() if name in found}
        if not values or name not in plain or name not in modern:
            continue
        best = sorted(values, key=values.__getitem__, reverse=larger)[0]
        ahead, remains = ((x[name] < values[best]) == larger for x in (plain, modern))
        said.append(
            f"{name}: the best pretraining, {best}, reaches {tables.number(values[best])} and {'beats' if ahead else 'does not beat'} "
            f"random weights of logistic units, {tables.number(plain[name])}; random weights with ELU, {tables.number(modern[name])}, "
            f"{'do not close the gap' if remains else 'do as well or better without any pretraining'}"
        )
    layers = depth.DEPTHS[-1]
    return f"With {layers} hidden layers and the same time for both, {'. And '.join(said)}. One seed: differences may be noise."


def _whole(title: str, parts: Sequence[str]) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


_GRIDS: dict[str, tuple[str, ...]] = {
    "Samples": ("samples of ",),
    "Filters of the first layer": ("filters of ",),
    "Maps of the codes": ("codes of ", "map of ", "plane of "),
    "One number of a code moved": ("traversals of ",),
    "Learning curves": ("learning curve of ",),
}
_PRETRAINING = {
    "reconstruction": "Squared error of validation images against the time, that of pretraining included.",
    "few labels": "Test images told by a classifier on the encoder, fine-tuned with few labels of each class.",
}
_CAPTIONS = {
    "code sizes": "The same test images through codes of 2, 10 and 20 numbers.",
    "interpolations": "From the code of one test image to that of another along a straight line.",
    "reconstructions": "The same ten test images, and what comes back of them through each model's code.",
    "denoising": "A quarter of the pixels made black or white, and what comes back. Only the denoising autoencoder was trained for this.",
    "inpainting": "The right half made white, and what comes back in one pass.",
    "errors elsewhere": "Squared errors of test images, and of the same images with their squares shuffled: the further apart, the better "
    "the error tells what the model has not seen.",
}


def _table(cells: Table, which: str) -> str:
    columns = tables.COLUMNS[which]
    head = "".join(f"<th>{html.escape(name)}<small>{html.escape(unit)}</small></th>" for name, unit, *_ in columns)
    lines = []
    for model, line in cells.items():
        row = "".join(_cell(line[name]) for name, *_ in columns)
        lines.append(f"<tr><th>{html.escape(model)}</th>{row}</tr>")
    caption = "Mean ± standard error over seeds. Colored and bold: better than the next by more than the noise."
    body = "".join(lines)
    head = f"<caption>{caption}</caption><thead><tr><th></th>{head}</tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def _cell(cell: Cell) -> str:
    kind = "best" if cell.best else "none" if cell.value is None else ""
    hint = f' title="{html.escape(cell.note)}"' if cell.note else ""
    return f'<td class="{kind}"{hint}>{html.escape(str(cell))}</td>'


def _notes(cells: Table, which: str) -> list[str]:
    """Why cells are empty, and how a likelihood came about."""
    said: dict[str, list[str]] = {}
    for model, line in cells.items():
        for note in dict.fromkeys(cell.note for cell in line.values() if cell.note):
            said.setdefault(note, []).append(model)
    items = "".join(f"<dt>{html.escape(', '.join(who))}</dt><dd>{html.escape(note)}</dd>" for note, who in said.items())
    return (
        [f'<details><summary class="soft">Dashes and likelihoods explained</summary><dl>{items}</dl></details>']
        if items
        else []
    )


def _figure(figure: Figure, caption: str, kind: str = "") -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    data = base64.b64encode(buffer.getvalue()).decode()
    text = html.escape(caption)
    return (
        f'<figure class="{kind}"><img alt="{text}" loading="lazy" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _methods() -> str:
    items: list[str] = []
    for name, unit, _, how in (*CODES, *GENERATION, *COSTS):
        items.append(f"<dt>{html.escape(name)}{f' ({html.escape(unit)})' if unit else ''}</dt><dd>{html.escape(how)}</dd>")
    return f"<dl>{''.join(items)}</dl>"


def facts(settings: Mapping[str, Any]) -> str:
    """A line about the comparison."""
    return " · ".join(f"{name} {value}" for name, value in settings.items())

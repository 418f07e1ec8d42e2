"""The page of a grid. It opens from the disk, needs nothing from elsewhere, and plays its cells by the arrow keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from soundlora.audio.spectrogram import HEIGHT, WIDTH
from soundlora.pipeline.grid_axes import Axis

_STYLE = """
:root { color-scheme: light dark; --ink: #231d20; --muted: #6b6266; --paper: #fff; --line: #ddd6d9; --accent: #b3305f }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f1ecee; --muted: #b0a6aa; --paper: #17131a; --line: #3b343d; --accent: #ff7ba6 }
}
* { box-sizing: border-box }
body { margin: 0; padding: 1.25rem; font: 16px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
h1 { font-size: 1.3rem; margin: 0 0 .25rem }
p, dl { margin: 0 0 1rem; color: var(--muted); max-width: 60rem }
kbd { font: inherit; border: 1px solid var(--line); border-radius: 4px; padding: 0 .3em }
.frame { overflow: auto; max-height: calc(100vh - 2rem); width: fit-content; max-width: 100%; border-radius: 10px;
  border: 1px solid var(--line); scroll-padding: 3rem .3rem .3rem 12rem }
table { border-collapse: separate; border-spacing: 0 }
th { font-size: .875rem; text-align: left; font-weight: 600; padding: .5rem .65rem; background: var(--paper);
  overflow-wrap: anywhere; position: sticky; z-index: 1 }
thead th { top: 0; vertical-align: bottom }
tbody th { left: 0; width: 11rem; min-width: 5.5rem; vertical-align: middle }
thead th:first-child { left: 0; z-index: 2; color: var(--muted); font-weight: 400 }
td { padding: .2rem }
button, .none { display: block; position: relative; width: 15rem; height: 6rem; padding: 0; overflow: hidden;
  border: 0; border-radius: 6px; background: #04040c; cursor: pointer }
button img { display: block; width: 100%; height: 100% }
button:focus-visible { outline: 3px solid var(--accent); outline-offset: 1px }
button.playing { box-shadow: 0 0 0 3px var(--accent) }
button i { position: absolute; inset-block: 0; left: var(--at, 0); width: 2px; background: #fff; display: none }
button.playing i { display: block }
.none { display: grid; place-items: center; background: none; border: 1px dashed var(--line); color: var(--muted);
  cursor: default }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin-top: 1rem; font-size: .875rem }
dd { margin: 0; overflow-wrap: anywhere }
@media (max-width: 30rem) {
  body { padding: .75rem }
  .frame { scroll-padding-left: 6rem }
  tbody th { width: 5.5rem; padding: .4rem; font-size: .8125rem }
  button, .none { width: 10rem; height: 4rem }
}
"""
_SCRIPT = """
const cells = [...document.querySelectorAll('button')], said = document.querySelector('[role=status]')
const player = new Audio()
let now = null
const stop = () => { player.pause(); now?.classList.remove('playing'); now = null }
const play = (cell) => {
  stop()
  now = cell
  cell.classList.add('playing')
  cell.style.setProperty('--at', '0%')
  said.textContent = ''
  player.src = cell.dataset.sound
  player.play().catch((error) => {
    if (error.name === 'AbortError') return
    if (now === cell) stop()
    said.textContent = cell.getAttribute('aria-label') + ' can’t be played: ' + cell.dataset.sound
  })
}
const reach = (cell) => {
  for (const each of cells) each.tabIndex = each === cell ? 0 : -1
  cell.focus()
  cell.scrollIntoView({ block: 'nearest', inline: 'nearest' })
}
player.ontimeupdate = () => now?.style.setProperty('--at', 100 * player.currentTime / (player.duration || 1) + '%')
player.onended = stop
const far = { Home: ['row', 0], End: ['row', 1], PageUp: ['column', 0], PageDown: ['column', 1] }
const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }
const place = (cell) => [Number(cell.dataset.row), Number(cell.dataset.column)]
const next = (cell, key) => {
  const [row, column] = place(cell)
  if (far[key]) {
    const [along, last] = far[key], line = cells.filter((each) => each.dataset[along] === cell.dataset[along])
    return last ? line.at(-1) : line[0]
  }
  const [down, right] = moves[key]
  const on = cells.filter((each) => {
    const [r, c] = place(each)
    return down ? c === column && (r - row) * down > 0 : r === row && (c - column) * right > 0
  })
  return down + right > 0 ? on[0] : on.at(-1)
}
for (const cell of cells) {
  cell.onclick = () => { reach(cell); now === cell ? stop() : play(cell) }
  cell.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    if (event.key === ' ') {
      event.preventDefault()
      now ? stop() : play(cell)
    } else if (event.key in moves || event.key in far) {
      event.preventDefault()
      const to = next(cell, event.key)
      if (to) { reach(to); play(to) }
    }
  }
  cell.onkeyup = (event) => { if (event.key === ' ') event.preventDefault() }
}
"""


def grid_page(
    rows: Axis | None, columns: Axis | None, entries: Sequence[Mapping[str, Any]], plan: Mapping[str, Any]
) -> str:
    """Return the page. entries: the cells, row by row, as `Grid.cells` has them. plan: what holds for all of them."""
    names = [axis.name for axis in (rows, columns) if axis is not None]
    title = f"{len(entries)} sounds by {' and '.join(names)}"
    width = len(columns.labels) if columns else 1
    heads = "".join(f'<th scope="col">{escape(label)}</th>' for label in (columns.labels if columns else ("",)))
    corner = " ".join(f"{axis.name} {arrow}" for axis, arrow in ((rows, "↓"), (columns, "→")) if axis is not None)
    lines = []
    first = next((number for number, each in enumerate(entries) if each["seconds"] is not None), None)
    for start in range(0, len(entries), width):
        cells = "".join(
            f'<td role="gridcell">{_cell(rows, columns, entries[number], reached=number == first)}</td>'
            for number in range(start, start + width)
        )
        lines.append(f'<tr><th scope="row">{escape(entries[start]["labels"][0])}</th>{cells}</tr>')
    shown = {name: plan[name] for name in _SHOWN if plan.get(name) not in (None, [], {})}
    facts = "".join(
        f"<dt>{escape(_NAMES.get(name, name.replace('_', ' ')))}</dt><dd>{escape(_words(value))}</dd>"
        for name, value in shown.items()
    )
    made = sum(each["seconds"] is not None for each in entries)
    left = "" if made == len(entries) else f" {made} of {len(entries)} are made so far."
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
<main>
<h1>{escape(title)}</h1>
<p>A click or <kbd>Enter</kbd> plays a sound, the arrow keys play its neighbours, <kbd>Space</kbd> stops.{left}</p>
<p role="status"></p>
<div class="frame"><table role="grid" aria-label="{escape(title)}">
<thead><tr><th scope="col">{escape(corner)}</th>{heads}</tr></thead>
<tbody>
{chr(10).join(lines)}
</tbody></table></div>
<dl>{facts}</dl>
</main>
<script>{_SCRIPT}</script>
</html>
"""


_NAMES = {"uses": "LoRAs"}
_SHOWN = ("prompt", "uses", "strength", "duration", "seed", "steps", "cfg", "stg", "negative_prompt")


def _cell(rows: Axis | None, columns: Axis | None, entry: Mapping[str, Any], *, reached: bool) -> str:
    if entry["seconds"] is None:
        return '<span class="none">not made yet</span>'
    places = [f"{axis.name} {label}" for axis, label in zip((rows, columns), entry["labels"], strict=True) if axis]
    label = f"{', '.join(places)}, {entry['seconds']:.2f} s"
    return (
        f'<button type="button" tabindex="{0 if reached else -1}" aria-label="{escape(label)}" '
        f'data-row="{entry["row"]}" data-column="{entry["column"]}" data-sound="{quote(entry["sound"])}">'
        f'<img src="{quote(entry["picture"])}" width="{WIDTH}" height="{HEIGHT}" loading="lazy" alt=""><i></i></button>'
    )


def _words(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)

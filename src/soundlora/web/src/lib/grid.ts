// What varies along the rows and the columns of a grid on the Try screen, and the sound of each cell.

import type { Chosen, Wish } from './trials.svelte'
import { words } from './words'

export type AxisName = 'prompt' | 'seed' | 'strength' | 'lora' | 'steps' | 'guidance'

export interface Axis {
  name: AxisName
  text: string
}

interface Value {
  label: string
  set: (wish: Wish) => Partial<Wish>
}

export interface Cell {
  row: number
  column: number
  wish: Wish
}

export interface Plan {
  rows: string[]
  columns: string[]
  cells: Cell[]
  /** Why it can't be made, or "". */
  wrong: string
}

export const MOST_CELLS = 64

export const AXES: AxisName[] = ['prompt', 'seed', 'strength', 'lora', 'steps', 'guidance']

const RANGES: Partial<Record<AxisName, [number, number]>> = {
  seed: [0, Number.MAX_SAFE_INTEGER],
  strength: [-4, 4],
  steps: [8, 30],
  guidance: [1, 20],
}
const WHOLE = ['seed', 'steps']

/** The values that stand on an axis at first. */
export function proposed(name: AxisName, wish: Wish): string {
  const seeds = [0, 1, 2].map((more) => wish.seed + more).join(', ')
  return { prompt: wish.prompt, seed: seeds, strength: '0, 0.5, 1', lora: '', steps: '8, 15, 30', guidance: '1, 4, 7' }[name]
}

/** Everything that a grid makes of a wish, row by row. */
export function planned(rows: Axis, columns: Axis, wish: Wish): Plan {
  const nothing = (wrong: string): Plan => ({ rows: [], columns: [], cells: [], wrong })
  if (rows.name === columns.name) return nothing(words.grid.different)
  const [down, right] = [valuesOf(rows, wish), valuesOf(columns, wish)]
  for (const found of [down, right]) if (typeof found === 'string') return nothing(found)
  const [first, second] = [down as Value[], right as Value[]]
  const names = [rows.name, columns.name]
  if (!names.includes('prompt') && !wish.prompt.trim()) return nothing(words.common.promptNeeded)
  if (names.some((name) => name === 'strength' || name === 'lora') && !wish.loras.length) return nothing(words.grid.loraFirst)
  const count = first.length * second.length
  if (count > MOST_CELLS) return nothing(words.grid.many(count, MOST_CELLS))
  const cells = first.flatMap((one, row) =>
    second.map((other, column) => {
      // The choice of a LoRA comes before its strength.
      const [early, late] = rows.name === 'strength' ? [other, one] : [one, other]
      const half = { ...wish, ...early.set(wish) }
      return { row, column, wish: { ...half, ...late.set(half) } }
    }),
  )
  return { rows: first.map((value) => value.label), columns: second.map((value) => value.label), cells, wrong: '' }
}

function valuesOf({ name, text }: Axis, wish: Wish): Value[] | string {
  if (name === 'lora') {
    const choices: Chosen[][] = [[], ...wish.loras.map((one) => [one])]
    return choices.map((loras) => ({ label: loras[0]?.name ?? words.common.baseAlone, set: () => ({ loras }) }))
  }
  if (name === 'prompt') {
    const prompts = [...new Set(text.split('\n').map((line) => line.trim()).filter(Boolean))]
    return prompts.length ? prompts.map((prompt) => ({ label: prompt, set: () => ({ prompt }) })) : words.common.promptNeeded
  }
  const numbers: number[] = []
  for (const part of text.split(/[\s,;]+/).filter(Boolean)) {
    const range = name === 'seed' ? /^(\d+)-(\d+)$/.exec(part) : null
    const [from, to] = range ? [Number(range[1]), Number(range[2])] : [Number(part), Number(part)]
    const [low, high] = RANGES[name]!
    if (!(low <= from && from <= to && to <= high) || (WHOLE.includes(name) && !Number.isInteger(from))) {
      return words.grid.notValue(part, words.grid.names[name])
    }
    for (let value = from; value <= to && numbers.length <= MOST_CELLS; value += 1) if (!numbers.includes(value)) numbers.push(value)
  }
  if (!numbers.length) return words.grid.needed(words.grid.names[name])
  return numbers.map((value) => ({ label: String(value), set: (to) => setNumber(name, value, to) }))
}

function setNumber(name: AxisName, value: number, wish: Wish): Partial<Wish> {
  if (name === 'strength') return { loras: wish.loras.map((one) => ({ ...one, strength: value })) }
  return { [name]: value }
}

/** The cell that an arrow key leads to, by its number; the same one at the edge. */
export function moved(at: number, key: string, width: number, count: number): number {
  const column = at % width
  if (key === 'ArrowLeft') return column ? at - 1 : at
  if (key === 'ArrowRight') return column < width - 1 ? at + 1 : at
  if (key === 'ArrowUp') return at >= width ? at - width : at
  if (key === 'ArrowDown') return at + width < count ? at + width : at
  if (key === 'Home') return at - column
  return key === 'End' ? at - column + width - 1 : at
}

import { expect, test } from 'vitest'
import { MOST_CELLS, moved, planned, proposed, type Axis } from './grid'
import type { Wish } from './trials.svelte'

const zap = { run: 'a', name: 'zap', path: '/files/a', strength: 1 }
const gong = { run: 'b', name: 'gong', path: '/files/b', strength: 0.5 }
const wish: Wish = {
  prompt: 'rain', seconds: 3, seed: 7, loras: [zap], guidance: null, steps: null, negative: '',
  given: { url: '', becomes: 'extend-prefix', spans: [], heard: null, added: null },
}
const seeds: Axis = { name: 'seed', text: '1-2' }

test('each cell is the wish with both of its values', () => {
  const plan = planned({ name: 'prompt', text: ' rain \n\nwind\nrain' }, { name: 'strength', text: '0 0,5; 1'.replace('0,5', '0.5') }, wish)
  expect(plan.wrong).toBe('')
  expect([plan.rows, plan.columns]).toEqual([['rain', 'wind'], ['0', '0.5', '1']])
  expect(plan.cells.map(({ row, column, wish: w }) => [row, column, w.prompt, w.loras[0]!.strength, w.seed])).toEqual([
    [0, 0, 'rain', 0, 7], [0, 1, 'rain', 0.5, 7], [0, 2, 'rain', 1, 7],
    [1, 0, 'wind', 0, 7], [1, 1, 'wind', 0.5, 7], [1, 2, 'wind', 1, 7],
  ])
  expect(zap.strength).toBe(1)
})

test('a strength is that of the LoRA of its cell, whichever stands in the rows', () => {
  const two = { ...wish, loras: [zap, gong] }
  const [strength, lora]: Axis[] = [{ name: 'strength', text: '2' }, { name: 'lora', text: '' }]
  const expected = [[], [['zap', 2]], [['gong', 2]]]
  for (const plan of [planned(strength!, lora!, two), planned(lora!, strength!, two)]) {
    expect(plan.cells.map(({ wish: w }) => w.loras.map((one) => [one.name, one.strength]))).toEqual(expected)
  }
})

test('numbers are numbers, and seeds may be a range', () => {
  expect(planned({ name: 'seed', text: '1-3, 9' }, { name: 'steps', text: '8' }, wish).rows).toEqual(['1', '2', '3', '9'])
  expect(planned(seeds, { name: 'guidance', text: '1.5' }, wish).cells[0]!.wish).toMatchObject({ seed: 1, guidance: 1.5, steps: null })
})

test.each([
  [seeds, seeds, {}, 'Choose two different settings.'],
  [seeds, { name: 'steps', text: '7' }, {}, '“7” can’t be a value of steps.'],
  [seeds, { name: 'steps', text: '9.5' }, {}, '“9.5” can’t be a value of steps.'],
  [seeds, { name: 'guidance', text: 'much' }, {}, '“much” can’t be a value of guidance.'],
  [seeds, { name: 'guidance', text: ' ' }, {}, 'Values of guidance are needed.'],
  [seeds, { name: 'strength', text: '1' }, { loras: [] }, 'Choose a LoRA first.'],
  [seeds, { name: 'steps', text: '8' }, { prompt: ' ' }, 'A prompt is needed.'],
  [{ name: 'seed', text: '1-40' }, { name: 'steps', text: '8, 9' }, {}, `That makes 80 sounds, but ${MOST_CELLS} at most are made at a time.`],
] as [Axis, Axis, Partial<Wish>, string][])('what can’t be made is told: %o by %o', (rows, columns, change, wrong) => {
  expect(planned(rows, columns, { ...wish, ...change })).toMatchObject({ wrong, cells: [] })
})

test('proposed values are the wish’s own', () => {
  expect(proposed('seed', wish)).toBe('7, 8, 9')
  expect(proposed('prompt', wish)).toBe('rain')
})

test('arrow keys stay within the grid', () => {
  const path = ['ArrowRight', 'ArrowRight', 'ArrowRight', 'ArrowDown', 'ArrowDown', 'Home', 'ArrowLeft', 'End', 'ArrowUp', 'x']
  let at = 0
  expect(path.map((key) => (at = moved(at, key, 3, 6)))).toEqual([1, 2, 2, 5, 5, 3, 3, 5, 2, 2])
})

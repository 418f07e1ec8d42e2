import { expect, test } from 'vitest'
import { FRAME, joinedWithNext, levelsOf, moved, proposed, split } from './cuts'

const frames = (...parts: [number, number][]) => Float32Array.from(parts.flatMap(([seconds, level]) => Array(Math.round(seconds / FRAME)).fill(level)))
const near = (cuts: { start: number; end: number; out: boolean }[]) => cuts.map(({ start, end, out }) => [Number(start.toFixed(2)), Number(end.toFixed(2)), out])

test('levels are those of all channels', () => {
  const levels = levelsOf([new Float32Array(1000).fill(0.5), new Float32Array(1000).fill(-0.5)], 25_000)
  expect([...levels]).toEqual([0.5, 0.5])
  expect(levelsOf([], 48_000)).toHaveLength(0)
})

test('silence is in no clip, and a rest that is too short is left out', () => {
  const cuts = proposed(frames([2, 0], [6, 0.5], [3, 0], [1, 0.5]), 5)
  expect(near(cuts)).toEqual([[1.96, 8, false], [10.96, 12, true]])
  expect(proposed(frames([10, 0]), 5)).toEqual([])
  expect(proposed(new Float32Array(), 5)).toEqual([])
})

test('what goes on and on is cut where it is quietest', () => {
  const cuts = proposed(frames([7, 0.5], [0.1, 0.1], [7, 0.5], [0.1, 0.1], [6, 0.5]), 5)
  expect(near(cuts)).toEqual([[0, 7, false], [7, 14.1, false], [14.1, 20.2, false]])
})

test('clips fill the bucket, are in order, and do not overlap', () => {
  let seed = 7
  const random = () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647
  for (let round = 0; round < 50; round += 1) {
    const levels = Float32Array.from({ length: 3000 }, () => (random() < 0.4 ? 0 : random()))
    const bucket = 0.5 + 5 * random()
    const cuts = proposed(levels, bucket)
    cuts.forEach(({ start, end, out }, n) => {
      expect(start).toBeGreaterThanOrEqual(cuts[n - 1]?.end ?? 0)
      expect(end).toBeLessThanOrEqual(60 + 1e-9)
      if (!out) expect(end - start).toBeGreaterThanOrEqual(bucket - 1e-9)
    })
    // Every loud moment is in a clip.
    const lost = [...levels.keys()].filter((n) => levels[n]! > 0.01 && !cuts.some(({ start, end }) => start - 1e-6 <= n * FRAME && (n + 1) * FRAME <= end + 1e-6))
    expect(lost).toEqual([])
  }
})

test('edges stop at the clips beside them', () => {
  const cuts = [{ start: 0, end: 5, out: false }, { start: 6, end: 10, out: false }]
  expect(moved(cuts, 1, 'start', 2, 12)[1]!.start).toBe(5)
  expect(moved(cuts, 1, 'start', 11, 12)[1]!.start).toBe(9.9)
  expect(moved(cuts, 1, 'end', 99, 12)[1]!.end).toBe(12)
  expect(moved(cuts, 0, 'end', 5.5, 12)[0]!.end).toBe(5.5)
})

test('a clip is split, and joined again', () => {
  const cuts = [{ start: 0, end: 6, out: false }]
  expect(split(cuts, 0).map(({ start, end }) => [start, end])).toEqual([[0, 3], [3, 6]])
  expect(joinedWithNext(split(cuts, 0), 0)).toEqual(cuts)
  expect(joinedWithNext(cuts, 0)).toEqual(cuts)
})

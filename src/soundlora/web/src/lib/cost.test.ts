import { expect, test } from 'vitest'
import { costLine, estimate, isBilled, isHosted } from './cost'

const pace = { milliseconds_per_step: 30, milliseconds_per_preview: 900 }

test('a training takes its steps, five rounds of previews, and a beginning', () => {
  expect(estimate(pace, 1000, 0, 5)).toBeCloseTo(38)
  expect(estimate(pace, 1000, 2, 5)).toBeCloseTo(38 + 9)
  expect(estimate({ milliseconds_per_step: 30 }, 1000, 2, 5)).toBeCloseTo(38)
})

test('short clips take as long as those of 5 s, longer ones longer', () => {
  expect(estimate(pace, 300, 2, 0.5)).toBe(estimate(pace, 300, 2, 5))
  expect(estimate(pace, 300, 2, 10)).toBeCloseTo(8 + 2 * 18)
})

test('the price of the hosted endpoints is known from one of the server', () => {
  expect([0.0022, 0.0023, 44 / 20_000, 0.01, 0, null].map(isHosted)).toEqual([true, true, true, false, false, false])
  expect(costLine(0.0022, 50)).toBe('0.0022 × steps; with 100 steps: $0.22')
})

test('on a machine of one’s own only a price that its server names is billed', () => {
  const training = { endpoint: 'fal-ai/ltx23-trainer-v2/t2a', cost: 0.22, units: 100 }
  expect([isBilled(training, false), isBilled(training, true)]).toEqual([true, false])
  expect(isBilled({ ...training, cost: 1 }, true)).toBe(true)
  expect(isBilled({ endpoint: 'fal-ai/ltx-2.3-quality/text-to-audio', cost: 1, units: 1 }, true)).toBe(false)
  expect(isBilled({ ...training, cost: null }, false)).toBe(false)
})

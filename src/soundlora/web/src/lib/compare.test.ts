import { expect, test } from 'vitest'
import { place } from './compare'

test('without a span the place stays at the end', () => {
  expect(place(1.5, 5, null)).toBe(1.5)
  expect(place(7, 5, null)).toBe(5)
})

test('in a span the place goes round', () => {
  const span = { start: 1, end: 3 }
  expect(place(1.5, 5, span)).toBe(1.5)
  expect(place(3, 5, span)).toBe(1)
  expect(place(6.25, 5, span)).toBeCloseTo(2.25, 9)
})

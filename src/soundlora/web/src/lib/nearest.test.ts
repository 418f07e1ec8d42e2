import { expect, test } from 'vitest'
import { nearest } from './nearest'

test('the nearest caption shares most words, of several it is the first', () => {
  const captions = ['zap slow low', 'zap fast high in a large hall', 'Zap, FAST high!', 'zap fast high']
  expect(nearest('zap fast high', captions)).toBe(2)
  expect(nearest('rain', captions)).toBe(0)
  expect(nearest('zap in a hall', captions)).toBe(1)
  expect(nearest('zap', [])).toBe(0)
})

import { expect, test } from 'vitest'
import { another, joined, parseMask, problemOfSpan } from './spans'

test('spans are in order, joined where they touch, and end with the clip', () => {
  expect(joined([[3, 4], [0.5, 1.004], [1, 2], [4.5, 9]], 5)).toEqual([[0.5, 2], [3, 4], [4.5, 5]])
  expect(joined([[-1, 1], [2, 2.001]])).toEqual([[0, 1]])
})

test.each([
  [1, 2, ''],
  [2, 2, 'It must end after it starts.'],
  [-1, 2, 'It can’t begin before the clip.'],
  [6, 7, 'The clip ends at 5 s.'],
  [NaN, 2, 'Two numbers of seconds are needed.'],
])('a span from %s to %s: %s', (start, end, sentence) => {
  expect(problemOfSpan(start, end, 5)).toBe(sentence)
})

test('a further span lies behind the last one, as long as there is room', () => {
  expect(another([], 4)).toEqual([[1, 2]])
  expect(another([[1, 2]], 4)).toEqual([[1, 2], [2.5, 3]])
  expect(another([[0, 3.95]], 4)).toEqual([[0, 3.95]])
})

test('what is no mask has no spans', () => {
  expect(parseMask('[[1.0, 2.0], [3.5, 4]]')).toEqual([[1, 2], [3.5, 4]])
  for (const bad of ['', '{}', '[[2, 1]]', '[["1", 2]]', '[[1]]', '[[-1, 1]]']) expect(parseMask(bad)).toEqual([])
})

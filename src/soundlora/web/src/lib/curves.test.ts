import { expect, test } from 'vitest'
import { extended, extendedAll, type Point } from './curves'

test('points that come are appended', () => {
  const before: Point[] = [[1, 4], [2, 3]]
  expect(extended(before, [[3, 2], [4, 1]])).toEqual([[1, 4], [2, 3], [3, 2], [4, 1]])
  expect(extended([], [[1, 4]])).toEqual([[1, 4]])
  expect(before).toEqual([[1, 4], [2, 3]])
})

test('of a step that is said again the later value counts', () => {
  const before: Point[] = [[1, 4], [2, 3], [3, 2], [4, 1]]
  expect(extended(before, [[3, 2.5]])).toEqual([[1, 4], [2, 3], [3, 2.5], [4, 1]])
  expect(extended(before, [[3, 2.5], [4, 1.5], [5, 1]])).toEqual([[1, 4], [2, 3], [3, 2.5], [4, 1.5], [5, 1]])
  expect(extended(before, [[0, 9]])).toEqual([[0, 9], ...before])
})

test('the whole curve, told again after a lost connection, changes nothing', () => {
  const before: Point[] = [[1, 4], [2, 3]]
  expect(extended(before, [[1, 4], [2, 3], [3, 2]])).toEqual([[1, 4], [2, 3], [3, 2]])
})

test('an event without curves leaves them as they are', () => {
  const curves = { loss: [[1, 4]] as Point[], held_out: [[0, 5]] as Point[] }
  const after = extendedAll(curves, undefined)
  expect(after).toEqual(curves)
  expect(after.loss).toBe(curves.loss)
  expect(extendedAll(undefined, undefined)).toEqual({ loss: [], held_out: [] })
  expect(extendedAll(curves, { loss: [[2, 3]], held_out: [] })).toEqual({ loss: [[1, 4], [2, 3]], held_out: [[0, 5]] })
})

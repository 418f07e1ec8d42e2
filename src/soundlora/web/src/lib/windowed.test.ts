import { expect, test } from 'vitest'
import { built, middle, rowAt, tops } from './windowed'

test('rows begin where those above them end', () => {
  expect(tops([10, 20, 5])).toEqual([0, 10, 30, 35])
  expect(tops([])).toEqual([0])
})

test('the row at a height', () => {
  const begins = tops([10, 20, 5])
  expect([-5, 0, 9, 10, 29, 30, 99].map((at) => rowAt(begins, at))).toEqual([0, 0, 0, 1, 1, 2, 2])
})

test('rows near what is seen are built, and the one in use with its neighbours', () => {
  const begins = tops(Array(2000).fill(50))
  expect(built(begins, 1000, 1149, -1)).toEqual([20, 21, 22])
  expect(built(begins, 0, 40, 1999)).toEqual([0, 1998, 1999])
  expect(built(tops([]), 0, 400, -1)).toEqual([])
})

test('one row that is higher than the others is not the usual one', () => {
  expect(middle([78, 78, 140, 83, 78])).toBe(78)
  expect(middle([9, 10])).toBe(10)
  expect(middle([])).toBeUndefined()
})

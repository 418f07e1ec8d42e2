import { expect, test } from 'vitest'
import { answered, begun, chance, ended, right, verdict } from './abx'

test('chance is the binomial tail', () => {
  expect(chance(0, 10)).toBe(1)
  expect(chance(10, 10)).toBeCloseTo(1 / 1024, 12)
  expect(chance(9, 10)).toBeCloseTo(11 / 1024, 12)
  expect(chance(6, 10)).toBeCloseTo(386 / 1024, 12)
  expect(chance(12, 16)).toBeCloseTo(0.0384, 4)
  expect(chance(18, 25)).toBeCloseTo(0.0216, 4)
  expect(chance(0, 0)).toBe(1)
})

test('the score is said in plain words', () => {
  expect(verdict(9, 10)).toBe('9 of 10: you hear a difference. Guessing does as well in one of 93 tests.')
  expect(verdict(5, 5)).toBe('5 of 5: you hear a difference. Guessing does as well in one of 32 tests.')
  expect(verdict(6, 10)).toBe('6 of 10: could be chance. Guessing does as well in 38 of 100 tests.')
  expect(verdict(4, 5)).toContain('could be chance')
  expect(verdict(1, 10)).toBe('1 of 10: you hear a difference, but took one for the other.')
  expect(verdict(2, 10)).toContain('could be chance')
})

test('a test draws X for each trial and counts what is told', () => {
  const numbers = [0.1, 0.9, 0.49, 0.5]
  let test = begun(4, () => numbers.shift()!)
  expect(test.drawn).toEqual([true, false, true, false])
  for (const isA of [true, true, true, false]) {
    expect(ended(test)).toBe(false)
    test = answered(test, isA)
  }
  expect(ended(test)).toBe(true)
  expect(right(test)).toBe(3)
  expect(answered(test, true)).toBe(test)
})

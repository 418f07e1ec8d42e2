import { expect, test } from 'vitest'
import { curl, javascript, python } from './code'
import { costLine, estimate } from './cost'
import { columns, smooth } from './curves'
import { bytes, duration, moment, money } from './format'
import { problemFrom } from './problems'
import { madeWith } from './run_names'

test('durations, sizes and money', () => {
  expect([0.5, 59.4, 95, 4020].map(duration)).toEqual(['0.5 s', '59 s', '1:35 min', '1 h 7 min'])
  expect([999, 1500, 81_800_000].map(bytes)).toEqual(['999 B', '1.5 kB', '82 MB'])
  expect([0, 0.0022, 4.4].map(money)).toEqual(['$0.00', '$0.0022', '$4.40'])
})

test('a moment is told from now', () => {
  const now = new Date(2026, 1, 3, 12, 0)
  const at = (day: number, hour: number) => new Date(2026, 1, day, hour, 5).getTime() / 1000
  expect(moment(at(3, 9), now)).toBe('today 09:05')
  expect(moment(at(2, 23), now)).toBe('yesterday 23:05')
  expect(moment(at(1, 9), now)).toBe('1 Feb 2026')
})

test('the cost line is the formula, or says that it is free', () => {
  expect(costLine(0.0022, 2000)).toBe('0.0022 × steps; with 2,000 steps: $4.40')
  expect(costLine(0.0022, 10)).toContain('with 100 steps: $0.22')
  expect(costLine(0, 2000)).toBe('Free on this machine')
  expect(estimate({ milliseconds_per_step: 50 }, 2000, 0, 5)).toBe(108)
})

test('a constant curve stays where it is, from its first point on', () => {
  expect(smooth([[1, 2], [2, 2], [3, 2]]).map(([, value]) => value)).toEqual([2, 2, 2])
  expect(columns([[1, 4]], [[0, 5], [1, 3]])).toEqual([[0, 1], [null, 4], [null, 4], [5, 3]])
})

test('errors of fields are told at the field, others as a sentence', () => {
  const field = problemFrom(422, { detail: [{ loc: ['body', 'rank'], msg: 'Input should be 8', type: 'one_of' }] })
  expect(field.fields).toEqual({ rank: 'Input should be 8' })
  expect(problemFrom(499, { detail: 'Cancelled', error_type: 'client_cancelled' }).type).toBe('client_cancelled')
  expect(problemFrom(401, null).remedy).toContain('Settings')
  expect(problemFrom(404, { error: { message: 'No run' } }).sentence).toBe('No run')
})

test('code holds the request, each language in its own way', () => {
  const call = { server: 'http://h:1', endpoint: 'a/b', keyed: true, request: { on: true, text: "it's", none: null } }
  expect(python(call)).toContain('"on": True')
  expect(python(call)).toContain('"none": None')
  expect(javascript(call)).toContain('"on": true')
  expect(curl(call)).toContain("it'\\''s")
  expect(curl(call)).toContain('Authorization: Key $FAL_KEY')
})

test('a sound says which LoRAs made it, how strong, and of which seed', () => {
  const loras = [{ path: 'http://x/files/a/kit-300.safetensors', scale: 0.5 }, { path: 'data:,' }]
  expect(madeWith({ loras, seed: 7 })).toBe('kit-300.safetensors at 0.5, A LoRA at 1 · seed 7')
  expect(madeWith({ prompt: 'rain' })).toBe('Base alone')
  expect(madeWith(null)).toBe('')
})

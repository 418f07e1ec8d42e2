import { expect, test } from 'vitest'
import { FLOOR, difference, loudest, meanDifference, mel, middles, type Mel } from './mel'

const RATE = 48_000
const BANDS = 64

function sine(frequency: number, peak = 1, seconds = 1): Float32Array {
  return Float32Array.from({ length: seconds * RATE }, (_, n) => peak * Math.sin((2 * Math.PI * frequency * n) / RATE))
}

function at(sound: Mel, column: number): number[] {
  return [...sound.db.slice(column * sound.bands, (column + 1) * sound.bands)]
}

test.each([10, 30, 55])('a sine is loudest in its own band, at its own level (band %i)', (band) => {
  const frequency = middles(BANDS, RATE)[band]!
  for (const peak of [1, 0.01]) {
    const column = at(mel([sine(frequency, peak)], RATE, 1, 9, BANDS), 4)
    expect(column.indexOf(Math.max(...column))).toBe(band)
    expect(Math.abs(column[band]! - 20 * Math.log10(peak))).toBeLessThan(2.5)
    expect(column[(band + 20) % BANDS]).toBeLessThan(20 * Math.log10(peak) - 40)
  }
})

test('channels are added by their powers, whatever their phase', () => {
  const tone = sine(1000)
  const sum = (...channels: Float32Array[]) => loudest([mel(channels, RATE, 1, 5, BANDS)])
  expect(sum(tone, tone)).toBeCloseTo(sum(tone), 4)
  expect(sum(tone, tone.map((value) => -value))).toBeCloseTo(sum(tone), 4)
  expect(sum(tone, new Float32Array(RATE))).toBeCloseTo(sum(tone) - 3.01, 1)
})

test('what is not there is silence, beyond the end too', () => {
  const sound = mel([sine(1000, 1, 1)], RATE, 2, 10, BANDS)
  expect(Math.max(...at(sound, 8))).toBe(FLOOR)
  expect(Math.max(...at(sound, 2))).toBeGreaterThan(-3)
  expect(loudest([mel([], RATE, 1, 3, BANDS)])).toBe(FLOOR)
})

test('a difference is what the second sound has more, above the floor', () => {
  const of = (...db: number[]): Mel => ({ columns: 1, bands: db.length, db: Float32Array.from(db) })
  const found = difference(of(-10, -30, -100, -90), of(-16, -10, -90, -20), -70)
  expect([...found]).toEqual([-6, 20, 0, 50])
  expect([...difference(of(-10), of(-16), -70, [-6, 0])]).toEqual([0])
  expect(meanDifference(found)).toBe(19)
})

test('sounds share the loudest place, with their gains', () => {
  const of = (db: number): Mel => ({ columns: 1, bands: 1, db: Float32Array.from([db]) })
  expect(loudest([of(-12), of(-6)])).toBe(-6)
  expect(loudest([of(-12), of(-6)], [0, -20])).toBe(-12)
})

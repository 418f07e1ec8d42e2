import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { loudness, matching } from './loudness'

function sine(frequency: number, seconds: number, rate: number, peak = 1): Float32Array {
  return Float32Array.from({ length: seconds * rate }, (_, n) => peak * Math.sin((2 * Math.PI * frequency * n) / rate))
}

const silent = (seconds: number, rate: number) => new Float32Array(seconds * rate)

test.each([8000, 44_100, 48_000, 96_000])('997 Hz at full scale is −3.01 LUFS in one channel and 0 in two, at %i Hz', (rate) => {
  const tone = sine(997, 3, rate)
  expect(loudness([tone], rate)).toBeCloseTo(-3.01, 1)
  expect(loudness([tone, silent(3, rate)], rate)).toBeCloseTo(-3.01, 1)
  expect(loudness([tone, tone], rate)).toBeCloseTo(0, 1)
  expect(loudness([sine(997, 3, rate, 0.1)], rate)).toBeCloseTo(-23.01, 1)
})

test('low tones count less and high ones more', () => {
  const at = (frequency: number) => loudness([sine(frequency, 3, 48_000)], 48_000)
  expect(at(38)).toBeLessThan(at(997) - 4)
  expect(at(10_000)).toBeCloseTo(at(997) + 3.3, 0)
})

test('silence and what lies 10 LU below the rest are not counted', () => {
  const rate = 48_000
  const parts = [sine(997, 4, rate), silent(8, rate), sine(997, 4, rate, 0.1)]
  const joined = new Float32Array(16 * rate)
  parts.reduce((at, part) => (joined.set(part, at), at + part.length), 0)
  expect(loudness([joined], rate)).toBeCloseTo(-3.01, 0)
  expect(loudness([silent(2, rate)], rate)).toBe(-Infinity)
  expect(loudness([], rate)).toBe(-Infinity)
  expect(loudness([sine(997, 2, rate, 1e-4)], rate)).toBe(-Infinity)
})

test('what is shorter than a block is measured whole', () => {
  expect(loudness([sine(997, 0.25, 48_000)], 48_000)).toBeCloseTo(-3.01, 0)
})

// The levels that FFmpeg's filter ebur128 finds.
test.each([['zap_01', -16.94], ['zap_07', -13.92]])('the example clip %s has %f LUFS', (name, level) => {
  const file = readFileSync(`../../../examples/clips/${name}.wav`)
  const [count, rate] = [file.readUInt16LE(22), file.readUInt32LE(24)]
  const start = file.indexOf('data') + 8
  const frames = file.readUInt32LE(start - 4) / 2 / count
  const channels = Array.from({ length: count }, (_, channel) =>
    Float32Array.from({ length: frames }, (_, n) => file.readInt16LE(start + 2 * (n * count + channel)) / 32_768),
  )
  expect(Math.abs(loudness(channels, rate) - level)).toBeLessThan(0.1)
})

test('all are turned down to the quietest, never up', () => {
  expect(matching([-14, -20, -17])).toEqual([-6, 0, -3])
  expect(matching([-14, -Infinity, -20])).toEqual([-6, 0, 0])
  expect(matching([-Infinity, -Infinity])).toEqual([0, 0])
})

import { expect, test } from 'vitest'
import { exampleClips } from './example'
import { fromWav } from './pieces'

const FADE = 120 // samples of 5 ms at 24 kHz

test('a piece of a WAV has its format and, between its fades, its very samples', async () => {
  const whole = exampleClips()[0]!.blob
  const cut = await fromWav(whole)
  const piece = new DataView(await (await cut!(1, 3.5)).arrayBuffer())
  const source = new Uint8Array(await whole.arrayBuffer())
  expect(piece.byteLength).toBe(44 + 2.5 * 24_000 * 2)
  expect(piece.getUint32(24, true)).toBe(24_000)
  expect(piece.getUint32(4, true)).toBe(piece.byteLength - 8)
  expect(piece.getUint32(40, true)).toBe(2.5 * 24_000 * 2)
  const samples = new Int16Array(piece.buffer, 44)
  const before = new Int16Array(source.slice(44 + 48_000, 44 + 48_000 * 3.5).buffer)
  expect(samples.slice(FADE, -FADE)).toEqual(before.slice(FADE, -FADE))
  for (const n of [0, 1, 60, FADE - 1]) {
    const share = 0.5 - 0.5 * Math.cos((Math.PI * (n + 0.5)) / FADE)
    expect(samples[n]).toBe(Math.round(before[n]! * share) || 0)
    expect(samples.at(-1 - n)).toBe(Math.round(before.at(-1 - n)! * share) || 0)
  }
})

/** A WAV of two channels at 1000 Hz, whose every sample is half of full scale. */
function constant(kind: number, bits: number, frames: number, extensible = false): Blob {
  const [long, wide] = [extensible ? 40 : 16, bits / 8]
  const view = new DataView(new ArrayBuffer(28 + long + 2 * wide * frames))
  const text = (at: number, letters: string) => new Uint8Array(view.buffer).set(new TextEncoder().encode(letters), at)
  text(0, 'RIFF')
  text(8, 'WAVEfmt ')
  view.setUint32(16, long, true)
  view.setUint16(20, extensible ? 0xfffe : kind, true)
  view.setUint16(22, 2, true)
  view.setUint32(24, 1000, true)
  view.setUint16(32, 2 * wide, true)
  view.setUint16(34, bits, true)
  if (extensible) view.setUint16(44, kind, true)
  text(20 + long, 'data')
  view.setUint32(24 + long, 2 * wide * frames, true)
  for (let n = 0, at = 28 + long; n < 2 * frames; n += 1, at += wide) write(view, at, kind, bits)
  return new Blob([view])
}

function write(view: DataView, at: number, kind: number, bits: number): void {
  if (kind === 3 && bits === 32) view.setFloat32(at, 0.5, true)
  else if (kind === 3) view.setFloat64(at, 0.5, true)
  else if (bits === 8) view.setUint8(at, 192)
  else view.setInt8(at + bits / 8 - 1, 64)
}

test.each([
  [1, 8, false, (view: DataView, at: number) => (view.getUint8(at) - 128) / 128],
  [1, 16, false, (view: DataView, at: number) => view.getInt16(at, true) / 2 ** 15],
  [1, 24, true, (view: DataView, at: number) => ((view.getInt8(at + 2) << 16) | view.getUint16(at, true)) / 2 ** 23],
  [1, 32, false, (view: DataView, at: number) => view.getInt32(at, true) / 2 ** 31],
  [3, 32, true, (view: DataView, at: number) => view.getFloat32(at, true)],
  [3, 64, false, (view: DataView, at: number) => view.getFloat64(at, true)],
] as const)('kind %i of %i bits is faded in all channels where it is cut, and nowhere else', async (kind, bits, extensible, read) => {
  const cut = (await fromWav(constant(kind, bits, 100, extensible)))!
  const levels = async (start: number, end: number) => {
    const piece = new DataView(await (await cut(start, end)).arrayBuffer())
    const first = extensible ? 68 : 44
    return Array.from({ length: Math.round(2 * (end - start) * 1000) }, (_, n) => read(piece, first + (n * bits) / 8))
  }
  // Five samples of a half, on their way up.
  const rise = [0.1, 0.3, 0.5, 0.7, 0.9].map((place) => 0.25 - 0.25 * Math.cos(Math.PI * place))
  const found = await levels(0.02, 0.04)
  for (let n = 0; n < 20; n += 1) {
    const wanted = rise[n] ?? rise[19 - n] ?? 0.5
    for (const side of [0, 1]) expect(found[2 * n + side]).toBeCloseTo(wanted, bits === 8 ? 1.9 : 4)
  }
  // Where the recording begins and ends nothing is cut; a piece shorter than two fades has shorter ones.
  expect((await levels(0, 0.1)).every((level) => level === 0.5)).toBe(true)
  expect((await levels(0.03, 0.034))[2]).toBeCloseTo(0.25 - 0.25 * Math.cos(Math.PI * 0.75), bits === 8 ? 1.9 : 4)
})

test('a piece ends where the sound does', async () => {
  const whole = exampleClips()[0]!.blob
  const cut = await fromWav(whole)
  expect((await cut!(0, 99)).size).toBe(whole.size)
  expect((await cut!(50, 99)).size).toBe(44)
})

test('chunks before and behind the samples are passed over; other files are no WAV', async () => {
  const whole = new Uint8Array(await exampleClips()[0]!.blob.arrayBuffer())
  const odd = new Uint8Array([...new TextEncoder().encode('bext'), 3, 0, 0, 0, 1, 2, 3, 0])
  const more = new Blob([whole.slice(0, 12), odd, whole.slice(12), odd])
  expect((await (await fromWav(more))!(0, 99)).size).toBe(whole.length)
  expect(await fromWav(new Blob(['OggS and then some more bytes']))).toBeNull()
  expect(await fromWav(new Blob([]))).toBeNull()
})

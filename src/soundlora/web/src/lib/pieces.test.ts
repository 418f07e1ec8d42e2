import { expect, test } from 'vitest'
import { exampleClips } from './example'
import { fromWav } from './pieces'

test('a piece of a WAV has its format and its very samples', async () => {
  const whole = exampleClips()[0]!.blob
  const cut = await fromWav(whole)
  const piece = new DataView(await cut!(1, 3.5).arrayBuffer())
  const source = new Uint8Array(await whole.arrayBuffer())
  expect(piece.byteLength).toBe(44 + 2.5 * 24_000 * 2)
  expect(piece.getUint32(24, true)).toBe(24_000)
  expect(piece.getUint32(4, true)).toBe(piece.byteLength - 8)
  expect(piece.getUint32(40, true)).toBe(2.5 * 24_000 * 2)
  expect(new Uint8Array(piece.buffer, 44)).toEqual(source.slice(44 + 48_000, 44 + 48_000 * 3.5))
})

test('a piece ends where the sound does', async () => {
  const whole = exampleClips()[0]!.blob
  const cut = await fromWav(whole)
  expect(cut!(0, 99).size).toBe(whole.size)
  expect(cut!(50, 99).size).toBe(44)
})

test('chunks before and behind the samples are passed over; other files are no WAV', async () => {
  const whole = new Uint8Array(await exampleClips()[0]!.blob.arrayBuffer())
  const odd = new Uint8Array([...new TextEncoder().encode('bext'), 3, 0, 0, 0, 1, 2, 3, 0])
  const more = new Blob([whole.slice(0, 12), odd, whole.slice(12), odd])
  expect((await fromWav(more))!(0, 99).size).toBe(whole.length)
  expect(await fromWav(new Blob(['OggS and then some more bytes']))).toBeNull()
  expect(await fromWav(new Blob([]))).toBeNull()
})

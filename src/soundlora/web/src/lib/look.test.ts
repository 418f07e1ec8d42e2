import { expect, test } from 'vitest'
import { lookAt, verdictOf } from './look'

interface Shape {
  rate?: number
  channels?: number
  bits?: number
  tag?: number
  /** Bytes of the header's chunk that says the form, and of a chunk before the samples. */
  form?: number
  before?: number
}

/** A WAV whose samples are all zero but for one of a value at a frame. */
function wav(frames: number, loud: [number, number] | null, { rate = 8000, channels = 2, bits = 16, tag = 1, form = 16, before = 0 }: Shape = {}): Uint8Array<ArrayBuffer> {
  const block = (channels * bits) / 8
  const data = 12 + 8 + form + (before ? 8 + before : 0)
  const bytes = new Uint8Array(data + 8 + frames * block)
  const view = new DataView(bytes.buffer)
  const write = (at: number, text: string, size: number) => {
    bytes.set(new TextEncoder().encode(text), at)
    view.setUint32(at + 4, size, true)
  }
  write(0, 'RIFF', bytes.length - 8)
  bytes.set(new TextEncoder().encode('WAVE'), 8)
  write(12, 'fmt ', form)
  ;[tag, channels].forEach((value, n) => view.setUint16(20 + 2 * n, value, true))
  view.setUint32(24, rate, true)
  view.setUint32(28, rate * block, true)
  ;[block, bits].forEach((value, n) => view.setUint16(32 + 2 * n, value, true))
  if (form >= 40) {
    ;[22, bits].forEach((value, n) => view.setUint16(36 + 2 * n, value, true))
    bytes.set([1, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71], 44)
  }
  if (before) write(20 + form, 'bext', before)
  write(data, 'data', frames * block)
  if (loud) {
    const at = data + 8 + loud[0] * block
    for (let byte = 0; byte < bits / 8; byte += 1) bytes[at + byte] = (loud[1] >> (8 * byte)) & 0xff
  }
  return bytes
}

const look = (bytes: Uint8Array<ArrayBuffer>) => lookAt(new Blob([bytes]))

test('length and first sound of plain samples', async () => {
  expect(await look(wav(40_000, [3, 1]))).toEqual({ frames: 40_000, rate: 8000, first: 3 })
  expect(await look(wav(40_000, [39_999, -1], { before: 602 }))).toEqual({ frames: 40_000, rate: 8000, first: 39_999 })
  expect(await look(wav(900_000, [899_999, 1], { channels: 1 }))).toMatchObject({ first: Infinity })
  expect(await look(wav(300_000, [299_999, 1], { channels: 3 }))).toMatchObject({ frames: 300_000, first: 299_999 })
  expect(await look(wav(100, null))).toMatchObject({ first: Infinity })
  expect(await look(wav(100, [5, -128], { bits: 24, tag: 0xfffe, form: 40 }))).toMatchObject({ first: 5 })
  expect(await look(wav(100, [5, 127], { bits: 24 }))).toMatchObject({ first: Infinity })
})

test('samples that begin where the bytes read at first end', async () => {
  const before = 65_536 - 52
  expect(await look(wav(100, [7, 1], { before }))).toMatchObject({ frames: 100, first: 7 })
  expect(await look(wav(100, [7, 1], { before: before - 3 + 1 }))).toMatchObject({ frames: 100, first: 7 })
  expect(await look(wav(100, [7, 1], { before: before + 8 }))).toBeNull()
})

test('nothing is said of what the server may find otherwise', async () => {
  const whole = wav(100, [5, 1])
  expect(await look(whole.slice(0, -1))).toBeNull()
  for (const shape of [{ bits: 8 }, { bits: 32 }, { tag: 3, bits: 32 }, { tag: 0x55 }, { rate: 44_056 }, { rate: 4000 }, { channels: 9 }]) {
    expect(await look(wav(100, [5, 1], shape)), JSON.stringify(shape)).toBeNull()
  }
  const used = wav(100, [5, 1], { bits: 24, tag: 0xfffe, form: 40 })
  used[38] = 20
  expect(await look(used)).toBeNull()
  for (const bytes of [new Uint8Array(), new Uint8Array(100), whole.slice(0, 40)]) expect(await look(bytes)).toBeNull()
})

test('the verdict is that of the bucket', () => {
  const found = { frames: 39_679, rate: 8000, first: 24_000 }
  expect([5, 3, 3.1, 6].map((bucket) => verdictOf(found, bucket))).toEqual(['kept', 'silent', 'kept', 'short'])
  expect(verdictOf({ ...found, frames: 39_678 }, 5)).toBe('short')
})

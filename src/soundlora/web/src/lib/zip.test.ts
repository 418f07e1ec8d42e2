import { expect, test } from 'vitest'
import { crc32, readZip, writeZip, zipOf } from './zip'

const text = (blob: Blob) => blob.text()

test('what is packed is read back, names with accents too', async () => {
  const packed = await writeZip([
    { name: 'a.wav', blob: new Blob(['sound of a']) },
    { name: 'ordner/ä.txt', blob: new Blob([]) },
  ])
  const entries = await readZip(packed)
  expect(entries.map((entry) => entry.name)).toEqual(['a.wav', 'ordner/ä.txt'])
  expect(await text(entries[0]!.blob)).toBe('sound of a')
  expect(entries[1]!.blob.size).toBe(0)
})

test('a zip in parts is the one in a piece, however it is cut', async () => {
  const entries = ['rain', '', 'wind in the trees'].map((content, n) => ({ name: `${n}ü.wav`, blob: new Blob([content]) }))
  const now = new Date(2020, 1, 2)
  const whole = new Uint8Array(await (await writeZip(entries, now)).arrayBuffer())
  for (const step of [1, 7, 50, 1000]) {
    const zip = zipOf(entries, now)
    expect(zip.size).toBe(whole.length)
    const parts: Blob[] = []
    for (let at = 0; at < zip.size; at += step) parts.push(await zip.slice(at, at + step))
    expect(parts.slice(0, -1).every((part) => part.size === step)).toBe(true)
    expect(new Uint8Array(await new Blob(parts).arrayBuffer())).toEqual(whole)
  }
})

test('a part can be had before what lies behind it is read, and nothing is summed up twice', async () => {
  const read: string[] = []
  class Watched extends Blob {
    override arrayBuffer() {
      read.push(this.type)
      return super.arrayBuffer()
    }
  }
  const zip = zipOf(['a', 'b'].map((name) => ({ name, blob: new Watched(['x'.repeat(100)], { type: name }) })))
  await zip.slice(0, 120)
  expect(read).toEqual(['a'])
  await zip.slice(0, zip.size)
  expect(read).toEqual(['a', 'b'])
})

test('the checksum is the known one of the text', async () => {
  const view = new DataView(await (await writeZip([{ name: 'x', blob: new Blob(['123456789']) }])).arrayBuffer())
  expect(view.getUint32(14, true)).toBe(0xcbf43926)
})

test('the checksum is that of the definition, however long the bytes are and wherever they are parted', () => {
  // Bit by bit, as the standard has it.
  const plain = (bytes: Uint8Array) => {
    let crc = ~0
    for (const byte of bytes) {
      crc ^= byte
      for (let k = 0; k < 8; k += 1) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1
    }
    return ~crc >>> 0
  }
  const bytes = Uint8Array.from({ length: 61 }, (_, n) => (n * n * 31 + 7) & 0xff)
  for (let length = 0; length <= bytes.length; length += 1) {
    const some = bytes.subarray(0, length)
    expect(crc32(some)).toBe(plain(some))
    expect(crc32(some.subarray(length >> 1), crc32(some.subarray(0, length >> 1)))).toBe(plain(some))
  }
})

test('packed content is unpacked', async () => {
  const packed = await new Response(new Blob(['la '.repeat(50)]).stream().pipeThrough(new CompressionStream('deflate-raw'))).arrayBuffer()
  const zip = new Uint8Array(await (await writeZip([{ name: 'x.txt', blob: new Blob([packed]) }])).arrayBuffer())
  const view = new DataView(zip.buffer)
  const central = zip.length - 22 - 46 - 5
  view.setUint16(8, 8, true)
  view.setUint16(central + 10, 8, true)
  const [entry] = await readZip(new Blob([zip]))
  expect(await text(entry!.blob)).toBe('la '.repeat(50))
})

test('what is no zip, or only half of one, is refused', async () => {
  await expect(readZip(new Blob(['no zip at all, but long enough to look for its end']))).rejects.toThrow('not a zip')
  const whole = await writeZip([{ name: 'x', blob: new Blob(['123']) }])
  await expect(readZip(whole.slice(10))).rejects.toThrow()
})

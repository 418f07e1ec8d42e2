import { expect, test } from 'vitest'
import { crc32, readZip, writeZip } from './zip'

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

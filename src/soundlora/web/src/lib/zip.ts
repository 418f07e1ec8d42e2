// Zip files in the browser: written without compression (sound hardly gets smaller), read with or without it.
// Parts stay blobs, so that a large folder is never in memory as a whole.

import { parallel } from './parallel'
import { words } from './words'

export interface Entry {
  name: string
  blob: Blob
}

const LARGEST = 0xffffffff
const READ_AT_A_TIME = 4

/** Pack the entries. Throws when the archive would need the 64-bit format. */
export async function writeZip(entries: Entry[], now = new Date()): Promise<Blob> {
  const parts: BlobPart[] = []
  const directory: BlobPart[] = []
  let offset = 0
  let directorySize = 0
  // One is read while another is summed up.
  const checksums = await parallel(entries, READ_AT_A_TIME, ({ blob }) => crcOf(blob))
  for (const [n, { name, blob }] of entries.entries()) {
    const encoded = new TextEncoder().encode(name)
    const crc = checksums[n]!
    const local = header(0x04034b50, 30, encoded, crc, blob.size, now)
    const central = header(0x02014b50, 46, encoded, crc, blob.size, now)
    new DataView(central.buffer).setUint32(42, offset, true)
    parts.push(local, blob)
    directory.push(central)
    offset += local.length + blob.size
    directorySize += central.length
    if (offset > LARGEST) throw new Error(words.zip.large)
  }
  if (entries.length > 0xffff) throw new Error(words.zip.many)
  const end = new DataView(new ArrayBuffer(22))
  end.setUint32(0, 0x06054b50, true)
  end.setUint16(8, entries.length, true)
  end.setUint16(10, entries.length, true)
  end.setUint32(12, directorySize, true)
  end.setUint32(16, offset, true)
  return new Blob([...parts, ...directory, end.buffer], { type: 'application/zip' })
}

function header(signature: number, size: number, name: Uint8Array, crc: number, length: number, now: Date) {
  const bytes = new Uint8Array(size + name.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, signature, true)
  // The central directory's header has a second version number; from there on the two are alike.
  let at = signature === 0x02014b50 ? 6 : 4
  if (at === 6) view.setUint16(4, 20, true)
  view.setUint16(at, 20, true)
  view.setUint16(at + 2, 0x0800, true) // names are UTF-8
  view.setUint16(at + 6, (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1), true)
  view.setUint16(at + 8, ((now.getFullYear() - 1980) << 9) | ((now.getMonth() + 1) << 5) | now.getDate(), true)
  view.setUint32(at + 10, crc, true)
  view.setUint32(at + 14, length, true)
  view.setUint32(at + 18, length, true)
  view.setUint16(at + 22, name.length, true)
  bytes.set(name, size)
  return bytes
}

/** The files of a zip. Throws when it is none, or one that only the server can read. */
export async function readZip(file: Blob): Promise<Entry[]> {
  const tail = await view(file, Math.max(0, file.size - 22 - 0xffff), file.size)
  let end = tail.byteLength - 22
  while (end >= 0 && tail.getUint32(end, true) !== 0x06054b50) end -= 1
  if (end < 0) throw new Error(words.zip.none)
  const number = tail.getUint16(end + 10, true)
  const size = tail.getUint32(end + 12, true)
  const start = tail.getUint32(end + 16, true)
  if (start === LARGEST || number === 0xffff) throw new Error(words.zip.wide)
  const directory = await view(file, start, start + size)
  const entries: Entry[] = []
  for (let at = 0; entries.length < number && at + 46 <= directory.byteLength; ) {
    if (directory.getUint32(at, true) !== 0x02014b50) throw new Error(words.zip.damaged)
    const flags = directory.getUint16(at + 8, true)
    const method = directory.getUint16(at + 10, true)
    const packed = directory.getUint32(at + 20, true)
    const nameLength = directory.getUint16(at + 28, true)
    const extra = directory.getUint16(at + 30, true) + directory.getUint16(at + 32, true)
    const name = new TextDecoder().decode(new Uint8Array(directory.buffer, directory.byteOffset + at + 46, nameLength))
    const offset = directory.getUint32(at + 42, true)
    at += 46 + nameLength + extra
    if (flags & 1) throw new Error(words.zip.encrypted)
    if (!name.endsWith('/')) entries.push({ name, blob: await unpack(file, offset, packed, method) })
  }
  return entries
}

async function unpack(file: Blob, offset: number, packed: number, method: number): Promise<Blob> {
  const local = await view(file, offset, offset + 30)
  const start = offset + 30 + local.getUint16(26, true) + local.getUint16(28, true)
  const content = file.slice(start, start + packed)
  if (method === 0) return content
  if (method !== 8) throw new Error(words.zip.unusual)
  return new Response(content.stream().pipeThrough(new DecompressionStream('deflate-raw'))).blob()
}

async function view(file: Blob, start: number, end: number): Promise<DataView> {
  const bytes = await file.slice(start, end).arrayBuffer()
  if (bytes.byteLength < end - start) throw new Error(words.zip.cutOff)
  return new DataView(bytes)
}

// Eight tables, so that eight bytes are taken at a time: five times as fast as one byte after the other.
const TABLES = Array.from({ length: 8 }, () => new Uint32Array(256))
for (let n = 0; n < 256; n += 1) {
  let crc = n
  for (let k = 0; k < 8; k += 1) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1
  TABLES[0]![n] = crc
}
for (let n = 0; n < 256; n += 1) {
  for (let k = 1; k < 8; k += 1) {
    const before = TABLES[k - 1]![n]!
    TABLES[k]![n] = TABLES[0]![before & 0xff]! ^ (before >>> 8)
  }
}

/** The checksum after these bytes, which go on from `crc`; it begins with 0. */
export function crc32(bytes: Uint8Array, crc = 0): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES as [
    Uint32Array, Uint32Array, Uint32Array, Uint32Array, Uint32Array, Uint32Array, Uint32Array, Uint32Array,
  ]
  let now = ~crc
  let at = 0
  for (; at + 8 <= bytes.length; at += 8) {
    now ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    now =
      t7[now & 0xff]! ^ t6[(now >>> 8) & 0xff]! ^ t5[(now >>> 16) & 0xff]! ^ t4[now >>> 24]! ^
      t3[bytes[at + 4]!]! ^ t2[bytes[at + 5]!]! ^ t1[bytes[at + 6]!]! ^ t0[bytes[at + 7]!]!
  }
  for (; at < bytes.length; at += 1) now = t0[(now ^ bytes[at]!) & 0xff]! ^ (now >>> 8)
  return ~now >>> 0
}

async function crcOf(blob: Blob): Promise<number> {
  let crc = 0
  const step = 1 << 22
  for (let at = 0; at < blob.size; at += step) {
    crc = crc32(new Uint8Array(await blob.slice(at, at + step).arrayBuffer()), crc)
  }
  return crc
}

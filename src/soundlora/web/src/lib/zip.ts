// Zip files in the browser: written without compression (sound hardly gets smaller), read with or without it.
// Parts stay blobs, so that a large folder is never in memory as a whole.

import { parallel } from './parallel'
import { words } from './words'

export interface Entry {
  name: string
  blob: Blob
}

/** A file whose bytes are made when they are asked for, from one place to another. A Blob's own are there at once. */
export interface Pieces {
  size: number
  type: string
  slice(from: number, to: number): Blob | Promise<Blob>
}

const LARGEST = 0xffffffff
const READ_AT_A_TIME = 4

/** Pack the entries as a whole. Throws when the archive would need the 64-bit format. */
export async function writeZip(entries: Entry[], now = new Date()): Promise<Blob> {
  const zip = zipOf(entries, now)
  return zip.slice(0, zip.size)
}

/**
 * The zip of the entries, of which any part can be had. Where each byte lies is known at once. A checksum is taken when a
 * part needs it, so that the beginning is on its way while the rest is summed up. Throws as `writeZip` does.
 */
export function zipOf(entries: Entry[], now = new Date()): Pieces {
  if (entries.length > 0xffff) throw new Error(words.zip.many)
  const sums: Promise<number>[] = []
  const sum = (n: number) => (sums[n] ??= crcOf(entries[n]!.blob))
  const names = entries.map(({ name }) => new TextEncoder().encode(name))
  const places: number[] = []
  /** In their order, with where each begins. */
  const pieces: { at: number; size: number; make(): Promise<Blob> | Blob }[] = []
  let size = 0
  const add = (bytes: number, make: () => Promise<Blob> | Blob) => {
    pieces.push({ at: size, size: bytes, make })
    size += bytes
  }
  for (const [n, { blob }] of entries.entries()) {
    places.push(size)
    add(30 + names[n]!.length, async () => new Blob([header(0x04034b50, 30, names[n]!, await sum(n), blob.size, now)]))
    add(blob.size, () => blob)
    if (size > LARGEST) throw new Error(words.zip.large)
  }
  const start = size
  for (const [n, { blob }] of entries.entries()) {
    add(46 + names[n]!.length, async () => {
      const bytes = header(0x02014b50, 46, names[n]!, await sum(n), blob.size, now)
      new DataView(bytes.buffer).setUint32(42, places[n]!, true)
      return new Blob([bytes])
    })
  }
  const listed = size - start
  add(22, () => new Blob([endOf(entries.length, listed, start)]))
  const slice = async (from: number, to: number) => {
    const wanted = pieces.filter((piece) => piece.at < to && piece.at + piece.size > from)
    const made = await parallel(wanted, READ_AT_A_TIME, async ({ at, size, make }) => {
      const piece = await make()
      // Thousands of slices would keep the page waiting.
      return at >= from && at + size <= to ? piece : piece.slice(Math.max(0, from - at), to - at)
    })
    return new Blob(made, { type: 'application/zip' })
  }
  return { size, type: 'application/zip', slice }
}

function endOf(number: number, size: number, start: number): ArrayBuffer {
  const end = new DataView(new ArrayBuffer(22))
  end.setUint32(0, 0x06054b50, true)
  end.setUint16(8, number, true)
  end.setUint16(10, number, true)
  end.setUint32(12, size, true)
  end.setUint32(16, start, true)
  return end.buffer
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

// Sixteen tables behind each other, so that sixteen bytes are taken at a time, and read as words: more than twice as fast
// as eight bytes one by one. The machine of every browser has the lower byte of a word first.
const TABLES = new Int32Array(16 * 256)
for (let n = 0; n < 256; n += 1) {
  let crc = n
  for (let k = 0; k < 8; k += 1) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1
  TABLES[n] = crc
}
for (let n = 256; n < TABLES.length; n += 1) {
  const before = TABLES[n - 256]!
  TABLES[n] = TABLES[before & 0xff]! ^ (before >>> 8)
}

/** What four bytes add, of which the last one stands `at` in the tables. */
function four(word: number, at: number): number {
  return (
    TABLES[at + 768 + (word & 0xff)]! ^ TABLES[at + 512 + ((word >>> 8) & 0xff)]! ^
    TABLES[at + 256 + ((word >>> 16) & 0xff)]! ^ TABLES[at + (word >>> 24)]!
  )
}

/** The checksum after these bytes, which go on from `crc`; it begins with 0. */
export function crc32(bytes: Uint8Array, crc = 0): number {
  let now = ~crc
  // Words can be read from a multiple of four bytes on.
  const first = Math.min(bytes.length, -bytes.byteOffset & 3)
  for (let at = 0; at < first; at += 1) now = TABLES[(now ^ bytes[at]!) & 0xff]! ^ (now >>> 8)
  const whole = (bytes.length - first) >> 4
  const ints = new Int32Array(bytes.buffer, whole ? bytes.byteOffset + first : 0, whole * 4)
  for (let n = 0; n < ints.length; n += 4) {
    now = four(ints[n]! ^ now, 3072) ^ four(ints[n + 1]!, 2048) ^ four(ints[n + 2]!, 1024) ^ four(ints[n + 3]!, 0)
  }
  for (let at = first + ints.length * 4; at < bytes.length; at += 1) now = TABLES[(now ^ bytes[at]!) & 0xff]! ^ (now >>> 8)
  return ~now >>> 0
}

async function crcOf(blob: Blob): Promise<number> {
  let crc = 0
  const step = 1 << 22
  if (blob.size <= step) return crc32(new Uint8Array(await blob.arrayBuffer()))
  for (let at = 0; at < blob.size; at += step) {
    crc = crc32(new Uint8Array(await blob.slice(at, at + step).arrayBuffer()), crc)
  }
  return crc
}

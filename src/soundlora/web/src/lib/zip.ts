// Zip files in the browser: written without compression (sound hardly gets smaller), read with or without it.
// Parts stay blobs, so that a large folder is never in memory as a whole.

export interface Entry {
  name: string
  blob: Blob
}

const LARGEST = 0xffffffff

/** Pack the entries. Throws when the archive would need the 64-bit format. */
export async function writeZip(entries: Entry[], now = new Date()): Promise<Blob> {
  const parts: BlobPart[] = []
  const directory: BlobPart[] = []
  let offset = 0
  let directorySize = 0
  for (const { name, blob } of entries) {
    const encoded = new TextEncoder().encode(name)
    const crc = await crc32(blob)
    const local = header(0x04034b50, 30, encoded, crc, blob.size, now)
    const central = header(0x02014b50, 46, encoded, crc, blob.size, now)
    new DataView(central.buffer).setUint32(42, offset, true)
    parts.push(local, blob)
    directory.push(central)
    offset += local.length + blob.size
    directorySize += central.length
    if (offset > LARGEST) throw new Error('The folder is larger than 4 GB; make a zip of it yourself and drop that.')
  }
  if (entries.length > 0xffff) throw new Error('The folder has more than 65,535 files.')
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
  if (end < 0) throw new Error('This is not a zip file.')
  const number = tail.getUint16(end + 10, true)
  const size = tail.getUint32(end + 12, true)
  const start = tail.getUint32(end + 16, true)
  if (start === LARGEST || number === 0xffff) throw new Error('This zip is in the 64-bit format.')
  const directory = await view(file, start, start + size)
  const entries: Entry[] = []
  for (let at = 0; entries.length < number && at + 46 <= directory.byteLength; ) {
    if (directory.getUint32(at, true) !== 0x02014b50) throw new Error('The directory of this zip is damaged.')
    const flags = directory.getUint16(at + 8, true)
    const method = directory.getUint16(at + 10, true)
    const packed = directory.getUint32(at + 20, true)
    const nameLength = directory.getUint16(at + 28, true)
    const extra = directory.getUint16(at + 30, true) + directory.getUint16(at + 32, true)
    const name = new TextDecoder().decode(new Uint8Array(directory.buffer, directory.byteOffset + at + 46, nameLength))
    const offset = directory.getUint32(at + 42, true)
    at += 46 + nameLength + extra
    if (flags & 1) throw new Error('This zip is encrypted.')
    if (!name.endsWith('/')) entries.push({ name, blob: await unpack(file, offset, packed, method) })
  }
  return entries
}

async function unpack(file: Blob, offset: number, packed: number, method: number): Promise<Blob> {
  const local = await view(file, offset, offset + 30)
  const start = offset + 30 + local.getUint16(26, true) + local.getUint16(28, true)
  const content = file.slice(start, start + packed)
  if (method === 0) return content
  if (method !== 8) throw new Error('This zip is packed in an unusual way.')
  return new Response(content.stream().pipeThrough(new DecompressionStream('deflate-raw'))).blob()
}

async function view(file: Blob, start: number, end: number): Promise<DataView> {
  const bytes = await file.slice(start, end).arrayBuffer()
  if (bytes.byteLength < end - start) throw new Error('This zip is cut off.')
  return new DataView(bytes)
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k += 1) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1
  return n >>> 0
})

async function crc32(blob: Blob): Promise<number> {
  let crc = 0xffffffff
  const step = 1 << 22
  for (let at = 0; at < blob.size; at += step) {
    for (const byte of new Uint8Array(await blob.slice(at, at + step).arrayBuffer())) {
      crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8)
    }
  }
  return (crc ^ 0xffffffff) >>> 0
}

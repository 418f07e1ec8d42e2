// Pieces of a recording as WAV: of a WAV by its own bytes, so that rate, bits and channels stay; else as it is decoded.
// Where a piece is cut it is faded, as `soundlora prepare` does; between its fades it is its source to the bit.

export type Piece = (start: number, end: number) => Promise<Blob>

/** Seconds of a fade. */
const FADE = 0.005

/** A function that cuts pieces out of a sound, times in seconds. */
export async function cutter(sound: Blob): Promise<Piece> {
  return (await fromWav(sound)) ?? fromSamples(await decoded(sound, 48_000))
}

/** The samples of a sound, at a rate. */
export function decoded(sound: Blob, rate: number): Promise<AudioBuffer> {
  return sound.arrayBuffer().then((bytes) => new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes))
}

/** Null where the sound is no WAV of plain samples. */
export async function fromWav(sound: Blob): Promise<Piece | null> {
  const read = async (start: number, size: number) => new DataView(await sound.slice(start, start + size).arrayBuffer())
  const name = (view: DataView, at: number) => String.fromCharCode(...new Uint8Array(view.buffer, at, 4))
  const head = await read(0, 12)
  if (head.byteLength < 12 || name(head, 0) !== 'RIFF' || name(head, 8) !== 'WAVE') return null
  let format: DataView | null = null
  for (let at = 12; at + 8 <= sound.size; ) {
    const chunk = await read(at, 8)
    const size = chunk.getUint32(4, true)
    if (name(chunk, 0) === 'fmt ') format = await read(at + 8, size)
    if (name(chunk, 0) === 'data') {
      const plain = format && format.byteLength >= 16 && [1, 3, 0xfffe].includes(format.getUint16(0, true))
      return plain ? slices(sound, format!, at + 8, Math.min(size, sound.size - at - 8)) : null
    }
    at += 8 + size + (size & 1)
  }
  return null
}

function slices(sound: Blob, format: DataView, first: number, size: number): Piece {
  const [rate, block] = [format.getUint32(4, true), format.getUint16(12, true)]
  const whole = Math.floor(size / block)
  const frame = (seconds: number) => Math.min(whole, Math.max(0, Math.round(seconds * rate)))
  return async (start, end) => {
    const [from, to] = [frame(start), Math.max(frame(start), frame(end))]
    const fade = Math.min(even(FADE * rate), (to - from) >> 1)
    const [rise, fall] = [from && fade, to < whole ? fade : 0]
    const bytes = (a: number, b: number) => sound.slice(first + a * block, first + b * block)
    const faded = async (a: number, b: number, place: (n: number) => number) => {
      const view = new DataView(await bytes(a, b).arrayBuffer())
      for (let n = 0; n < b - a; n += 1) scale(view, format, n * block, block, 0.5 - 0.5 * Math.cos(Math.PI * place(n)))
      return view
    }
    return wav(format, [
      await faded(from, from + rise, (n) => (n + 0.5) / rise),
      bytes(from + rise, to - fall),
      await faded(to - fall, to, (n) => (fall - n - 0.5) / fall),
    ])
  }
}

/** A half goes to the even number, as Python rounds. */
function even(value: number): number {
  const near = Math.round(value)
  return near - value === 0.5 && near % 2 ? near - 1 : near
}

/** Bring the samples of one frame to a share. */
function scale(view: DataView, format: DataView, at: number, block: number, share: number): void {
  const wide = block / format.getUint16(2, true)
  // The extensible format tells its kind further behind.
  const kind = format.getUint16(format.getUint16(0, true) === 0xfffe && format.byteLength >= 26 ? 24 : 0, true)
  for (let here = at; here < at + block; here += wide) {
    if (kind === 3 && wide === 4) view.setFloat32(here, view.getFloat32(here, true) * share, true)
    else if (kind === 3) view.setFloat64(here, view.getFloat64(here, true) * share, true)
    // Of 8 bits silence is 128.
    else if (wide === 1) view.setUint8(here, 128 + even((view.getUint8(here) - 128) * share))
    else if (wide === 2) view.setInt16(here, even(view.getInt16(here, true) * share), true)
    else if (wide === 4) view.setInt32(here, even(view.getInt32(here, true) * share), true)
    else if (wide === 3) {
      const sample = even(((view.getInt8(here + 2) << 16) | view.getUint16(here, true)) * share)
      view.setUint16(here, sample & 0xffff, true)
      view.setInt8(here + 2, sample >> 16)
    }
  }
}

function fromSamples(buffer: AudioBuffer): Piece {
  const { numberOfChannels: number, sampleRate: rate } = buffer
  const format = new DataView(new ArrayBuffer(16))
  format.setUint16(0, 3, true)
  format.setUint16(2, number, true)
  format.setUint32(4, rate, true)
  format.setUint32(8, rate * number * 4, true)
  format.setUint16(12, number * 4, true)
  format.setUint16(14, 32, true)
  const channels = Array.from({ length: number }, (_, n) => buffer.getChannelData(n))
  const parts: Blob[] = []
  // A browser may put blobs on the disk, an hour of sound in one array not.
  for (let from = 0; from < buffer.length; from += 1 << 20) {
    const samples = new Float32Array(Math.min(1 << 20, buffer.length - from) * number)
    channels.forEach((one, n) => {
      for (let at = n, i = from; at < samples.length; at += number, i += 1) samples[at] = one[i]!
    })
    parts.push(new Blob([samples]))
  }
  return slices(new Blob(parts), format, 0, buffer.length * number * 4)
}

function wav(format: DataView, parts: BlobPart[]): Blob {
  const samples = new Blob(parts)
  const [long, odd] = [format.byteLength, samples.size & 1]
  const head = new Uint8Array(28 + long)
  const view = new DataView(head.buffer)
  const text = (at: number, letters: string) => head.set(new TextEncoder().encode(letters), at)
  text(0, 'RIFF')
  view.setUint32(4, 20 + long + samples.size + odd, true)
  text(8, 'WAVEfmt ')
  view.setUint32(16, long, true)
  head.set(new Uint8Array(format.buffer, format.byteOffset, long), 20)
  text(20 + long, 'data')
  view.setUint32(24 + long, samples.size, true)
  return new Blob([head, samples, new Uint8Array(odd)], { type: 'audio/wav' })
}

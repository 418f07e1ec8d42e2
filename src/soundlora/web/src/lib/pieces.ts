// Pieces of a recording as WAV: of a WAV by its own bytes, so that rate, bits and channels stay; else as it is decoded.

export type Piece = (start: number, end: number) => Blob

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
  const byte = (seconds: number) => Math.min(Math.floor(size / block), Math.max(0, Math.round(seconds * rate))) * block
  return (start, end) => wav(format, sound.slice(first + byte(start), first + byte(end)))
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
  return (start, end) => {
    const from = Math.max(0, Math.round(start * rate))
    const frames = Math.max(0, Math.min(buffer.length, Math.round(end * rate)) - from)
    const samples = new Float32Array(frames * number)
    for (let channel = 0; channel < number; channel += 1) {
      const one = buffer.getChannelData(channel)
      for (let i = 0; i < frames; i += 1) samples[i * number + channel] = one[from + i]!
    }
    return wav(format, new Blob([samples]))
  }
}

function wav(format: DataView, samples: Blob): Blob {
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

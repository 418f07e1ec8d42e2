// Ten small sounds made in the browser, for a first run without recordings of one's own.

import type { Entry } from './zip'

const RATE = 24_000
/** Seconds of each sound. */
const LENGTHS = [6.8, 8.4, 5.2, 9.3, 6, 7.5, 5.4, 8.9, 5.3, 7.1]

export const EXAMPLE_TRIGGER = 'zapgun'
export const EXAMPLE_PROMPTS = ['zapgun fast high laser zaps', 'zapgun slow low laser zaps']

interface Zap {
  caption: string
  high: number
  low: number
  every: number
  length: number
}

const ZAPS: Zap[] = [
  { caption: 'fast high laser zaps', high: 5200, low: 900, every: 0.22, length: 0.16 },
  { caption: 'slow high laser zaps', high: 4800, low: 800, every: 0.7, length: 0.34 },
  { caption: 'fast low laser zaps', high: 1600, low: 120, every: 0.25, length: 0.2 },
  { caption: 'slow low laser zaps', high: 1300, low: 90, every: 0.8, length: 0.45 },
  { caption: 'rising high laser zaps', high: 700, low: 4600, every: 0.45, length: 0.3 },
  { caption: 'rising low laser zaps', high: 110, low: 1500, every: 0.5, length: 0.35 },
  { caption: 'fast high laser zaps, soft', high: 3800, low: 1100, every: 0.2, length: 0.12 },
  { caption: 'slow low laser zaps, long', high: 900, low: 60, every: 1.1, length: 0.8 },
  { caption: 'very fast laser zaps', high: 3000, low: 300, every: 0.12, length: 0.1 },
  { caption: 'single slow laser zaps', high: 2600, low: 150, every: 1.6, length: 0.6 },
]

export function exampleClips(): Entry[] {
  return ZAPS.flatMap((zap, index) => {
    const name = `zap_${String(index + 1).padStart(2, '0')}`
    return [
      { name: `${name}.wav`, blob: wav(sweeps(zap, LENGTHS[index]!)) },
      { name: `${name}.txt`, blob: new Blob([zap.caption]) },
    ]
  })
}

function sweeps({ high, low, every, length }: Zap, seconds: number): Float32Array {
  const samples = new Float32Array(Math.round(RATE * seconds))
  let phase = 0
  for (let i = 0; i < samples.length; i += 1) {
    const at = (i / RATE) % every
    if (at > length) continue
    const share = at / length
    phase += (2 * Math.PI * high * (low / high) ** share) / RATE
    const edge = Math.min(1, at / 0.004) * (1 - share) ** 1.5
    samples[i] = 0.7 * edge * (Math.sin(phase) + 0.3 * Math.sin(2 * phase) + 0.12 * Math.sin(3 * phase))
  }
  return samples
}

function wav(samples: Float32Array): Blob {
  const view = new DataView(new ArrayBuffer(44 + samples.length * 2))
  const text = (at: number, letters: string) => [...letters].forEach((l, i) => view.setUint8(at + i, l.charCodeAt(0)))
  text(0, 'RIFF')
  view.setUint32(4, 36 + samples.length * 2, true)
  text(8, 'WAVEfmt ')
  view.setUint32(16, 16, true)
  view.setUint16(20, 1, true)
  view.setUint16(22, 1, true)
  view.setUint32(24, RATE, true)
  view.setUint32(28, RATE * 2, true)
  view.setUint16(32, 2, true)
  view.setUint16(34, 16, true)
  text(36, 'data')
  view.setUint32(40, samples.length * 2, true)
  samples.forEach((value, i) => view.setInt16(44 + i * 2, Math.max(-1, Math.min(1, value)) * 32767, true))
  return new Blob([view.buffer], { type: 'audio/wav' })
}

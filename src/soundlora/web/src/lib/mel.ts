// The spectrogram that sounds are compared by: decibels by time and mel band, on a scale that all sounds share.

const SIZE = 2048
const LOWEST_HZ = 40
const HIGHEST_HZ = 16_000
export const FLOOR = -120

export interface Mel {
  columns: number
  bands: number
  /** In dB of a full-scale sine; the bands of a column lie beside each other, the lowest first. */
  db: Float32Array
}

const toMel = (hertz: number) => 2595 * Math.log10(1 + hertz / 700)
const toHertz = (mel: number) => 700 * (10 ** (mel / 2595) - 1)

/** The middle of each band in Hz. */
export function middles(bands: number, rate: number): number[] {
  const [low, high] = [toMel(LOWEST_HZ), toMel(Math.min(HIGHEST_HZ, rate / 2))]
  return Array.from({ length: bands }, (_, band) => toHertz(low + ((high - low) * (band + 1)) / (bands + 1)))
}

/** Spectra of one or two channels at `columns` moments, of which the first is the start and the last is after `seconds`. */
export function mel(channels: Float32Array[], rate: number, seconds: number, columns: number, bands: number): Mel {
  const [left, second] = channels
  const [real, imaginary] = [new Float64Array(SIZE), new Float64Array(SIZE)]
  const power = new Float64Array(SIZE / 2)
  const db = new Float32Array(columns * bands)
  const weights = triangles(bands, rate)
  for (let column = 0; column < columns; column += 1) {
    const start = Math.round((seconds * rate * (column + 0.5)) / columns - SIZE / 2)
    for (let n = 0; n < SIZE; n += 1) {
      real[n] = (left?.[start + n] ?? 0) * WINDOW[n]!
      imaginary[n] = ((second ?? left)?.[start + n] ?? 0) * WINDOW[n]!
    }
    transform(real, imaginary)
    // Both channels lie in one transform: their powers are the sum of a bin and its mirror.
    for (let bin = 1; bin < SIZE / 2; bin += 1) {
      const mirror = SIZE - bin
      power[bin] = (real[bin]! ** 2 + imaginary[bin]! ** 2 + real[mirror]! ** 2 + imaginary[mirror]! ** 2) / 4
    }
    weights.forEach(([first, shares], band) => {
      let sum = 0
      for (let n = 0; n < shares.length; n += 1) sum += shares[n]! * power[first + n]!
      db[column * bands + band] = Math.max(FLOOR, 10 * Math.log10(sum * UNIT))
    })
  }
  return { columns, bands, db }
}

/** The first bin and the weights of each band. None is narrower than the bins are far apart. */
function triangles(bands: number, rate: number): [number, number[]][] {
  const middle = middles(bands, rate)
  const bin = rate / SIZE
  return middle.map((at, band) => {
    const below = Math.min(middle[band - 1] ?? LOWEST_HZ, at - bin)
    const above = Math.max(middle[band + 1] ?? Math.min(HIGHEST_HZ, rate / 2), at + bin)
    const first = Math.max(1, Math.ceil(below / bin))
    const last = Math.min(SIZE / 2 - 1, Math.floor(above / bin))
    const share = (hertz: number) => Math.max(0, hertz < at ? (hertz - below) / (at - below) : (above - hertz) / (above - at))
    return [first, Array.from({ length: Math.max(0, last - first + 1) }, (_, n) => share((first + n) * bin))]
  })
}

const WINDOW = Float64Array.from({ length: SIZE }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / SIZE))
// A sine's amplitude is a quarter of the window's length in its bin, and 1.5 times its power lies in all of them.
const UNIT = (4 / SIZE) ** 2 / 1.5

/** The Fourier transform in place, of a length that is a power of two. */
function transform(real: Float64Array, imaginary: Float64Array): void {
  const size = real.length
  for (let i = 1, j = 0; i < size; i += 1) {
    let bit = size >> 1
    for (; j & bit; bit >>= 1) j ^= bit
    j ^= bit
    if (i < j) {
      ;[real[i], real[j]] = [real[j]!, real[i]!]
      ;[imaginary[i], imaginary[j]] = [imaginary[j]!, imaginary[i]!]
    }
  }
  for (let half = 1; half < size; half *= 2) {
    for (let k = 0; k < half; k += 1) {
      const [cos, sin] = [Math.cos((-Math.PI * k) / half), Math.sin((-Math.PI * k) / half)]
      for (let i = k; i < size; i += 2 * half) {
        const j = i + half
        const x = real[j]! * cos - imaginary[j]! * sin
        const y = real[j]! * sin + imaginary[j]! * cos
        real[j] = real[i]! - x
        imaginary[j] = imaginary[i]! - y
        real[i] = real[i]! + x
        imaginary[i] = imaginary[i]! + y
      }
    }
  }
}

/** The loudest place of sounds, each with a gain in dB. */
export function loudest(sounds: Mel[], gains: number[] = []): number {
  return Math.max(FLOOR, ...sounds.map((each, n) => each.db.reduce((most, value) => Math.max(most, value), FLOOR) + (gains[n] ?? 0)))
}

/** What the second sound has more than the first, in dB. What lies below `floor` in both is no difference. */
export function difference(first: Mel, second: Mel, floor: number, gains: [number, number] = [0, 0]): Float32Array {
  return first.db.map((value, n) => Math.max(floor, second.db[n]! + gains[1]) - Math.max(floor, value + gains[0]))
}

/** The mean of what differs, in dB, without its sign. */
export function meanDifference(values: Float32Array): number {
  return values.length ? values.reduce((sum, value) => sum + Math.abs(value), 0) / values.length : 0
}

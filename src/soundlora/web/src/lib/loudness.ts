// Loudness after ITU-R BS.1770: two filters, blocks of 400 ms, two gates. In LUFS, −Infinity where nothing is heard.

const SEGMENT = 0.1
const SEGMENTS = 4
const ABSOLUTE_GATE = -70
const RELATIVE_GATE = -10

/** Frequency in Hz and quality of the two filters, from which they are made for any rate, and the shelf's gain in dB. */
const SHELF = { frequency: 1681.974450955533, quality: 0.7071752369554196, gain: 3.999843853973347 }
const HIGH_PASS = { frequency: 38.13547087602444, quality: 0.5003270373238773 }

type Biquad = [b0: number, b1: number, b2: number, a1: number, a2: number]

function filters(rate: number): [Biquad, Biquad] {
  let k = Math.tan((Math.PI * SHELF.frequency) / rate)
  const high = 10 ** (SHELF.gain / 20)
  const band = high ** 0.4996667741545416
  let norm = 1 + k / SHELF.quality + k * k
  const shelf: Biquad = [
    (high + (band * k) / SHELF.quality + k * k) / norm,
    (2 * (k * k - high)) / norm,
    (high - (band * k) / SHELF.quality + k * k) / norm,
    (2 * (k * k - 1)) / norm,
    (1 - k / SHELF.quality + k * k) / norm,
  ]
  k = Math.tan((Math.PI * HIGH_PASS.frequency) / rate)
  norm = 1 + k / HIGH_PASS.quality + k * k
  return [shelf, [1, -2, 1, (2 * (k * k - 1)) / norm, (1 - k / HIGH_PASS.quality + k * k) / norm]]
}

/** The sum of squares of each segment of a channel, after the filters. */
function energies(samples: Float32Array, rate: number, size: number): number[] {
  const found: number[] = []
  const [[p0, p1, p2, q1, q2], [r0, r1, r2, s1, s2]] = filters(rate)
  let x1 = 0, x2 = 0, y1 = 0, y2 = 0, z1 = 0, z2 = 0
  for (let start = 0; start < samples.length; start += size) {
    let sum = 0
    for (let at = start; at < Math.min(samples.length, start + size); at += 1) {
      const x = samples[at]!
      const y = p0 * x + p1 * x1 + p2 * x2 - q1 * y1 - q2 * y2
      const z = r0 * y + r1 * y1 + r2 * y2 - s1 * z1 - s2 * z2
      x2 = x1
      x1 = x
      y2 = y1
      y1 = y
      z2 = z1
      z1 = z
      sum += z * z
    }
    found.push(sum)
  }
  return found
}

const lufs = (power: number) => -0.691 + 10 * Math.log10(power)
const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

/** Integrated loudness of channels at `rate` Hz. What is shorter than a block of 400 ms is one block. */
export function loudness(channels: Float32Array[], rate: number): number {
  const length = channels[0]?.length ?? 0
  const size = Math.round(SEGMENT * rate)
  const whole = length >= SEGMENTS * size
  const segments = channels.map((samples) => energies(samples, rate, whole ? size : Math.max(1, length)))
  const span = whole ? SEGMENTS : 1
  const count = whole ? Math.floor(length / size) - SEGMENTS + 1 : Math.min(1, length)
  const powers = Array.from({ length: count }, (_, block) => {
    let sum = 0
    for (const each of segments) for (let at = block; at < block + span; at += 1) sum += each[at]!
    return sum / (whole ? SEGMENTS * size : length)
  })
  const heard = powers.filter((power) => lufs(power) > ABSOLUTE_GATE)
  if (!heard.length) return -Infinity
  const gate = lufs(mean(heard)) + RELATIVE_GATE
  return lufs(mean(heard.filter((power) => lufs(power) > gate)))
}

/** The gain in dB of each sound that makes all as loud as the quietest; silence stays out of it. None is above 0. */
export function matching(levels: number[]): number[] {
  const quietest = Math.min(...levels.filter(Number.isFinite))
  return levels.map((level) => (Number.isFinite(level) ? quietest - level : 0))
}

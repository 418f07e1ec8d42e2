// A long recording as clips: where it is cut, by itself or by hand.

export interface Cut {
  start: number
  end: number
  /** Whether it is left out. */
  out: boolean
}

/** Seconds of each level that is measured. */
export const FRAME = 0.02

/** Root mean square of each frame. */
export function levelsOf(channels: Float32Array[], rate: number): Float32Array {
  const step = Math.round(rate * FRAME)
  const levels = new Float32Array(Math.ceil((channels[0]?.length ?? 0) / step))
  for (let n = 0; n < levels.length; n += 1) {
    let sum = 0
    let number = 0
    for (const samples of channels) for (let i = n * step; i < Math.min(samples.length, (n + 1) * step); i += 1, number += 1) sum += samples[i]! ** 2
    levels[n] = Math.sqrt(sum / Math.max(1, number))
  }
  return levels
}

/** Clips of one to two buckets, cut where it is quietest. Silence between them is in none; a rest that is too short is left out. */
export function proposed(levels: Float32Array, bucket: number): Cut[] {
  const loudest = levels.reduce((most, level) => Math.max(most, level), 0)
  // 45 dB below the loudest moment is silence, as is nothing at all.
  const silence = Math.max(loudest * 10 ** (-45 / 20), 1e-5)
  const least = Math.ceil(bucket / FRAME)
  const found: Cut[] = []
  let at = 0
  while (true) {
    while (at < levels.length && levels[at]! < silence) at += 1
    if (at >= levels.length) return found
    const start = Math.max(found.length ? Math.round(found.at(-1)!.end / FRAME) : 0, at - 2)
    const latest = Math.min(levels.length, start + 2 * least)
    let end = latest
    if (latest < levels.length) {
      end = start + least
      for (let n = end; n < latest; n += 1) if (levels[n]! < levels[end]!) end = n
    } else if (end - start < least) {
      found.push({ start: start * FRAME, end: end * FRAME, out: true })
      return found
    }
    at = end
    // What is silent at its end is not needed.
    while (end - start > least && levels[end - 1]! < silence) end -= 1
    found.push({ start: start * FRAME, end: end * FRAME, out: false })
  }
}

/** Move an edge, no further than the clips beside it let it. */
export function moved(cuts: Cut[], at: number, side: 'start' | 'end', to: number, seconds: number): Cut[] {
  const cut = cuts[at]!
  const [low, high] = side === 'start' ? [cuts[at - 1]?.end ?? 0, cut.end - 0.1] : [cut.start + 0.1, cuts[at + 1]?.start ?? seconds]
  return cuts.map((one, n) => (n === at ? { ...one, [side]: Math.min(high, Math.max(low, to)) } : one))
}

/** Halves of a clip. */
export function split(cuts: Cut[], at: number): Cut[] {
  const { start, end, out } = cuts[at]!
  const middle = (start + end) / 2
  return cuts.toSpliced(at, 1, { start, end: middle, out }, { start: middle, end, out })
}

/** A clip and the next one as one, with what is between them. */
export function joinedWithNext(cuts: Cut[], at: number): Cut[] {
  const [one, next] = [cuts[at]!, cuts[at + 1]]
  return next ? cuts.toSpliced(at, 2, { start: one.start, end: next.end, out: one.out && next.out }) : cuts
}

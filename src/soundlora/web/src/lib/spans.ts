// Spans of a clip that are made anew: start and end of each in seconds, as NAME_mask.json has them.

import { trimmed } from './format'
import { words } from './words'

export type Span = [number, number]

const SHORTEST = 0.01

function rounded(seconds: number): number {
  return Number(seconds.toFixed(2))
}

/** The spans in order, to hundredths of a second, those that touch joined, within a clip of `seconds`. */
export function joined(spans: Span[], seconds = Infinity): Span[] {
  const found: Span[] = []
  for (const [start, end] of [...spans].sort((a, b) => a[0] - b[0])) {
    const span: Span = [rounded(Math.max(0, start)), rounded(Math.min(end, seconds))]
    const last = found.at(-1)
    if (span[1] - span[0] < SHORTEST) continue
    if (last && span[0] <= last[1]) last[1] = Math.max(last[1], span[1])
    else found.push(span)
  }
  return found
}

/** What is wrong with a span of a clip of `seconds`, or "". */
export function problemOfSpan(start: number, end: number, seconds: number): string {
  if (!Number.isFinite(start) || !Number.isFinite(end)) return words.spans.numbers
  if (start < 0) return words.spans.early
  if (end - start < SHORTEST) return words.spans.order
  if (seconds && start >= seconds) return words.spans.late(trimmed(seconds, 2))
  return ''
}

/** A further span to begin with: a quarter of what is free behind the last one, or of the clip. */
export function another(spans: Span[], seconds: number): Span[] {
  const from = spans.at(-1)?.[1] ?? 0
  const free = seconds - from
  if (free < 0.1) return spans
  return joined([...spans, [from + free / 4, from + free / 2]], seconds)
}

/** The spans of a mask, or none where it holds no spans. */
export function parseMask(text: string): Span[] {
  try {
    const value: unknown = JSON.parse(text)
    const good = (span: unknown) => {
      if (!Array.isArray(span) || span.length !== 2) return false
      const [start, end]: unknown[] = span
      return typeof start === 'number' && typeof end === 'number' && 0 <= start && start < end
    }
    return Array.isArray(value) && value.every(good) ? (value as Span[]) : []
  } catch {
    return []
  }
}

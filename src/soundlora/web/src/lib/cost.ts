// What a run costs, by the server's own price.

import { count, money, trimmed } from './format'

export const FEWEST_BILLED = 100

/** The formula of a price per step, worked out: what is shown before start. */
export function costLine(pricePerStep: number | null, steps: number): string {
  if (pricePerStep === null) return ''
  if (pricePerStep === 0) return 'Free on this machine'
  const billed = Math.max(FEWEST_BILLED, steps)
  return `${trimmed(pricePerStep, 6)} × steps; with ${count(billed)} steps: ${money(pricePerStep * billed)}`
}

/** Seconds of training, from a measured step of 5 s of sound. Preparing and previews come on top. */
export function estimate(millisecondsPerStep: number, steps: number, bucket: number): number {
  return (millisecondsPerStep / 1000) * steps * Math.max(0.4, bucket / 5)
}

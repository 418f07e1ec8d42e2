// What a run costs, by the server's own price.

import { money, trimmed } from './format'
import { modeOf } from './modes'
import type { RunSummary } from './types'
import { words } from './words'

export const FEWEST_BILLED = 100

/** The formula of a price per step, worked out: what is shown before start. */
export function costLine(pricePerStep: number | null, steps: number): string {
  if (pricePerStep === null) return ''
  if (pricePerStep === 0) return words.cost.free
  const billed = Math.max(FEWEST_BILLED, steps)
  return words.cost.formula(trimmed(pricePerStep, 6), billed, money(pricePerStep * billed))
}

/** What the hosted endpoints take for a step, which a server shows unless it was given a price of its own. */
export function isHosted(pricePerStep: number | null): boolean {
  return [0.0022, 0.0023].some((price) => Math.abs(price - (pricePerStep ?? 0)) < 1e-6)
}

/** Whether a run has a price for who looks: nobody is billed on a machine of one's own, unless its server names a price. */
export function isBilled(run: Pick<RunSummary, 'cost' | 'units' | 'endpoint'>, own: boolean): boolean {
  if (!run.cost) return false
  return !own || (!!modeOf(run.endpoint) && !isHosted(run.cost / (run.units || 1)))
}

/** Before the first step, after each quarter, and so at the end. */
const ROUNDS = 5
/** Seconds until a process has begun, with the base loaded and the clips encoded. */
const BEGINNING = 8

/** Seconds of a training with its previews, from a measured step and a measured preview of 5 s of sound. */
export function estimate(pace: { milliseconds_per_step: number; milliseconds_per_preview?: number }, steps: number, prompts: number, bucket: number): number {
  // Below 5 s a step is nearly as long as at 5 s.
  const share = Math.max(1, bucket / 5) / 1000
  return BEGINNING + share * (pace.milliseconds_per_step * steps + (pace.milliseconds_per_preview ?? 0) * prompts * ROUNDS)
}

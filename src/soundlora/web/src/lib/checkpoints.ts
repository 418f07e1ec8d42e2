// The LoRAs of a run that can be tried: the final one, and those of its checkpoints.

import type { Run } from './types'
import { words } from './words'

export interface Choice {
  path: string
  step: number
  final: boolean
  label: string
}

/** The final LoRA first, then the checkpoints from the latest on. The best has the lowest loss on clips kept out. */
export function choices(run: Pick<Run, 'lora' | 'checkpoints' | 'curves'>): Choice[] {
  const measured = new Map(run.curves.held_out)
  const losses = run.checkpoints.flatMap(({ step }) => measured.get(step) ?? [])
  const best = losses.length > 1 ? Math.min(...losses) : NaN
  const found = run.checkpoints.map(({ step, file }) => ({
    path: file.url,
    step,
    final: false,
    label: measured.get(step) === best ? words.tries.bestStep(step) : words.tries.step(step),
  }))
  found.reverse()
  const last = found[0]?.step ?? 0
  return run.lora ? [{ path: run.lora.url, step: last, final: true, label: words.tries.final }, ...found] : found
}

/** The LoRA that is tried unless another one is chosen. */
export function usual(run: Pick<Run, 'lora' | 'checkpoints'>): string | undefined {
  return (run.lora ?? run.checkpoints?.at(-1)?.file)?.url
}

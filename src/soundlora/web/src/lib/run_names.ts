// What things of a run are called.

import { trimmed } from './format'
import type { Progress, RunSummary } from './types'
import { words } from './words'

export function stage(progress: Progress | null): string {
  return progress ? ((words.names.stages as Record<string, string>)[progress.stage] ?? progress.stage) : words.names.starting
}

export function status(run: Pick<RunSummary, 'state' | 'outcome' | 'position' | 'cancel_asked' | 'progress'>): string {
  if (run.state === 'queued') return run.position ? words.names.ahead(run.position) : words.names.next
  if (run.state === 'running') return run.cancel_asked ? words.names.stopping : stage(run.progress)
  return words.names[run.outcome ?? 'failed']
}

/** What a run is called everywhere: the name it was given, else what it was asked for. The server's search finds it. */
export function title(run: Pick<RunSummary, 'input' | 'id'> & { name?: string }): string {
  if (run.name) return run.name
  const { trigger_phrase: trigger, prompt, training_data_url: url } = run.input ?? {}
  if (trigger || prompt) return String(trigger || prompt)
  return fileName(url).replace(/\.zip$/, '') || words.names.run(run.id.slice(0, 8))
}

/** What the LoRA of a checkpoint is called. */
export function atStep(run: Parameters<typeof title>[0], step: number): string {
  return words.names.atStep(title(run), step)
}

/** The last part of an address as people read it; "" of what is none. */
export function fileName(url: unknown): string {
  if (typeof url !== 'string' || url.startsWith('data:')) return ''
  const name = url.split('/').pop()!
  try {
    return decodeURIComponent(name)
  } catch {
    return name // 100%.zip
  }
}

export function prompts(input: RunSummary['input']): string[] {
  return ((input?.validation ?? []) as { prompt: string }[]).map((entry) => entry.prompt)
}

/** What a sound was made with: its LoRAs, each with its strength, and its seed where one was asked for. */
export function madeWith(input: RunSummary['input']): string {
  if (!input) return ''
  const loras = (input.loras ?? []) as { path: string; scale?: number }[]
  const names = loras.map(({ path, scale }) => words.common.at(fileName(path) || words.tries.aLora, trimmed(scale ?? 1, 2)))
  const seed = typeof input.seed === 'number' ? [words.common.seed(input.seed)] : []
  return [names.join(', ') || words.common.baseAlone, ...seed].join(' · ')
}

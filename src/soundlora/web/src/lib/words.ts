// What things of a run are called.

import { count } from './format'
import type { Progress, RunSummary } from './types'

const STAGES: Record<string, string> = {
  base: 'Getting ready',
  clips: 'Preparing the clips',
  contexts: 'Reading the captions',
  training: 'Training',
  previews: 'Making previews',
  sampling: 'Generating',
  saving: 'Storing the results',
  done: 'Done',
}

export function stage(progress: Progress | null): string {
  return progress ? (STAGES[progress.stage] ?? progress.stage) : 'Starting'
}

export function status(run: Pick<RunSummary, 'state' | 'outcome' | 'position' | 'cancel_asked' | 'progress'>): string {
  if (run.state === 'queued') return run.position ? `Waiting, ${run.position} ahead` : 'Waiting, next in line'
  if (run.state === 'running') return run.cancel_asked ? 'Stopping' : stage(run.progress)
  return { succeeded: 'Done', failed: 'Failed', cancelled: 'Cancelled' }[run.outcome ?? 'failed']
}

/** What a run is called everywhere: the name it was given, else what it was asked for. The server's search finds it. */
export function title(run: Pick<RunSummary, 'input' | 'id'> & { name?: string }): string {
  if (run.name) return run.name
  const { trigger_phrase: trigger, prompt, training_data_url: url } = run.input ?? {}
  if (trigger || prompt) return String(trigger || prompt)
  return fileName(url).replace(/\.zip$/, '') || `Run ${run.id.slice(0, 8)}`
}

/** What the LoRA of a checkpoint is called. */
export function atStep(run: Parameters<typeof title>[0], step: number): string {
  return `${title(run)}, step ${count(step)}`
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

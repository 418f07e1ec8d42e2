// What things of a run are called.

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

export function title(run: Pick<RunSummary, 'input' | 'id'>): string {
  const { trigger_phrase: trigger, prompt, training_data_url: url } = run.input ?? {}
  if (trigger || prompt) return String(trigger || prompt)
  const file = typeof url === 'string' && !url.startsWith('data:') ? (url.split('/').pop() ?? '') : ''
  return decodeURIComponent(file.replace(/\.zip$/, '')) || `Run ${run.id.slice(0, 8)}`
}

export function prompts(input: RunSummary['input']): string[] {
  return ((input?.validation ?? []) as { prompt: string }[]).map((entry) => entry.prompt)
}

// The settings of a sound that was made, as the Try screen's form holds them.

import { modeOf } from './modes'
import type { Given } from './given'
import type { Values } from './schema'
import type { Chosen, Wish } from './trials.svelte'
import type { Run, RunSummary } from './types'
import { atStep, fileName, title } from './run_names'
import { words } from './words'

export interface Reused {
  wish: Wish
  /** What the form has no field for, by the names of the request. */
  lost: string[]
}

const KNOWN = [
  'prompt', 'seed', 'loras', 'num_frames', 'frames_per_second', 'guidance_scale', 'num_inference_steps', 'negative_prompt',
  'sync_mode', 'audio_url', 'audio_mode', 'spans', 'conditioning_seconds', 'added_seconds',
]

/** The form's values of a sound, its LoRAs named after the runs that made them; or a sentence why there are none. */
export function reused(run: Pick<Run, 'endpoint' | 'input' | 'result'>, trainings: RunSummary[]): Reused | string {
  if (modeOf(run.endpoint)) return words.tries.aTraining
  const input = run.input
  if (!input) return words.tries.deleted
  const given = givenOf(input)
  const lost = Object.keys(input).filter((name) => !KNOWN.includes(name) && input[name] !== null)
  if (!given) lost.push('audio_url')
  return {
    wish: {
      prompt: String(input.prompt ?? ''),
      seed: Number(run.result?.seed ?? input.seed ?? 1),
      seconds: seconds(input),
      loras: ((input.loras ?? []) as { path: string; scale?: number }[]).map((lora) => chosen(lora, trainings)),
      guidance: number(input.guidance_scale),
      steps: number(input.num_inference_steps),
      negative: String(input.negative_prompt ?? ''),
      given: given ?? { url: '', becomes: 'extend-prefix', spans: [], heard: null, added: null },
    },
    lost,
  }
}

/** A server may be reached by several names; the address of a file is the same behind them. */
export function sameFile(one: string, other: string): boolean {
  const path = (url: string) => url.slice(Math.max(0, url.indexOf('/files/')))
  return path(one) === path(other)
}

function chosen({ path, scale }: { path: string; scale?: number }, trainings: RunSummary[]): Chosen {
  const strength = scale ?? 1
  for (const run of trainings) {
    if (run.lora && sameFile(run.lora.url, path)) return { run: run.id, name: title(run), path: run.lora.url, strength }
    const found = run.checkpoints.find(({ file }) => sameFile(file.url, path))
    if (found) return { run: run.id, name: atStep(run, found.step), path: found.file.url, strength }
  }
  return { run: path, name: fileName(path) || words.tries.aLora, path, strength }
}

/** Half seconds, as the form's slider has them; it asks for eight frames at a time. */
function seconds(input: Values): number {
  const length = (Number(input.num_frames ?? 121) - 1) / Number(input.frames_per_second ?? 24)
  return Math.min(20, Math.max(1, Math.round(2 * length) / 2))
}

function number(value: unknown): number | null {
  return typeof value === 'number' ? value : null
}

/** The sound that it began with; null where the server tells no more than the beginning of it. */
function givenOf(input: Values): Given | null {
  const url = String(input.audio_url ?? '')
  if (url.startsWith('data:')) return null
  return {
    url,
    becomes: (input.audio_mode ?? 'extend-prefix') as Given['becomes'],
    spans: ((input.spans ?? []) as Given['spans']).map((span) => ({ ...span })),
    heard: number(input.conditioning_seconds),
    added: number(input.added_seconds),
  }
}

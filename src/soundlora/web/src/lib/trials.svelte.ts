// Sounds that were asked for on the Try screen, newest first; they outlive a visit to another screen.

import { follow, runs, submit } from './api'
import { usual } from './checkpoints'
import { givenFields, type Given } from './given'
import { problemFrom, problemOfError, type Problem } from './problems'
import type { Values } from './schema'
import { SPEAKING, SPEAKING_WITH_LORA, type File, type Run, type RunSummary } from './types'

export interface Chosen {
  run: string
  name: string
  path: string
  strength: number
}

export interface Trial {
  key: number
  prompt: string
  seed: number
  seconds: number
  loras: Chosen[]
  guidance: number | null
  steps: number | null
  negative: string
  given: Given
  change: Partial<Run>
  audio: File | null
  problem: Problem | null
}

export const FRAME_RATE = 24

export type Wish = Pick<Trial, 'prompt' | 'seconds' | 'seed' | 'loras' | 'guidance' | 'steps' | 'negative' | 'given'>

export const wish: Wish = $state({
  prompt: '',
  seconds: 5,
  seed: 1,
  loras: [] as Chosen[],
  guidance: null as number | null,
  steps: null as number | null,
  negative: '',
  given: { url: '', becomes: 'extend-prefix', spans: [], heard: null, added: null } as Given,
})

export const trials = $state({ all: [] as Trial[], finished: [] as RunSummary[], loaded: false })

export async function loadFinished(): Promise<void> {
  const { runs: found } = await runs({ kind: 'training', limit: '100' })
  // A run that goes on, or was cancelled, can be tried as soon as it has a checkpoint. Favourites come first, and else
  // the latest.
  trials.finished = found.filter((run) => usual(run)).toSorted((a, b) => Number(b.starred ?? false) - Number(a.starred ?? false))
  trials.loaded = true
}


let last = 0

/** The endpoint and the request of a sound. */
export function requestOf({ prompt, seconds, seed, loras, guidance, steps, negative, given }: Wish): [string, Values] {
  const request = {
    prompt,
    // A sound that is given has a length of its own.
    ...(given.url ? givenFields(given) : {
      num_frames: Math.max(9, Math.min(481, Math.round((seconds * FRAME_RATE) / 8) * 8 + 1)),
      frames_per_second: FRAME_RATE,
    }),
    seed,
    ...(guidance === null ? {} : { guidance_scale: guidance }),
    ...(steps === null ? {} : { num_inference_steps: steps }),
    ...(negative.trim() ? { negative_prompt: negative } : {}),
    ...(loras.length ? { loras: loras.map(({ path, strength: scale }) => ({ path, scale, transformer: 'both' })) } : {}),
  }
  return [loras.length ? SPEAKING_WITH_LORA : SPEAKING, request]
}

/** Ask for a sound as it is wished, with `strength` for every LoRA when it is given. */
export async function hear(strength?: number): Promise<void> {
  const { prompt, seconds, seed, guidance, steps, negative } = wish
  const given = $state.snapshot(wish.given) as Given
  const loras = wish.loras.map((one) => ({ ...one, strength: strength ?? one.strength }))
  trials.all.unshift({
    key: (last += 1), prompt, seconds, seed, loras, guidance, steps, negative, given, change: {}, audio: null, problem: null,
  })
  const trial = trials.all[0]!
  try {
    const id = await submit(...requestOf({ ...trial, loras, given }))
    await follow(id, (change) => Object.assign(trial.change, change), new AbortController().signal)
    const { outcome, status_code: code, result } = trial.change
    if (outcome === 'succeeded') trial.audio = result?.audio ?? null
    else trial.problem = problemFrom(code ?? 500, result)
  } catch (error) {
    trial.problem = problemOfError(error)
  }
}

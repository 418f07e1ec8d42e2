// What a LoRA can learn: each mode has an endpoint of its own, and needs something beside each clip.

import { words } from './words'

const TRAINERS = 'fal-ai/ltx23-trainer-v2/'

export type ModeName = 't2a' | 'extend-prefix' | 'extend-suffix' | 'inpaint' | 'a2a'

export interface Mode {
  name: ModeName
  endpoint: string
  title: string
  about: string
  /** What to drop. */
  data: string
}

const ENDPOINTS: [ModeName, string][] = [
  ['t2a', 't2a'],
  ['extend-prefix', 'audio-extend-prefix'],
  ['extend-suffix', 'audio-extend-suffix'],
  ['inpaint', 'audio-inpaint'],
  ['a2a', 'a2a'],
]

export const MODES: Mode[] = ENDPOINTS.map(([name, path]) => ({ name, endpoint: TRAINERS + path, ...words.modes[name] }))

export function modeNamed(name: ModeName): Mode {
  return MODES.find((mode) => mode.name === name)!
}

/** The mode that an endpoint trains, by whichever of its names; null for what is no training. */
export function modeOf(endpoint: string): Mode | null {
  if (endpoint === `${TRAINERS}ic-lora/a2a`) return modeNamed('a2a')
  return MODES.find((mode) => mode.endpoint === endpoint) ?? null
}

// A sound that a generation begins with, and what becomes of it.

import type { ModeName } from './modes'
import type { Values } from './schema'
import type { Span } from './spans'

export interface Given {
  url: string
  becomes: Exclude<ModeName, 't2a'>
  spans: Span[]
  /** Seconds that the model hears, and that it adds; null leaves them to the server. */
  heard: number | null
  added: number | null
}

export const BECOMES: Given['becomes'][] = ['extend-prefix', 'extend-suffix', 'inpaint', 'a2a']

export function extended(given: Given): boolean {
  return given.becomes === 'extend-prefix' || given.becomes === 'extend-suffix'
}

/** The fields of a generation, only those that belong to what becomes of the sound. */
export function givenFields(given: Given): Values {
  if (!given.url) return {}
  return {
    audio_url: given.url,
    audio_mode: given.becomes,
    ...(given.becomes === 'inpaint' ? { spans: given.spans } : {}),
    ...(extended(given) && given.heard !== null ? { conditioning_seconds: given.heard } : {}),
    ...(extended(given) && given.added !== null ? { added_seconds: given.added } : {}),
  }
}

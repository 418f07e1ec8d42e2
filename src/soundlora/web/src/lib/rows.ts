// The clips as a table: what was dropped beside what the server said of it.

import { pairsOf, TOLERANCE, type LocalClip } from './clips'
import { trimmed } from './format'
import { secondsOf, verdictOf } from './look'
import type { ModeName } from './modes'
import type { Values } from './schema'
import type { ClipReport, DatasetReport } from './types'
import { words } from './words'

export interface Row {
  name: string
  local: LocalClip | null
  /** The other side of a pair, which is given. */
  start: LocalClip | null
  lack: string
  told: ClipReport | null
  kept: boolean | null
  reason: string
}

/** More clips are refused. */
const MOST = 2000

function base(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1)
}

/** What a first look says of a clip, for as long as the server has not spoken. */
function firstLook({ look }: LocalClip, bucket: number): { kept: boolean | null; reason: string } {
  if (!look) return { kept: null, reason: '' }
  const verdict = verdictOf(look, bucket)
  const short = words.dataset.tooShort(trimmed(secondsOf(look), 2), trimmed(bucket, 2))
  return { kept: verdict === 'kept', reason: verdict === 'short' ? short : verdict === 'silent' ? words.dataset.silent : '' }
}

/** Whether a first look at clips tells what becomes of them: what counts is their length and their sound alone. */
export function isPlainCase(clips: LocalClip[], mode: ModeName, { short, windows, shorter_durations: shorter }: Values): boolean {
  const others = short === 'pad' || windows === 'all' || (Array.isArray(shorter) && shorter.length) || mode === 'a2a' || mode === 'inpaint'
  // The server refuses a set in which two clips share a name.
  const names = new Set(clips.map(({ name }) => base(name).replace(/\.[^.]*$/, '').toLowerCase()))
  return !others && names.size === clips.length && clips.length <= MOST
}

/** While the line is dragged, the length decides; when it rests, the server has the last word. */
export function rowsOf(clips: LocalClip[], report: DatasetReport | null, bucket: number, mode: ModeName, plain = false): Row[] {
  const pairs = mode === 'a2a' ? pairsOf(clips) : []
  const untold = { told: null, kept: null, reason: '' }
  if (!report && mode === 'a2a') return pairs.map(({ name, start, end, lack }) => ({ name: end?.name ?? name, local: end, start, lack, ...untold }))
  if (!report) return clips.map((local) => ({ name: local.name, local, start: null, lack: '', ...untold, ...(plain && firstLook(local, bucket)) }))
  const starts = new Map(pairs.map(({ start, end }) => [end?.name, start] as const))
  const whole = new Map(clips.map((clip) => [clip.name, clip] as const))
  // A zip may hold a clip in a folder that the report does not name, or the other way round.
  const short = new Map(clips.map((clip) => [base(clip.name), clip] as const))
  return report.clips.map((told) => {
    const local = whole.get(told.name) ?? short.get(base(told.name)) ?? null
    const { seconds, problem } = told
    const missing = seconds !== null && seconds + TOLERANCE < bucket
    // Where later windows begin depends on the length too, which the server tells.
    const byLength = report.duration !== bucket && !told.offset && seconds !== null && (problem === null || problem === 'too_short' || /short/i.test(problem))
    const kept = byLength ? !missing : told.status === 'kept'
    const reason = byLength && missing ? words.dataset.tooShort(trimmed(seconds, 2), trimmed(bucket, 2)) : (told.reason ?? '')
    return { name: told.name, local, start: starts.get(local?.name) ?? null, lack: '', told, kept, reason: kept ? '' : reason }
  })
}

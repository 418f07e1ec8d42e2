// The draft is kept in the browser until its run has started: a reload, a crash or a closed tab loses nothing.

import { check, DATA, draft, dropped, lacks, localData, send } from './draft.svelte'
import { find, keep, keepAtOnce, leave, letGo } from './keep'
import type { ModeName } from './modes'
import { toRequest, type Values } from './schema'
import type { Span } from './spans'
import { words } from './words'
import type { Entry } from './zip'

interface Kept {
  at: number
  mode: ModeName
  values: Values
  extras: Values
  name: string
  stopped: boolean
  clips: { name: string; caption: string; original: string; spans: Span[]; originalSpans: Span[] }[]
}

/** Whether the browser has a draft for this tab to write to, and what was in it has been brought back. */
let able = $state(false)
/** The draft as it was last looked at, and as the database has it. */
let seen = ''
let safe = ''
/** The files that are in the database, and those that it had no room for. */
let stored: Entry[] | null = null
let refused: Entry[] | null = null
let later: ReturnType<typeof setTimeout> | undefined
let waiting: 'stopped' | 'unchecked' | null = null
let restoring: Promise<void> | null = null

/** Bring back what this tab, or one that is gone, had left, and go on with it. */
export async function restore(): Promise<void> {
  await (restoring ??= found().then(() => void (able = true), unable))
}

async function found(): Promise<void> {
  const kept = await find<Kept>()
  if (!kept) return
  // Who drops something at once means that.
  if (draft.step !== 'empty' || draft.shown) return leave()
  const { mode, values, extras, name, stopped, clips } = kept.draft
  Object.assign(draft, { mode, values, extras })
  // The page may have gone before its files were written.
  if (!name || !(kept.files.length || values[DATA])) return
  draft.name = name
  stored = dropped.files = kept.files
  draft.step = 'reading'
  if (kept.files.length) await localData(kept.files).then((data) => (draft.data = data), () => undefined)
  const by = new Map(clips.map((clip) => [clip.name, clip] as const))
  draft.data?.clips.forEach((clip) => {
    const { caption, spans } = clip
    Object.assign(clip, by.get(clip.name))
    // A zip is sent as it was dropped only while its clips are as they were.
    if (clip.caption !== caption || JSON.stringify(clip.spans) !== JSON.stringify(spans)) draft.packed = null
  })
  waiting = stopped ? 'stopped' : 'unchecked'
}

/** Have the clips that were brought back looked through, now that the form is there. */
export async function goOn(): Promise<void> {
  const { step, data, packed } = draft
  const was = waiting
  waiting = null
  if (!was || step !== 'reading') return
  const here = Boolean(data ?? packed)
  if (was === 'stopped') draft.step = 'stopped'
  else if (!draft.values[DATA] || lacks().length) await send()
  // What was uploaded may be gone from the server by now.
  else if (!(await check()) && draft.problem?.status && here) await send()
}

/** The draft is that of a run now. */
export async function started(): Promise<void> {
  clearTimeout(later)
  later = undefined
  stored = null
  safe = state()
  if (able) await letGo().catch(() => undefined)
}

/** What is here stays for the next tab that opens, and another draft begins. */
export async function setAside(): Promise<void> {
  await restoring
  if (later) await save()
  stored = null
  if (able) await leave().catch(unable)
}

function unable(error: unknown): void {
  const full = (error as Error | null)?.name === 'QuotaExceededError'
  draft.unkept = full
    ? words.dataset.full
    : words.dataset.unkept
}

/** Whether there is something to keep. Clips come back before the form, or without it while the server is away. */
function begun(): boolean {
  return able && Boolean(draft.shown || draft.name)
}

function nothing(): boolean {
  const request = toRequest(draft.fields, draft.values, draft.extras)
  return !draft.name && draft.mode === 't2a' && !Object.values(request).some(Boolean)
}

function written(): Kept {
  const clips = draft.data?.clips ?? []
  const { mode, values, extras, name, step } = draft
  return $state.snapshot({
    at: Date.now(), mode, values, extras, name, stopped: step === 'stopped',
    clips: clips.map(({ name, caption, original, spans, originalSpans }) => ({ name, caption, original, spans, originalSpans })),
  })
}

/** All that is kept, but for the clips, whose changes are counted. */
function state(): string {
  const { mode, values, extras, name, edits, step } = draft
  return JSON.stringify([mode, values, extras, name, edits, step === 'stopped'])
}

async function save(): Promise<void> {
  later = undefined
  const { files } = dropped
  if (!able || files === refused) return
  const now = state()
  try {
    if (nothing()) await letGo()
    else {
      const fresh = files !== stored
      stored = files
      await keep(written(), fresh ? files : null)
    }
    safe = now
    draft.unkept = ''
  } catch (error) {
    refused = files
    stored = null
    unable(error)
    await letGo().catch(() => undefined)
  }
}

$effect.root(() => {
  $effect(() => {
    if (!begun()) return
    const now = state()
    if (now === seen) return
    seen = now
    clearTimeout(later)
    later = setTimeout(save, 150)
  })
})

// There is no time for a database when the page goes: what has not reached it then never does.
function lastChance(): void {
  const files = stored === dropped.files || !dropped.files.length
  if (!begun() || !files || state() === safe || (!safe && nothing())) return
  try {
    keepAtOnce(written())
  } catch {
    // Storage that is full or shut keeps nothing, which the page has said if it knew.
  }
}
addEventListener('pagehide', lastChance)
// A page that is hidden may be ended without a word.
document.addEventListener('visibilitychange', () => document.hidden && lastChance())

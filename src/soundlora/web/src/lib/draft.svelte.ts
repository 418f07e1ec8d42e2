// The training that is being prepared: it outlives a visit to another screen.

import { inspect, openApi, pricePerStep, machine, submit, upload } from './api'
import { entriesOf, pairUp, type LocalData } from './clips'
import { OFFLINE, problemOfError, type Problem } from './problems'
import { defaults, fieldsOf, fromRequest, problemOf, toRequest, type Field, type Values } from './schema'
import { TRAINING, type DatasetReport, type Machine } from './types'
import { readZip, writeZip, type Entry } from './zip'

/** Open in the form; all others are folded. */
export const USUAL = ['trigger_phrase', 'validation', 'number_of_steps', 'rank']
export const DATA = 'training_data_url'
export const BUCKET = 'audio_duration_seconds'

export const draft = $state({
  fields: [] as Field[],
  values: {} as Values,
  extras: {} as Values,
  price: null as number | null,
  machine: null as Machine | null,
  name: '',
  data: null as LocalData | null,
  /** The dropped zip itself; null where one has to be packed. */
  packed: null as Blob | null,
  step: 'empty' as 'empty' | 'reading' | 'packing' | 'sending' | 'checking' | 'ready' | 'failed' | 'stopped',
  share: 0,
  report: null as DatasetReport | null,
  problem: null as Problem | null,
  /** What the server said about fields, until they change. */
  fieldProblems: {} as Record<string, string>,
  starting: false,
})

let stop = new AbortController()

export async function open(): Promise<void> {
  if (draft.fields.length) return
  const [document, price] = await Promise.all([openApi(TRAINING), pricePerStep().catch(() => null)])
  draft.fields = fieldsOf(document)
  draft.values = { ...defaults(draft.fields), ...draft.values }
  draft.price = price
  void machine().then((found) => (draft.machine = found), () => undefined)
}

/** Fill the form from a request that ran before. */
export async function clone(request: Values): Promise<void> {
  await open()
  clear()
  const { values, extras } = fromRequest(draft.fields, request)
  draft.values = values
  draft.extras = extras
  const url = String(values[DATA] ?? '')
  draft.name = decodeURIComponent(url.split('/').pop() ?? url).slice(0, 80)
  if (url) await check()
}

export function clear(): void {
  stop.abort()
  Object.assign(draft, { name: '', data: null, packed: null, step: 'empty', share: 0, report: null, problem: null })
  draft.values[DATA] = ''
  delete draft.fieldProblems[DATA]
}

/** Take what was dropped: a zip, or files that become one. */
export async function take(entries: Entry[], name?: string): Promise<void> {
  clear()
  draft.step = 'reading'
  const zip = entries.length === 1 && entries[0]!.name.toLowerCase().endsWith('.zip') ? entries[0]! : null
  draft.name = name ?? (zip ? zip.name : folderName(entries))
  draft.packed = zip?.blob ?? null
  try {
    draft.data = await pairUp(zip ? await readZip(zip.blob) : entries)
  } catch (error) {
    // The server reads more kinds of zips than the browser does, and says better what is wrong with one.
    if (!zip) throw error
    draft.data = null
  }
  if (draft.data && !draft.data.clips.length && !zip) {
    fail({ ...OFFLINE, type: '', sentence: 'No audio files were found in what you dropped.', remedy: 'wav, mp3, flac, ogg, aac and m4a are read.' })
    return
  }
  await send()
}

function folderName(entries: Entry[]): string {
  const first = entries[0]?.name ?? ''
  return first.includes('/') ? first.slice(0, first.indexOf('/')) : `${entries.length} files`
}

/** Pack what has to be packed, upload, and have it checked. */
export async function send(): Promise<boolean> {
  stop = new AbortController()
  const { signal } = stop
  draft.problem = null
  try {
    if (!draft.packed && draft.data) {
      draft.step = 'packing'
      draft.packed = await writeZip(entriesOf(draft.data))
    }
    draft.step = 'sending'
    draft.share = 0
    const name = draft.name.toLowerCase().endsWith('.zip') ? draft.name : `${draft.name || 'clips'}.zip`
    const url = await upload(draft.packed!, name, (share) => (draft.share = share), signal)
    // Not in one line: the values may be others by now than when the upload began.
    draft.values[DATA] = url
    draft.data?.clips.forEach((clip) => (clip.original = clip.caption))
  } catch (error) {
    if (signal.aborted) return false
    fail(problemOfError(error))
    return false
  }
  return check()
}

export function stopUpload(): void {
  stop.abort()
  draft.step = 'stopped'
}

let checking: AbortController | null = null

/** Ask the server what training would make of every clip. */
export async function check(): Promise<boolean> {
  checking?.abort()
  checking = new AbortController()
  const { signal } = checking
  draft.step = 'checking'
  draft.problem = null
  try {
    const names = [DATA, BUCKET, 'trigger_phrase', 'audio_normalize', 'audio_preserve_pitch', 'validation']
    const { fields, values } = draft
    const wanted = toRequest(fields.filter((f) => names.includes(f.name) && !problemOf(f, values[f.name])), values)
    draft.report = await inspect({ [DATA]: values[DATA], ...wanted }, signal)
    draft.step = 'ready'
    return true
  } catch (error) {
    if (signal.aborted) return false
    draft.report = null
    fail(problemOfError(error))
    return false
  }
}

function fail(problem: Problem): void {
  draft.step = 'failed'
  draft.problem = problem
}

let later: ReturnType<typeof setTimeout> | undefined

/** Check again in a moment, when something changed that the report depends on. */
export function checkSoon(): void {
  clearTimeout(later)
  if (draft.values[DATA]) later = setTimeout(() => ['ready', 'failed'].includes(draft.step) && check(), 600)
}

export function editCaption(name: string, caption: string): void {
  const clip = draft.data?.clips.find((one) => one.name === name)
  if (clip) clip.caption = caption
  if (edited()) draft.packed = null
}

export function edited(): boolean {
  return draft.data?.clips.some((clip) => clip.caption.trim() !== clip.original) ?? false
}

export function request(): Values {
  return toRequest(draft.fields, draft.values, draft.extras, USUAL.slice(2))
}

export function problems(): Record<string, string> {
  const found: Record<string, string> = {}
  for (const field of draft.fields) {
    const problem = problemOf(field, draft.values[field.name]) ?? draft.fieldProblems[field.name]
    if (problem) found[field.name] = problem
  }
  return found
}

/** Send the request; returns its id, or null when something has to be mended first. */
export async function start(): Promise<string | null> {
  draft.starting = true
  try {
    if (edited() && !(await send())) return null
    return await submit(TRAINING, request())
  } catch (error) {
    const problem = problemOfError(error)
    draft.fieldProblems = problem.fields
    draft.problem = problem
    return null
  } finally {
    draft.starting = false
  }
}

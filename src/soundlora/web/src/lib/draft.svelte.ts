// The training that is being prepared: it outlives a visit to another screen.

import { inspect, local, openApi, pricePerStep, machine, submit, upload } from './api'
import { changesOf, entriesOf, lacksOf, pairUp, sentOf, type LocalClip, type LocalData } from './clips'
import { trimmed } from './format'
import { lookOver } from './look'
import { modeNamed, modeOf, type ModeName } from './modes'
import { OFFLINE, problemOfError, type Problem } from './problems'
import { defaults, fieldsOf, fromRequest, problemOf, soundOf, toRequest, type Field, type Prompt, type Values } from './schema'
import type { Span } from './spans'
import type { DatasetReport, Machine } from './types'
import { words } from './words'
import { readZip, zipOf, type Entry, type Pieces } from './zip'

/** Open in the form; all others are folded. */
export const USUAL = ['trigger_phrase', 'validation', 'conditioning_seconds', 'number_of_steps', 'rank']
export const DATA = 'training_data_url'
export const BUCKET = 'audio_duration_seconds'
const GIVEN = 'conditioning_seconds'
/** What the report depends on. */
export const REPORTED = [
  BUCKET, 'trigger_phrase', 'audio_normalize', 'audio_preserve_pitch', 'validation', 'shorter_durations', 'short', 'windows',
  'captions_from', 'caption_template',
]

export const draft = $state({
  mode: 't2a' as ModeName,
  /** The mode that fields and price are of. */
  shown: null as ModeName | null,
  fields: [] as Field[],
  values: {} as Values,
  extras: {} as Values,
  price: null as number | null,
  machine: null as Machine | null,
  name: '',
  data: null as LocalData | null,
  /** What is sent: the dropped zip itself, or the one that was made of the clips; null where one has to be made. */
  packed: null as Pieces | null,
  /** Lacking: the clips are not sent before they have the spans, or the other halves, that the mode needs. */
  step: 'empty' as 'empty' | 'reading' | 'lacking' | 'sending' | 'checking' | 'ready' | 'failed' | 'stopped',
  share: 0,
  report: null as DatasetReport | null,
  problem: null as Problem | null,
  /** What the server said about fields, until they change. */
  fieldProblems: {} as Record<string, string>,
  starting: false,
  /** What was dropped beside these data and not used, in words. */
  notice: '',
  /** Why a reload would lose all this, or "". */
  unkept: '',
  /** Goes up with each change of the clips. */
  edits: 0,
})

/** What the clips were read from: a zip, or files. */
export const dropped = { files: [] as Entry[] }

let stop = new AbortController()

export function endpoint(): string {
  return modeNamed(draft.mode).endpoint
}

/** Read the form of the chosen mode. What was filled in stays. */
export async function open(): Promise<void> {
  const { mode } = draft
  if (draft.shown === mode) return
  const [document, price] = await Promise.all([openApi(endpoint()), pricePerStep(endpoint()).catch(() => null)])
  if (draft.mode !== mode) return
  draft.fields = fieldsOf(document)
  const { values, extras } = fromRequest(draft.fields, draft.extras)
  const typed = Object.keys(draft.extras).filter((name) => !(name in extras))
  draft.values = { ...values, ...draft.values, ...Object.fromEntries(typed.map((name) => [name, values[name]])) }
  draft.extras = extras
  const sound = draft.fields.map(soundOf).find(Boolean)
  for (const entry of (draft.values.validation ?? []) as Prompt[]) {
    if (sound && !entry[sound]) entry[sound] = entry.audio_url ?? entry.reference_audio_url
  }
  draft.fieldProblems = {}
  draft.price = price
  draft.shown = mode
  if (!draft.machine) void machine().then((found) => (draft.machine = found), () => undefined)
}

/** Choose what is learnt: the form becomes that of another endpoint, and the clips are looked through again. */
export async function choose(mode: ModeName): Promise<void> {
  draft.mode = mode
  draft.problem = null
  if (draft.data?.clips.length && !['empty', 'reading', 'stopped'].includes(draft.step)) {
    if (lacks().length) wait()
    else if (draft.step !== 'sending') void (draft.values[DATA] && !edited() ? check() : send())
  } else if (draft.values[DATA] && ['checking', 'ready', 'failed'].includes(draft.step)) void check()
  await open()
}

/** What the chosen mode needs and the clips lack, a sentence each. */
export function lacks(): string[] {
  return lacksOf(draft.mode, draft.data?.clips ?? [])
}

/** Leave the clips unsent until they have what they lack. */
function wait(): void {
  stop.abort()
  checking?.abort()
  draft.report = null
  draft.step = 'lacking'
}

/** Fill the form from a request that ran before on an endpoint. */
export async function clone(request: Values, on: string): Promise<void> {
  clear()
  draft.mode = modeOf(on)?.name ?? 't2a'
  await open()
  const { values, extras } = fromRequest(draft.fields, request)
  draft.values = values
  draft.extras = extras
  const url = String(values[DATA] ?? '')
  draft.name = decodeURIComponent(url.split('/').pop() ?? url).slice(0, 80)
  if (!url) return
  stop = new AbortController()
  const { signal } = stop
  draft.step = 'reading'
  await takeBack(url, signal)
  if (!signal.aborted) await check()
}

/** Get the clips of a run from the server that keeps them, so that their captions can be edited. */
async function takeBack(url: string, signal: AbortSignal): Promise<void> {
  // Other machines don't give their files to this page.
  if (!/^data:|\/files\/[0-9a-f]{32}(\/|$)/.test(url)) return
  try {
    const response = await fetch(local(url), { signal })
    if (!response.ok) throw new Error()
    const files = [{ name: 'clips.zip', blob: await response.blob() }]
    const data = await localData(files)
    if (signal.aborted) return
    draft.data = data
    dropped.files = files
    draft.edits += 1
  } catch {
    if (!signal.aborted) draft.notice = words.dataset.gone
  }
}

export function clear(): void {
  stop.abort()
  checking?.abort()
  clearTimeout(later)
  Object.assign(draft, { name: '', data: null, packed: null, step: 'empty', share: 0, report: null, problem: null, notice: '' })
  dropped.files = []
  draft.edits += 1
  draft.values[DATA] = ''
  delete draft.fieldProblems[DATA]
}

/** Take a zip that lies at an address. */
export function useAddress(address: string): void {
  clear()
  draft.name = address
  draft.values[DATA] = address
}

function isZip(entry: Entry): boolean {
  return entry.name.toLowerCase().endsWith('.zip')
}

/** The clips of what was dropped. A zip by itself is sent as it is, for as long as nothing in it is changed. */
export async function localData(entries: Entry[]): Promise<LocalData> {
  const alone = entries.length === 1 && isZip(entries[0]!)
  draft.packed = alone ? entries[0]!.blob : null
  return pairUp(alone ? await readZip(entries[0]!.blob) : entries)
}

/** Take what was dropped: a zip, or files that become one. Where clips are already, it is added to them. */
export async function take(entries: Entry[], name?: string): Promise<void> {
  if (draft.data?.clips.length) return add(entries, draft.data)
  clear()
  stop = new AbortController()
  const { signal } = stop
  draft.step = 'reading'
  const zip = entries.length === 1 && isZip(entries[0]!)
  draft.name = name ?? (zip ? entries[0]!.name : folderName(entries))
  dropped.files = entries
  let data: LocalData | null = null
  try {
    data = await localData(entries)
  } catch (error) {
    // The server reads more kinds of zips than the browser does, and says better what is wrong with one.
    if (!zip && !signal.aborted) return fail(problemOfError(error))
  }
  if (signal.aborted) return
  draft.data = data
  draft.edits += 1
  if (data && !data.clips.length && !zip) {
    return fail({ ...OFFLINE, type: '', sentence: words.dataset.noAudio, remedy: words.dataset.audioFormats })
  }
  await send()
}

/** Add files to the clips, or put them in the place of those of the same name. What was typed stays. */
async function add(entries: Entry[], had: LocalData): Promise<void> {
  draft.notice = ''
  try {
    const fresh = (await Promise.all(entries.map((entry) => (isZip(entry) ? readZip(entry.blob) : [entry])))).flat()
    const all = new Map([...entriesOf(had), ...had.others, ...fresh].map((entry) => [entry.name, entry] as const))
    const data = await pairUp([...all.values()])
    const unused = new Set(data.others.map((entry) => entry.name))
    if (draft.data !== had) return
    if (fresh.every((entry) => unused.has(entry.name))) {
      draft.notice = words.dataset.nothingNew
      return
    }
    stop.abort()
    checking?.abort()
    Object.assign(draft, { data, packed: null, report: null })
    draft.values[DATA] = ''
    dropped.files = [...all.values()]
    draft.edits += 1
  } catch (error) {
    draft.notice = words.dataset.unreadable(problemOfError(error).sentence)
    return
  }
  await send()
}

/** Put the pieces of a recording in its place. Each has its caption. */
export async function replaceWith(clip: LocalClip, pieces: Blob[]): Promise<void> {
  const { data } = draft
  if (!data) return
  const names = new Set(data.clips.map((one) => one.name))
  const cut = pieces.map((blob, n): LocalClip => {
    let name = `${clip.name.replace(/\.[^./]+$/, '')}_${String(n + 1).padStart(3, '0')}`
    while (names.has(`${name}.wav`)) name += '_'
    return { name: `${name}.wav`, blob, caption: clip.caption, original: '', spans: [], originalSpans: [] }
  })
  stop.abort()
  checking?.abort()
  const next = { ...data, clips: data.clips.flatMap((one) => (one.name === clip.name ? cut : one)) }
  Object.assign(draft, { data: next, packed: null, report: null })
  draft.values[DATA] = ''
  dropped.files = [...entriesOf(next), ...next.others]
  draft.edits += 1
  await send()
}

function folderName(entries: Entry[]): string {
  const first = entries[0]?.name ?? ''
  return first.includes('/') ? first.slice(0, first.indexOf('/')) : words.dataset.files(entries.length)
}

/** Upload, packed as one, and have it checked; clips that lack something stay here. */
export async function send(): Promise<boolean> {
  if (lacks().length) {
    wait()
    return false
  }
  stop = new AbortController()
  const { signal } = stop
  draft.problem = null
  const clips = draft.data?.clips ?? []
  const looked = lookThrough()
  // What is typed from here on is not in what is sent.
  const sent = clips.map((clip) => ({ original: clip.caption.trim(), originalSpans: clip.spans }))
  let { packed } = draft
  const entries = !packed && draft.data ? sentOf(draft.data) : null
  draft.step = 'sending'
  draft.share = 0
  try {
    if (entries) {
      // Summing up the bytes of all would keep what little the look reads waiting.
      await looked
      if (signal.aborted) return false
      packed = zipOf(entries)
    }
    const name = draft.name.toLowerCase().endsWith('.zip') ? draft.name : `${draft.name || 'clips'}.zip`
    const url = await upload(packed!, name, (share) => (draft.share = share), signal)
    // Not in one line: the values may be others by now than when the upload began.
    draft.values[DATA] = url
    clips.forEach((clip, n) => Object.assign(clip, sent[n]))
    draft.packed = edited() ? null : packed
    draft.edits += 1
  } catch (error) {
    if (signal.aborted) return false
    fail(problemOfError(error))
    return false
  }
  return check()
}

function lookThrough(): Promise<void> {
  const { data } = draft
  return lookOver(data?.clips ?? [], () => draft.data === data)
}

export function stopUpload(): void {
  stop.abort()
  draft.step = 'stopped'
}

let checking: AbortController | null = null

/** What the report is asked for. */
function wanted(): Values {
  const { fields, values, extras } = draft
  const besides = Object.fromEntries(REPORTED.flatMap((name) => (name in extras ? [[name, extras[name]]] : [])))
  const valid = fields.filter((field) => REPORTED.includes(field.name) && !problemOf(field, values[field.name]))
  return { [DATA]: values[DATA], ...toRequest(valid, values, besides), mode: draft.mode }
}

/** Ask the server what training would make of every clip. */
export async function check(): Promise<boolean> {
  clearTimeout(later)
  checking?.abort()
  checking = new AbortController()
  const { signal } = checking
  draft.step = 'checking'
  draft.problem = null
  void lookThrough()
  try {
    const asked = wanted()
    draft.report = await inspect(asked, signal)
    draft.step = 'ready'
    // What was changed meanwhile changes the report.
    return JSON.stringify(wanted()) === JSON.stringify(asked) || (await check())
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

export function editCaptions(changes: [LocalClip, string][]): void {
  for (const [clip, caption] of changes) clip.caption = caption
  touched()
}

export function editSpans(clip: LocalClip, spans: Span[]): void {
  clip.spans = spans
  touched()
}

function touched(): void {
  draft.edits += 1
  if (edited()) draft.packed = null
}

/** What was changed since the clips were sent, in words, or "". */
export function edited(): string {
  return changesOf(draft.data?.clips ?? [])
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
  const [given, bucket] = [draft.values[GIVEN], draft.values[BUCKET]]
  if (draft.fields.some(({ name }) => name === GIVEN) && typeof given === 'number' && typeof bucket === 'number' && given >= bucket) {
    found[GIVEN] ??= words.form.shorter(trimmed(bucket, 2))
  }
  return found
}

/** Send the request; returns its id, or null when something has to be mended first. */
export async function start(): Promise<string | null> {
  draft.starting = true
  try {
    if (edited() && !(await send())) return null
    return await submit(endpoint(), request())
  } catch (error) {
    const problem = problemOfError(error)
    draft.fieldProblems = problem.fields
    draft.problem = problem
    return null
  } finally {
    draft.starting = false
  }
}

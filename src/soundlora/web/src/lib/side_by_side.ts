// What two runs have in common, and where they differ.

import { count } from './format'
import { modeOf } from './modes'
import { BASES_OWN, fromRequest, titleOf, type Field, type Prompt, type Values } from './schema'
import type { Run } from './types'
import { fileName, prompts } from './run_names'
import { words } from './words'

export interface Difference {
  title: string
  a: string
  b: string
}

export interface Settings {
  endpoint: string
  fields: Field[]
  input: Values
}

/** Of a sound these too are the base's own where they are not sent, whatever the schema says. */
const SOUND_OWN = ['num_inference_steps', 'guidance_scale', 'negative_prompt', 'seed']
const TITLES: Record<string, string> = words.sides.titles

/** The settings that differ, as the form names them; what was not sent counts as its default. */
export function differences(a: Settings, b: Settings): Difference[] {
  const found: Difference[] = []
  const [modeA, modeB] = [modeOf(a.endpoint)?.title ?? words.sides.sound, modeOf(b.endpoint)?.title ?? words.sides.sound]
  if (modeA !== modeB) found.push({ title: words.sides.learns, a: modeA, b: modeB })
  const [all, other] = [resolved(a), resolved(b)]
  const fields = new Map([...b.fields, ...a.fields].map((field) => [field.name, field]))
  const names = [...new Set([...a.fields, ...b.fields].map(({ name }) => name).concat(Object.keys(all), Object.keys(other)))]
  for (const name of names) {
    if (JSON.stringify(all[name]) === JSON.stringify(other[name])) continue
    const title = TITLES[name] ?? fields.get(name)?.title ?? titleOf(name)
    let [one, two] = [said(name, all[name]), said(name, other[name])]
    // Two uploads of one name.
    if (one === two) [one, two] = [String(all[name]), String(other[name])]
    found.push({ title, a: one, b: two })
  }
  return found
}

function resolved({ endpoint, fields, input }: Settings): Values {
  const { values, extras } = fromRequest(fields, input)
  if (!modeOf(endpoint)) for (const name of SOUND_OWN) values[name] = input[name] ?? null
  // What is empty says no more than what is not there.
  return Object.fromEntries(Object.entries({ ...values, ...extras }).map(([name, value]) => [name, value === '' || value === undefined ? null : value]))
}

function said(name: string, value: unknown): string {
  if (value === null || value === undefined) return [...BASES_OWN, ...SOUND_OWN].includes(name) && name !== 'seed' ? words.common.basesOwn : words.common.none
  if (typeof value === 'boolean') return value ? words.sides.yes : words.sides.no
  if (typeof value === 'number') return name === 'seed' || Math.abs(value) < 1 ? String(value) : count(value)
  if (Array.isArray(value)) return value.map(entry).join(' · ') || words.common.none
  if (typeof value === 'string') return /^(https?|data):/.test(value) ? fileName(value) || words.sides.data : value
  return JSON.stringify(value)
}

function entry(one: unknown): string {
  const { prompt, path, scale } = (one ?? {}) as Partial<Prompt> & { path?: string; scale?: number }
  if (prompt !== undefined) return prompt
  if (path !== undefined) return words.common.at(fileName(path), String(scale ?? 1))
  return typeof one === 'object' ? JSON.stringify(one) : String(one)
}

/** A step of both runs that can be heard side by side; the end of each is one, whatever its step. */
export interface Moment {
  name: string
  a: number
  b: number
}

export interface Common {
  prompt: string
  /** Which prompt it is in either run. */
  a: number
  b: number
  moments: Moment[]
}

type Heard = Pick<Run, 'input' | 'previews'>

/** The prompts of both runs of which both have made sound, each with the steps that can be compared. */
export function common(a: Heard, b: Heard): Common[] {
  const others = prompts(b.input)
  return prompts(a.input).flatMap((prompt, index) => {
    const other = others.indexOf(prompt)
    if (other < 0) return []
    const [mine, theirs] = [steps(a, index), steps(b, other)]
    const moments: Moment[] = mine.filter((step) => theirs.includes(step)).map((step) => ({ name: step ? words.common.atStep(step) : words.common.beforeTraining, a: step, b: step }))
    const [last, end] = [mine.at(-1), theirs.at(-1)]
    if (last && end && last !== end) moments.push({ name: words.sides.latest(last, end), a: last, b: end })
    return moments.length ? [{ prompt, a: index, b: other, moments }] : []
  })
}

function steps(run: Heard, prompt: number): number[] {
  return run.previews.filter((one) => one.prompt === prompt).map((one) => one.step).sort((a, b) => a - b)
}

// The form, read from the endpoint's own OpenAPI document: fields, ranges, defaults; and the JSON that is sent.

import { count } from './format'
import type { Span } from './spans'
import { words } from './words'

export type Kind = 'text' | 'integer' | 'number' | 'boolean' | 'choice' | 'prompts'

export interface Field {
  name: string
  title: string
  kind: Kind
  description: string
  required: boolean
  default: unknown
  min?: number
  max?: number
  /** Values must be more than this. */
  above?: number
  choices?: (string | number)[]
  most?: number
  /** Of prompts: what each entry has. */
  entry?: string[]
  /** Of a choice that stands for other fields: their values, by choice. It is not sent itself. */
  settings?: Record<string, Values>
}

/** A prompt, and in some modes the sound that is given of its preview. */
export interface Prompt {
  prompt: string
  audio_url?: string
  reference_audio_url?: string
  spans?: Span[]
}

export type Values = Record<string, unknown>

interface Schema {
  [key: string]: unknown
  type?: string
  enum?: (string | number)[]
  const?: unknown
  anyOf?: Schema[]
  allOf?: Schema[]
  $ref?: string
  properties?: Record<string, Schema>
  required?: string[]
  items?: Schema
  default?: unknown
  title?: string
  description?: string
  minimum?: number
  maximum?: number
  exclusiveMinimum?: number
  maxItems?: number
}

export interface OpenApi {
  paths: Record<string, Record<string, { requestBody?: { content?: Record<string, { schema?: Schema }> } }>>
  components?: { schemas?: Record<string, Schema> }
}

/** The fields of the request that the document's POST takes. Fields of no particular type have no control here. */
export function fieldsOf(document: OpenApi): Field[] {
  const schemas = document.components?.schemas ?? {}
  const resolve = (schema: Schema): Schema => {
    if (schema.$ref) {
      const { $ref, ...rest } = schema
      return { ...resolve(schemas[$ref.slice($ref.lastIndexOf('/') + 1)] ?? {}), ...rest }
    }
    if (schema.allOf?.length === 1) return { ...resolve(schema.allOf[0]!), ...schema, allOf: undefined }
    const real = schema.anyOf?.filter((one) => one.type !== 'null')
    return real?.length === 1 ? { ...resolve(real[0]!), ...schema, anyOf: undefined } : schema
  }
  const post = Object.values(document.paths).find((path) => path.post)?.post
  const body = resolve(post?.requestBody?.content?.['application/json']?.schema ?? {})
  const order = (body['x-fal-order-properties'] as string[] | undefined) ?? Object.keys(body.properties ?? {})
  return order.flatMap((name) => {
    const schema = resolve(body.properties?.[name] ?? {})
    const kind = kindOf(schema, resolve)
    if (!kind) return []
    return {
      name,
      kind,
      title: titleOf(name),
      description: schema.description ?? '',
      required: body.required?.includes(name) ?? false,
      default: (BASES_OWN.includes(name) ? null : schema.default) ?? (kind === 'prompts' ? [] : kind === 'text' ? '' : null),
      min: schema.minimum,
      max: schema.maximum,
      above: schema.exclusiveMinimum,
      choices: schema.enum,
      most: schema.maxItems,
      settings: schema['x-settings'] as Record<string, Values> | undefined,
      entry: kind === 'prompts' ? Object.keys(resolve(schema.items!).properties!) : undefined,
    }
  })
}

function kindOf(schema: Schema, resolve: (schema: Schema) => Schema): Kind | null {
  if (schema.enum) return 'choice'
  if (schema.type === 'string') return 'text'
  if (schema.type === 'integer' || schema.type === 'number' || schema.type === 'boolean') return schema.type
  if (schema.type === 'array' && schema.items && resolve(schema.items).properties?.prompt) return 'prompts'
  return null
}

/** Where these are not sent, the base decides, and the default of the schema is not what happens. */
export const BASES_OWN = ['stg_scale', 'validation_negative_prompt']

/** What a field is called: a name that the catalogue lacks becomes words by itself. */
export function titleOf(name: string): string {
  const text = name.replaceAll('_', ' ')
  return (words.fields.titles as Record<string, string>)[name] ?? text.charAt(0).toUpperCase() + text.slice(1)
}

/** What is wrong with a value, in words, or null. */
export function problemOf(field: Field, value: unknown): string | null {
  if (value === null || value === undefined || value === '') {
    if (field.required) return words.form.needed
    return field.kind === 'text' || value === undefined || field.default === null ? null : words.form.value
  }
  if (field.kind === 'number' || field.kind === 'integer') {
    if (typeof value !== 'number' || !Number.isFinite(value)) return words.form.number
    if (field.kind === 'integer' && !Number.isInteger(value)) return words.form.whole
    const { min, max, above } = field
    if ((min !== undefined && value < min) || (max !== undefined && value > max) || (above !== undefined && value <= above)) {
      return words.form.mustBe(range(field))
    }
  }
  if (field.kind === 'choice' && !field.choices?.includes(value as string)) {
    return words.form.oneOf(field.choices?.join(', ') ?? '')
  }
  if (field.kind === 'boolean' && typeof value !== 'boolean') return words.form.trueOrFalse
  if (field.kind === 'text' && typeof value !== 'string') return words.form.text
  if (field.kind === 'prompts') {
    if (!Array.isArray(value)) return words.form.prompts
    if (field.most !== undefined && value.length > field.most) return words.form.mostPrompts(field.most)
    if (value.some((entry) => typeof entry?.prompt !== 'string')) return words.form.prompt
    const sound = soundOf(field)
    const written = cleaned(field, value) as Prompt[]
    if (sound && written.some((entry) => !entry[sound])) return words.form.sound
    if (field.entry?.includes('spans') && written.some((entry) => !entry.spans?.length)) {
      return words.form.span
    }
  }
  return null
}

/** What an entry calls the sound that is given of its preview; undefined where none is. */
export function soundOf(field: Field): 'audio_url' | 'reference_audio_url' | undefined {
  return (['audio_url', 'reference_audio_url'] as const).find((name) => field.entry?.includes(name))
}

/** "from 100 to 20,000", or "" where there is no range. */
export function range(field: Field): string {
  const show = (number: number) => (number < 0.01 && number > 0 ? String(number) : count(number))
  if (field.above !== undefined) {
    return field.max === undefined ? words.form.moreThan(show(field.above)) : words.form.moreThanAtMost(show(field.above), show(field.max))
  }
  if (field.min !== undefined && field.max !== undefined) return words.form.fromTo(show(field.min), show(field.max))
  if (field.min !== undefined) return words.form.atLeast(show(field.min))
  if (field.max !== undefined) return words.form.atMost(show(field.max))
  return ''
}

export function defaults(fields: Field[]): Values {
  return Object.fromEntries(
    fields.map(({ name, default: value }) => [name, Array.isArray(value) ? [...value] : value]),
  )
}

/** The request as it is sent: what is required, what is named in `always`, and what differs from its default. */
export function toRequest(fields: Field[], values: Values, extras: Values = {}, always: string[] = []): Values {
  const request: Values = {}
  for (const field of fields) {
    const value = cleaned(field, values[field.name])
    const same = JSON.stringify(value) === JSON.stringify(field.default)
    if (!field.settings && value !== null && value !== undefined && (field.required || always.includes(field.name) || !same)) {
      request[field.name] = value
    }
  }
  return { ...request, ...extras }
}

/** The values after a choice of a field that stands for others. What another choice had set is as if nobody had. */
export function withChoice(fields: Field[], values: Values, field: Field): Values {
  const usual = defaults(fields)
  const next = { ...values }
  for (const settings of Object.values(field.settings ?? {})) {
    for (const [name, value] of Object.entries(settings)) if (next[name] === value) next[name] = usual[name]
  }
  return { ...next, ...field.settings?.[String(values[field.name])] }
}

function cleaned(field: Field, value: unknown): unknown {
  if (field.kind !== 'prompts' || !Array.isArray(value)) return value
  const written = value.filter((entry) => entry?.prompt?.trim?.() !== '')
  // What another mode's entries have besides stays in the form, so that nothing is lost on the way back.
  return written.map((entry) =>
    Object.fromEntries(Object.entries(entry).filter(([name]) => field.entry?.includes(name) ?? true)),
  )
}

/** The form's values of a request, and what the form has no field for. */
export function fromRequest(fields: Field[], request: Values): { values: Values; extras: Values } {
  const known = new Set(fields.map((field) => field.name))
  const given = Object.entries(request).filter(([, value]) => value !== null)
  const chosen = fields.map(({ name, settings }) => settings?.[String(request[name])])
  return {
    values: Object.assign(defaults(fields), ...chosen, Object.fromEntries(given.filter(([name]) => known.has(name)))),
    extras: Object.fromEntries(given.filter(([name]) => !known.has(name))),
  }
}

/** Read the JSON tab. Returns the sentence of what is wrong instead of a request. */
export function parseJson(text: string): Values | string {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return words.form.object
    }
    return value as Values
  } catch (error) {
    return words.form.notJson((error as Error).message)
  }
}

import { expect, test } from 'vitest'
import { defaults, fieldsOf, fromRequest, parseJson, problemOf, range, toRequest, withChoice, type Field, type OpenApi } from './schema'

const DOCUMENT: OpenApi = {
  paths: {
    '/x/requests/{id}': { get: {} },
    '/x': {
      post: { requestBody: { content: { 'application/json': { schema: { $ref: '#/components/schemas/XInput' } } } } },
    },
  },
  components: {
    schemas: {
      XInput: {
        required: ['training_data_url'],
        'x-fal-order-properties': ['training_data_url', 'rank', 'number_of_steps', 'validation', 'seed', 'frame_rate'],
        properties: {
          number_of_steps: { type: 'integer', default: 2000, minimum: 100, maximum: 20000 },
          training_data_url: { type: 'string' },
          rank: { enum: [8, 16, 32], default: 32 },
          validation: { type: 'array', default: [], maxItems: 2, items: { $ref: '#/components/schemas/Prompt' } },
          seed: { anyOf: [{ type: 'integer' }, { type: 'null' }] },
          frame_rate: { default: 24, description: 'accepted, without effect' },
        },
      },
      Prompt: { properties: { prompt: { type: 'string' } } },
    },
  },
}
const fields = fieldsOf(DOCUMENT)
const field = (name: string) => fields.find((one) => one.name === name) as Field

test('fields come in the order of the document; one of no type has no control', () => {
  expect(fields.map(({ name, kind }) => [name, kind])).toEqual([
    ['training_data_url', 'text'],
    ['rank', 'choice'],
    ['number_of_steps', 'integer'],
    ['validation', 'prompts'],
    ['seed', 'integer'],
  ])
  expect(range(field('number_of_steps'))).toBe('from 100 to 20,000')
  expect(field('validation').entry).toEqual(['prompt'])
})

test.each([
  ['number_of_steps', 99, 'It must be from 100 to 20,000.'],
  ['number_of_steps', 100.5, 'A whole number is needed.'],
  ['number_of_steps', 'many', 'A number is needed.'],
  ['number_of_steps', null, 'A value is needed.'],
  ['number_of_steps', 20000, null],
  ['seed', null, null],
  ['rank', 33, 'It must be one of 8, 16, 32.'],
  ['training_data_url', '', 'This is needed.'],
  ['validation', [{ prompt: 'a' }, { prompt: 'b' }, { prompt: 'c' }], 'At most 2 prompts are allowed.'],
])('%s = %j: %s', (name, value, sentence) => {
  expect(problemOf(field(name), value)).toBe(sentence)
})

test('the request holds what is needed and what was changed, and becomes the same form again', () => {
  const values = { ...defaults(fields), training_data_url: 'u', rank: 16, validation: [{ prompt: 'p' }, { prompt: ' ' }] }
  const request = toRequest(fields, values, { frame_rate: 30 }, ['number_of_steps'])
  expect(request).toEqual({
    training_data_url: 'u',
    rank: 16,
    number_of_steps: 2000,
    validation: [{ prompt: 'p' }],
    frame_rate: 30,
  })
  const back = fromRequest(fields, request)
  expect(back.extras).toEqual({ frame_rate: 30 })
  expect(toRequest(fields, back.values, back.extras, ['number_of_steps'])).toEqual(request)
})

test('what is no object is told in words', () => {
  expect(parseJson('[1]')).toContain('must be an object')
  expect(parseJson('{"rank": ')).toContain('not JSON yet')
  expect(parseJson('{"rank": 8}')).toEqual({ rank: 8 })
})

test('an entry that needs a sound and spans says so, and is sent with what its mode knows of it', () => {
  const mending: Field = { ...field('validation'), entry: ['prompt', 'audio_url', 'spans'] }
  const entry = { prompt: 'p', audio_url: 'u', spans: [[1, 2]] }
  expect(problemOf(mending, [{ prompt: ' ' }])).toBe(null)
  expect(problemOf(mending, [{ prompt: 'p' }])).toBe('Each prompt needs a sound.')
  expect(problemOf(mending, [{ ...entry, spans: [] }])).toBe('Each sound needs a span that is made anew.')
  expect(problemOf(mending, [entry])).toBe(null)
  expect(toRequest([mending], { validation: [entry] })).toEqual({ validation: [entry] })
  expect(toRequest(fields, { validation: [entry] }).validation).toEqual([{ prompt: 'p' }])
})

test('a lowest value that is not allowed itself', () => {
  const seconds: Field = { ...field('number_of_steps'), kind: 'number', min: undefined, above: 0, max: 60 }
  expect(problemOf(seconds, 0)).toBe('It must be more than 0 and at most 60.')
  expect(problemOf(seconds, 0.1)).toBe(null)
})

test('a choice that stands for others fills them in, and is not sent', () => {
  const kind: Field = { ...field('rank'), name: 'preset', default: null, choices: ['big', 'small'], settings: { big: { rank: 16 }, small: { rank: 8, number_of_steps: 400 } } }
  const all = [...fields, kind]
  const chosen = withChoice(all, { ...defaults(all), training_data_url: 'u', preset: 'small' }, kind)
  expect(toRequest(all, chosen)).toEqual({ training_data_url: 'u', rank: 8, number_of_steps: 400 })
  const other = withChoice(all, { ...chosen, preset: 'big' }, kind)
  expect(toRequest(all, other)).toEqual({ training_data_url: 'u', rank: 16 })
  const typed = withChoice(all, { ...chosen, number_of_steps: 500, preset: 'big' }, kind)
  expect(toRequest(all, typed)).toMatchObject({ rank: 16, number_of_steps: 500 })
  expect(fromRequest(all, { training_data_url: 'u', preset: 'small', rank: 32 }).values).toMatchObject({ rank: 32, number_of_steps: 400 })
})

import { expect, test } from 'vitest'
import { aligned, columns } from './curves'
import type { Field } from './schema'
import { common, differences } from './side_by_side'

const T2A = 'fal-ai/ltx23-trainer-v2/t2a'
const field = (name: string, title: string, kind: Field['kind'], value: unknown): Field => ({ name, title, kind, description: '', required: false, default: value })
const FIELDS = [
  field('training_data_url', 'Training data url', 'text', ''),
  field('number_of_steps', 'Steps', 'integer', 2000),
  field('learning_rate', 'Learning rate', 'number', 0.0002),
  field('audio_normalize', 'Normalise levels', 'boolean', true),
  field('validation', 'Preview prompts', 'prompts', []),
  field('stg_scale', 'STG scale', 'number', null),
]
const training = (input: Record<string, unknown>) => ({ endpoint: T2A, fields: FIELDS, input })

test('only what differs is told, with defaults in the place of what was not sent', () => {
  expect(differences(training({ number_of_steps: 2000 }), training({}))).toEqual([])
  expect(differences(training({ stg_scale: null, training_data_url: '' }), training({}))).toEqual([])
  const a = training({ number_of_steps: 12000, learning_rate: 0.0001, audio_normalize: false, validation: [{ prompt: 'a' }, { prompt: 'b' }], stg_scale: 0 })
  expect(differences(a, training({}))).toEqual([
    { title: 'Steps', a: '12,000', b: '2,000' },
    { title: 'Learning rate', a: '0.0001', b: '0.0002' },
    { title: 'Normalise levels', a: 'no', b: 'yes' },
    { title: 'Preview prompts', a: 'a · b', b: 'none' },
    { title: 'STG scale', a: '0', b: 'the base’s own' },
  ])
})

test('addresses are told by their files, and two of one name whole', () => {
  const at = (path: string) => training({ training_data_url: `https://x.example/${path}` })
  expect(differences(at('1/a%20b.zip'), at('2/c.zip'))).toEqual([{ title: 'Training data url', a: 'a b.zip', b: 'c.zip' }])
  expect(differences(at('1/a.zip'), at('2/a.zip'))[0]).toMatchObject({ a: 'https://x.example/1/a.zip', b: 'https://x.example/2/a.zip' })
})

test('modes differ, and so does what only one of them has', () => {
  const other = { endpoint: 'fal-ai/ltx23-trainer-v2/audio-inpaint', fields: [...FIELDS, field('mask', 'Mask', 'number', 3)], input: { base: 'x' } }
  expect(differences(training({}), other)).toEqual([
    { title: 'What it learns', a: 'Text to audio', b: 'Mend spans' },
    { title: 'Mask', a: 'none', b: '3' },
    { title: 'Base', a: 'none', b: 'x' },
  ])
})

test('of a sound, what is not sent is the base’s own', () => {
  const sound = (input: Record<string, unknown>) => ({ endpoint: 'fal-ai/ltx-2.3-quality/text-to-audio', fields: [field('guidance_scale', 'Guidance scale', 'number', 1)], input })
  expect(differences(sound({ guidance_scale: 1, seed: 12345 }), sound({ loras: [{ path: 'https://x/a.safetensors', scale: 0.5 }] }))).toEqual([
    { title: 'Guidance', a: '1', b: 'the base’s own' },
    { title: 'Seed', a: '12345', b: 'none' },
    { title: 'LoRAs', a: 'none', b: 'a.safetensors at 0.5' },
  ])
})

test('previews are paired by what their prompts say, and by steps that both have', () => {
  const run = (texts: string[], steps: number[]) => ({
    input: { validation: texts.map((prompt) => ({ prompt })) },
    previews: texts.flatMap((_, prompt) => steps.map((step) => ({ step, prompt, file: { url: '' } }))),
  })
  expect(common(run(['x', 'y'], [0, 50, 100]), run(['z', 'y'], [0, 50, 75, 150]))).toEqual([
    {
      prompt: 'y', a: 1, b: 1,
      moments: [
        { name: 'Before training', a: 0, b: 0 },
        { name: 'Step 50', a: 50, b: 50 },
        { name: 'The latest of each, step 100 and 150', a: 100, b: 150 },
      ],
    },
  ])
  expect(common(run(['x'], [0, 100]), run(['x'], [0, 100]))[0]!.moments.map(({ name }) => name)).toEqual(['Before training', 'Step 100'])
  expect(common(run(['x'], [0]), run(['y'], [0]))).toEqual([])
  expect(common(run(['x'], []), run(['x'], [0]))).toEqual([])
})

test('curves lie over one list of steps', () => {
  expect(aligned([[[1, 4]], [[0, 5], [1, 3]], []])).toEqual([[0, 1], [null, 4], [5, 3], [null, null]])
  expect(columns([[1, 4]], [])).toEqual([[1], [4], [4], [null]])
})

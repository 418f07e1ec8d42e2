import { expect, test } from 'vitest'
import { changesOf, entriesOf, lacksOf, pairsOf, pairUp, reach, sameName, sentOf } from './clips'

const blob = (text = '') => new Blob([text])

test('captions go to the clip of the same name; hidden files are passed over', async () => {
  const data = await pairUp([
    { name: 'set/b.mp3', blob: blob() },
    { name: 'set/a.wav', blob: blob() },
    { name: 'set/a.txt', blob: blob('\ufeff a dog barks \n') },
    { name: 'set/alone.txt', blob: blob('x') },
    { name: '__MACOSX/set/._a.wav', blob: blob() },
    { name: 'set/.hidden.wav', blob: blob() },
  ])
  expect(data.clips.map(({ name, caption }) => [name, caption])).toEqual([
    ['set/a.wav', 'a dog barks'],
    ['set/b.mp3', ''],
  ])
  expect(data.others.map((entry) => entry.name)).toEqual(['set/alone.txt'])
})

test('an edited caption is what is packed; an empty one is no file', async () => {
  const data = await pairUp([{ name: 'a.wav', blob: blob() }, { name: 'b.wav', blob: blob() }])
  data.clips[0]!.caption = ' a cat '
  const entries = entriesOf(data)
  expect(entries.map((entry) => entry.name)).toEqual(['a.wav', 'a.txt', 'b.wav'])
  expect(await entries[1]!.blob.text()).toBe('a cat\n')
})

test('tables and captions of later seconds are sent beside the clips; a second caption and other files are not', async () => {
  const names = ['in/metadata.csv', 'in/Captions.json', 'in/rain@12.5.txt', 'in/RAIN.wav @ 5 s.txt', 'in/rain.WAV.txt', 'in/rain.lab', 'in/notes.pdf', 'in/my_metadata.csv', 'RAIN.txt']
  const data = await pairUp(['in/rain.wav', ...names].map((name) => ({ name, blob: blob() })))
  expect(sentOf(data).map((entry) => entry.name)).toEqual(['in/rain.wav', ...names.slice(0, 6)])
  expect(entriesOf(data).map((entry) => entry.name)).toEqual(['in/rain.wav'])
})

test('a clip that lacks less than one latent frame still fills the bucket', () => {
  expect(reach([4.97, 5, 4.9], 5)).toEqual({ kept: 2, seconds: 10 })
  expect(reach([4.97, 11, 4.9, 14.97], 5)).toEqual({ kept: 3, seconds: 15 })
  expect(reach([4.97, 11, 4.9, 14.97], 5, true)).toEqual({ kept: 6, seconds: 30 })
})

test('clips are the same by their base name', () => {
  expect(sameName('clips/a.wav', 'a.wav')).toBe(true)
  expect(sameName('a.wav', 'ba.wav')).toBe(false)
})

test('a mask goes to its clip, and drawn spans are packed as one', async () => {
  const data = await pairUp([
    { name: 'set/a.wav', blob: blob() },
    { name: 'set/a_mask.json', blob: blob('[[1, 2]]') },
    { name: 'set/b.wav', blob: blob() },
    { name: 'set/c_mask.json', blob: blob('[[1, 2]]') },
  ])
  expect(data.others.map((entry) => entry.name)).toEqual(['set/c_mask.json'])
  expect(lacksOf('inpaint', data.clips)).toEqual(['set/b.wav has no span yet.'])
  expect([lacksOf('t2a', data.clips), changesOf(data.clips)]).toEqual([[], ''])
  data.clips[1]!.spans = [[0.5, 1.25]]
  expect([lacksOf('inpaint', data.clips), changesOf(data.clips)]).toEqual([[], 'spans'])
  const entries = entriesOf(data)
  expect(entries.map((entry) => entry.name)).toEqual(['set/a.wav', 'set/a_mask.json', 'set/b.wav', 'set/b_mask.json'])
  expect(await entries[3]!.blob.text()).toBe('[[0.5,1.25]]\n')
})

test('the two sides of a pair find each other; halves and strays are named', async () => {
  const names = ['rain_start.wav', 'in/rain_end.mp3', 'dog_end.wav', 'cat_start.wav', 'bird.wav']
  const { clips } = await pairUp([
    ...names.map((name) => ({ name, blob: blob() })),
    { name: 'dog.txt', blob: blob('a dog') },
  ])
  const [, , , pair] = pairsOf(clips)
  expect([pair!.start!.name, pair!.end!.name, pair!.lack]).toEqual(['rain_start.wav', 'in/rain_end.mp3', ''])
  expect(lacksOf('a2a', clips)).toEqual([
    'bird.wav is neither NAME_start nor NAME_end.',
    'cat_start.wav has no cat_end beside it.',
    'dog_end.wav has no dog_start beside it.',
  ])
})

test('the caption of a pair may bear the name that both sides share', async () => {
  const pair = ['rain_start.wav', 'rain_end.wav'].map((name) => ({ name, blob: blob() }))
  const data = await pairUp([...pair, { name: 'rain.txt', blob: blob('hail') }])
  expect(data.clips.map(({ name, caption }) => [name, caption])).toEqual([['rain_end.wav', 'hail'], ['rain_start.wav', '']])
  expect(data.others).toEqual([])
})

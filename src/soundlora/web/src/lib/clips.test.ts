import { expect, test } from 'vitest'
import { entriesOf, pairUp, reach, sameName } from './clips'

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

test('a clip that lacks less than one latent frame still fills the bucket', () => {
  expect(reach([4.97, 5, 4.9], 5)).toEqual({ kept: 2, seconds: 10 })
})

test('clips are the same by their base name', () => {
  expect(sameName('clips/a.wav', 'a.wav')).toBe(true)
  expect(sameName('a.wav', 'ba.wav')).toBe(false)
})

import { expect, test } from 'vitest'
import { captionWarnings, filledDown, fromName, isAboutCaptions, replaced, setWarnings, withTrigger } from './captions'

test('the trigger phrase stands in front once', () => {
  expect(withTrigger('rain', 'on a roof')).toBe('rain on a roof')
  expect(withTrigger('rain', 'Rain on a roof')).toBe('rain on a roof')
  expect(withTrigger('rain', 'rainbow')).toBe('rain rainbow')
  expect(withTrigger('rain', '')).toBe('rain')
  expect(withTrigger('', 'on a roof')).toBe('on a roof')
})

test('a file name becomes words without its take number', () => {
  expect(fromName('kit/snare_hard_03.wav')).toBe('snare hard')
  expect(fromName('doorSlamWood2.flac')).toBe('door slam wood')
  expect(fromName('01 - Dog Barks (take 4).wav')).toBe('dog barks')
  expect(fromName('808_Kick_12.wav')).toBe('808 kick')
  expect(fromName('UFO_landing.wav')).toBe('UFO landing')
  expect(fromName('KICK_01.wav')).toBe('kick')
  expect(fromName('rain_start.wav')).toBe('rain')
  expect(fromName('set/007.wav')).toBe('')
  expect(fromName('Straßenbahn_hält.wav')).toBe('straßenbahn hält')
})

test('of a name of the Universal Category System the part for people is taken', () => {
  expect(fromName('RAINConc_Heavy Rain On Concrete_XYZ.wav')).toBe('heavy rain on concrete')
  expect(fromName('DOORWood-Interior_Door Slam 02_ABC_Session.wav')).toBe('door slam')
})

test('an empty caption takes the one above it', () => {
  expect(filledDown(['', 'a', ' ', '', 'b', ''])).toEqual(['', 'a', 'a', 'a', 'b', 'b'])
})

test('text is replaced as it is written, in whichever letters', () => {
  expect(replaced('A dog. a DOG?', 'dog', '$& cat')).toBe('A $& cat. a $& cat?')
  expect(replaced('what (is) this', '(is)', 'was')).toBe('what was this')
  expect(replaced('same', '', 'x')).toBe('same')
})

test('a missing caption is told, with what stands instead', () => {
  expect(captionWarnings(' ', 'zap')).toEqual(['it has no caption: the trigger phrase stands alone'])
  expect(captionWarnings('', '')).toEqual(['it has no caption: it is trained with an empty caption'])
  expect(captionWarnings('a'.repeat(4001), '')).toHaveLength(1)
  expect(captionWarnings('a dog', '')).toEqual([])
})

test('all captions together', () => {
  expect(setWarnings(['a', 'a'])[0]).toMatch(/^All captions are alike/)
  expect(setWarnings(['a', '', 'b'])).toEqual(['1 clip of 3 has no caption, the others do.'])
  expect(setWarnings(['rain, wind, night', 'A dog barks.'])[0]).toMatch(/1 as a list of tags, 1 as a sentence/)
  expect(setWarnings(['a dog', 'a cat'])).toEqual([])
  expect([...setWarnings(['a', 'a']), ...setWarnings(['a', '']), ...setWarnings(['a.', 'b'])].every(isAboutCaptions)).toBe(true)
  expect(isAboutCaptions('Only 3 clips will be trained on; 10 or more are advised.')).toBe(false)
})

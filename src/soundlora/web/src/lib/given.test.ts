import { expect, test } from 'vitest'
import { givenFields, type Given } from './given'

const given: Given = { url: 'u', becomes: 'inpaint', spans: [[1, 2]], heard: 2, added: null }

test('only what belongs to what becomes of a sound is sent', () => {
  expect(givenFields({ ...given, url: '' })).toEqual({})
  expect(givenFields(given)).toEqual({ audio_url: 'u', audio_mode: 'inpaint', spans: [[1, 2]] })
  expect(givenFields({ ...given, becomes: 'a2a' })).toEqual({ audio_url: 'u', audio_mode: 'a2a' })
  const lead = { ...given, becomes: 'extend-suffix' as const }
  expect(givenFields(lead)).toEqual({ audio_url: 'u', audio_mode: 'extend-suffix', conditioning_seconds: 2 })
  expect(givenFields({ ...lead, heard: null, added: 3 })).toEqual({ audio_url: 'u', audio_mode: 'extend-suffix', added_seconds: 3 })
})

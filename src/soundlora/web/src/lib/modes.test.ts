import { expect, test } from 'vitest'
import { modeOf } from './modes'

test('an endpoint has its mode, by its second name too, and a sound has none', () => {
  expect(modeOf('fal-ai/ltx23-trainer-v2/audio-inpaint')?.name).toBe('inpaint')
  expect(modeOf('fal-ai/ltx23-trainer-v2/ic-lora/a2a')?.name).toBe('a2a')
  expect(modeOf('fal-ai/ltx-2.3-quality/text-to-audio')).toBe(null)
})

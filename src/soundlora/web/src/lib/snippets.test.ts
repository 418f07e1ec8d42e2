import { expect, test } from 'vitest'
import { uses } from './snippets'

const titles = (base: string) => uses('zap-100.safetensors', 'a "zap"', base).map((use) => use.title)

test('a LoRA of LTX loads in other programs', () => {
  expect(titles('Lightricks/LTX-2.5')).toEqual(['ComfyUI', 'diffusers', 'Command line', 'Python'])
})

test('a LoRA of nano belongs to nano', () => {
  const [, , others] = uses('zap-100.safetensors', 'zap', 'nano')
  expect(others?.steps).toMatch(/^This LoRA belongs to nano/)
  expect(others?.code).toBeUndefined()
})

test('of an unknown base only what always holds is said', () => {
  expect(titles('')).toEqual(['Command line', 'Python'])
  expect(uses('zap-100.safetensors', 'a "zap"', '')[0]?.code).toBe('soundlora generate --lora zap-100.safetensors --prompt "a \\"zap\\""')
})

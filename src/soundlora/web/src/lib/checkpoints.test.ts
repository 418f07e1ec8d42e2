import { expect, test } from 'vitest'
import { choices, usual } from './checkpoints'

const file = (name: string) => ({ url: `/files/0/${name}` })
const checkpoints = [50, 100, 1500].map((step) => ({ step, file: file(`kit-${step}.safetensors`) }))
const curves = { loss: [], held_out: [[0, 1], [50, 0.5], [100, 0.3], [1500, 0.4]] as [number, number][] }

test('a finished run offers its final LoRA, then its checkpoints, the best of which is marked', () => {
  const found = choices({ lora: file('kit-1500.safetensors'), checkpoints, curves })
  expect(found.map((one) => one.label)).toEqual(['final', 'step 1,500', 'step 100, best', 'step 50'])
  expect(found.map((one) => one.final)).toEqual([true, false, false, false])
})

test('a run that goes on offers its checkpoints, and none is the best where nothing was measured', () => {
  const found = choices({ lora: null, checkpoints, curves: { loss: [], held_out: [] } })
  expect(found.map((one) => one.label)).toEqual(['step 1,500', 'step 100', 'step 50'])
  expect(usual({ lora: null, checkpoints })).toBe('/files/0/kit-1500.safetensors')
  expect(usual({ lora: file('a'), checkpoints })).toBe('/files/0/a')
  expect(usual({ lora: null, checkpoints: [] })).toBeUndefined()
})

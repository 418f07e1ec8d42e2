import { expect, test } from 'vitest'
import { reused, sameFile, type Reused } from './reuse'
import { SPEAKING, SPEAKING_WITH_LORA, type RunSummary } from './types'

const run = (input: Record<string, unknown> | null, result = {}) => ({ endpoint: SPEAKING_WITH_LORA, input, result })
const training = {
  id: 'r1', name: 'Kick', input: {}, lora: { url: 'http://localhost:8420/files/abc/kick.safetensors' },
  checkpoints: [{ step: 1500, file: { url: 'http://localhost:8420/files/def/kick-1500.safetensors' } }],
}
const wish = (input: Record<string, unknown>, result = {}) =>
  (reused(run(input, result), [training as unknown as RunSummary]) as Reused).wish

test('what is not sent is the base’s own', () => {
  expect(reused({ endpoint: SPEAKING, input: { prompt: 'rain' }, result: { seed: 77 } as never }, [])).toEqual({
    wish: {
      prompt: 'rain', seed: 77, seconds: 5, loras: [], guidance: null, steps: null, negative: '',
      given: { url: '', becomes: 'extend-prefix', spans: [], heard: null, added: null },
    },
    lost: [],
  })
})

test('a LoRA is named after its run, by whichever name the server was reached; another is shown as it is', () => {
  const loras = [{ path: 'http://127.0.0.1:8420/files/abc/kick.safetensors', scale: 0.7 }, { path: 'https://x.example/a%20b.safetensors' }]
  expect(wish({ prompt: 'x', loras }).loras).toEqual([
    { run: 'r1', name: 'Kick', path: training.lora.url, strength: 0.7 },
    { run: loras[1]!.path, name: 'a b.safetensors', path: loras[1]!.path, strength: 1 },
  ])
  expect(wish({ prompt: 'x', loras: [{ path: 'http://127.0.0.1:8420/files/def/kick-1500.safetensors' }] }).loras).toEqual([
    { run: 'r1', name: 'Kick, step 1,500', path: training.checkpoints[0]!.file.url, strength: 1 },
  ])
  expect(sameFile('http://a/files/1/x', 'http://b/files/2/x')).toBe(false)
})

test('lengths come back as the form had them', () => {
  for (let half = 2; half <= 40; half += 1) {
    const frames = Math.max(9, Math.min(481, Math.round(((half / 2) * 24) / 8) * 8 + 1))
    expect(wish({ prompt: 'x', num_frames: frames, frames_per_second: 24 }).seconds).toBe(half / 2)
  }
  expect(wish({ prompt: 'x', num_frames: 121, frames_per_second: 60 }).seconds).toBe(2)
})

test('what the form has no field for is named', () => {
  const all = { prompt: 'x', stg_scale: 2, decoded: null, seed: 3, guidance_scale: 4, num_inference_steps: 9, negative_prompt: 'n' }
  expect(reused(run(all), [])).toMatchObject({ lost: ['stg_scale'], wish: { seed: 3, guidance: 4, steps: 9, negative: 'n' } })
  expect(reused(run({ prompt: 'x', audio_url: 'data:audio/wav;base64,UklG…' }), [])).toMatchObject({ lost: ['audio_url'], wish: { given: { url: '' } } })
})

test('the sound that it began with comes along', () => {
  const input = { prompt: 'x', audio_url: 'http://h/files/1/a.wav', audio_mode: 'inpaint', spans: [{ start: 1, end: 2 }] }
  expect(wish(input).given).toEqual({ url: input.audio_url, becomes: 'inpaint', spans: input.spans, heard: null, added: null })
})

test('a training and what was deleted have no settings of a sound', () => {
  expect(reused(run(null), [])).toContain('deleted')
  expect(reused({ endpoint: 'fal-ai/ltx23-trainer-v2/t2a', input: {}, result: null }, [])).toContain('training')
})

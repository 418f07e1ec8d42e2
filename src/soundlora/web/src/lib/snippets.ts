// How to use a finished LoRA elsewhere.

import { words } from './words'

export interface Use {
  title: string
  steps: string
  code?: string
}

// base: as the run's config names it, nano or one of LTX, and '' while that is unknown. ComfyUI and diffusers know
// nothing of nano.
export function uses(file: string, prompt: string, base: string): Use[] {
  const quoted = JSON.stringify(prompt)
  const here = [
    {
      ...words.uses.commandLine,
      code: `soundlora generate --lora ${file} --prompt ${quoted}`,
    },
    {
      ...words.uses.python,
      code: `from soundlora import Generator\n\ngenerator = Generator(lora="${file}")\ngenerator(${quoted}).save("sound.wav")`,
    },
  ]
  if (!base) return here
  if (base === 'nano') return [...here, words.uses.nano]
  return [
    { title: words.uses.comfyui.title, steps: words.uses.comfyui.steps(file) },
    {
      ...words.uses.diffusers,
      code: `pipe.load_lora_weights("${file}")\naudio = pipe(${quoted})`,
    },
    ...here,
  ]
}

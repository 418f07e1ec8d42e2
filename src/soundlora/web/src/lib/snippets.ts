// How to use a finished LoRA elsewhere.

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
      title: 'Command line',
      steps: 'In the folder of the file:',
      code: `soundlora generate --lora ${file} --prompt ${quoted}`,
    },
    {
      title: 'Python',
      steps: 'With soundlora itself:',
      code: `from soundlora import Generator\n\ngenerator = Generator(lora="${file}")\ngenerator(${quoted}).save("sound.wav")`,
    },
  ]
  if (!base) return here
  if (base === 'nano')
    return [
      ...here,
      {
        title: 'ComfyUI, diffusers',
        steps: 'This LoRA belongs to nano, the small base of soundlora, and works with no other. Train on LTX for a LoRA that these load.',
      },
    ]
  return [
    {
      title: 'ComfyUI',
      steps: `Put ${file} into ComfyUI/models/loras. Load the base, add the node “Load LoRA (Model only)” behind the model, choose the file, and write the trigger phrase into the prompt.`,
    },
    {
      title: 'diffusers',
      steps: 'Load it into the pipeline of its base.',
      code: `pipe.load_lora_weights("${file}")\naudio = pipe(${quoted})`,
    },
    ...here,
  ]
}

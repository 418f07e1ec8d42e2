// How to use a finished LoRA elsewhere.

export interface Use {
  title: string
  steps: string
  code?: string
}

export function uses(file: string, prompt: string): Use[] {
  const quoted = JSON.stringify(prompt)
  return [
    {
      title: 'ComfyUI',
      steps: `Put ${file} into ComfyUI/models/loras. Load LTX 2.3, add the node “Load LoRA (Model only)” behind the model, choose the file, and write the trigger phrase into the prompt.`,
    },
    {
      title: 'diffusers',
      steps: 'Load it into the LTX 2.3 pipeline. This needs a LoRA that was trained on LTX 2.3, not on nano.',
      code: `pipe.load_lora_weights("${file}")\naudio = pipe(${quoted})`,
    },
    {
      title: 'Python',
      steps: 'With soundlora itself:',
      code: `from soundlora import Generator\n\ngenerator = Generator(loras=[("${file}", 1.0)])\ngenerator(${quoted}).save("sound.wav")`,
    },
    {
      title: 'Command line',
      steps: 'In the folder of the file:',
      code: `soundlora generate --lora ${file} --prompt ${quoted}`,
    },
  ]
}

// Which caption a prompt is nearest to.

/** The number of the caption that shares most words with a prompt, of several the first; 0 where none shares any. */
export function nearest(prompt: string, captions: string[]): number {
  const wanted = words(prompt)
  const shares = captions.map((caption) => {
    const found = words(caption)
    return [...wanted].filter((word) => found.has(word)).length / Math.max(1, new Set([...wanted, ...found]).size)
  })
  return Math.max(0, shares.indexOf(Math.max(...shares)))
}

function words(text: string): Set<string> {
  return new Set(text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [])
}

// Only one sound plays at a time.

export const NO_OUTPUT = 'Your browser finds no sound output, so nothing can be heard.'

let stop: (() => void) | null = null

export function playing(stopThis: () => void): void {
  if (stop !== stopThis) stop?.()
  stop = stopThis
}

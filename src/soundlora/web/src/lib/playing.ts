// Only one sound plays at a time.

let stop: (() => void) | null = null

export function playing(stopThis: () => void): void {
  if (stop !== stopThis) stop?.()
  stop = stopThis
}

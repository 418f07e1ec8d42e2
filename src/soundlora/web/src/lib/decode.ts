// Sounds as samples. An offline context decodes without any sound output, which an AudioContext may wait for.

const RATE = 48_000
const KEPT = 12

const kept = new Map<string, Promise<AudioBuffer>>()

/** A sound, at 48 kHz whatever its own rate. Sounds that were asked for lately are at hand. */
export function decoded(url: string): Promise<AudioBuffer> {
  const found = kept.get(url) ?? read(url)
  kept.delete(url)
  kept.set(url, found)
  if (kept.size > KEPT) kept.delete(kept.keys().next().value!)
  found.catch(() => kept.get(url) === found && kept.delete(url))
  return found
}

async function read(url: string): Promise<AudioBuffer> {
  const response = await fetch(url)
  if (!response.ok) throw new Error(`${response.status}`)
  return samples(await response.arrayBuffer())
}

export function samples(bytes: ArrayBuffer): Promise<AudioBuffer> {
  return new OfflineAudioContext(2, 1, RATE).decodeAudioData(bytes)
}

export function channels(sound: AudioBuffer): Float32Array[] {
  return Array.from({ length: Math.min(2, sound.numberOfChannels) }, (_, number) => sound.getChannelData(number))
}

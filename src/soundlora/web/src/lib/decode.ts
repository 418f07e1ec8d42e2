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
  return new OfflineAudioContext(2, 1, RATE).decodeAudioData(await response.arrayBuffer())
}

/** Left and right as they are played: one channel comes out of both. */
export function channels(sound: AudioBuffer): Float32Array[] {
  return [sound.getChannelData(0), sound.getChannelData(Math.min(1, sound.numberOfChannels - 1))]
}

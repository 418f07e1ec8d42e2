// A spectrogram on a canvas, in the colours of sound pictures.

import { HEAT } from './colours'
import type { Mel } from './mel'

/** What pictures show below the loudest place, in dB. */
export const RANGE = 72
/** Columns and bands of a picture, which is stretched to its place. */
export const COLUMNS = 320
export const BANDS = 72

/** Draw a spectrogram, turned by `gain`, so that `top` is the brightest; both in dB. */
export function painted(canvas: HTMLCanvasElement, { columns, bands, db }: Mel, top: number, gain = 0): void {
  const image = new ImageData(columns, bands)
  for (let column = 0; column < columns; column += 1) {
    for (let band = 0; band < bands; band += 1) {
      const share = 1 + (db[column * bands + band]! + gain - top) / RANGE
      const at = 4 * ((bands - 1 - band) * columns + column)
      HEAT[Math.round(255 * Math.min(1, Math.max(0, share)))]!.forEach((part, n) => (image.data[at + n] = Math.round(255 * part)))
    }
  }
  canvas.width = columns
  canvas.height = bands
  canvas.getContext('2d')!.putImageData(image, 0, 0)
}

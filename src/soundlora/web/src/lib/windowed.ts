// Of a long list only the rows near what is seen are built. Rows may be of different heights, known once they are built.

/** Where each row begins, and last where the list ends. */
export function tops(heights: number[]): number[] {
  const found = [0]
  for (const height of heights) found.push(found.at(-1)! + height)
  return found
}

/** The row that lies at a height. */
export function rowAt(begins: number[], at: number): number {
  let [low, high] = [0, Math.max(0, begins.length - 2)]
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (begins[middle]! <= at) low = middle
    else high = middle - 1
  }
  return low
}

/** The rows to build: those from `from` to `to`, and the one in use with its neighbours, wherever it is. */
export function built(begins: number[], from: number, to: number, inUse: number): number[] {
  const number = begins.length - 1
  const found = new Set<number>()
  if (number) for (let n = rowAt(begins, from); n <= rowAt(begins, to); n += 1) found.add(n)
  for (const n of inUse < 0 ? [] : [inUse - 1, inUse, inUse + 1]) if (n >= 0 && n < number) found.add(n)
  return [...found].sort((a, b) => a - b)
}

/** The height of which there are as many above as below; none of none. */
export function middle(heights: number[]): number | undefined {
  return [...heights].sort((a, b) => a - b)[heights.length >> 1]
}

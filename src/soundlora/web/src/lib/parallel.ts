/** Do `work` for every item, so many at a time, begun in their order. The first that fails lets none begin any more. */
export async function parallel<T, R>(items: T[], atATime: number, work: (item: T, n: number) => Promise<R>): Promise<R[]> {
  const found = new Array<R>(items.length)
  const left = items.entries()
  const carry = async () => {
    for (const [n, item] of left) found[n] = await work(item, n)
  }
  try {
    await Promise.all(Array.from({ length: atATime }, carry))
  } finally {
    for (const _ of left); // nothing is left to those that still work
  }
  return found
}

// What the whole page shares: the key, whether the server answers, the address after the hash.

const KEY = 'soundlora.key'

export const session = $state({
  key: localStorage.getItem(KEY) ?? '',
  /** The server refused the key, or wants one. */
  refused: false,
  offline: false,
})

export function setKey(key: string): void {
  session.key = key.trim()
  session.refused = false
  if (session.key) localStorage.setItem(KEY, session.key)
  else localStorage.removeItem(KEY)
}

/** Whether the server is on the machine of the person who looks, and asks for no key: nobody is billed then. */
export function ownMachine(): boolean {
  return !session.key && /^(localhost$|127\.|\[::1\])/.test(location.hostname)
}

export const place = $state({ parts: read(), query: query() })

function read(): string[] {
  return location.hash.replace(/^#\/?/, '').split('?')[0]!.split('/').filter(Boolean).map(decodeURIComponent)
}

function query(): URLSearchParams {
  return new URLSearchParams(location.hash.split('?')[1] ?? '')
}

window.addEventListener('hashchange', () => {
  place.parts = read()
  place.query = query()
  window.scrollTo(0, 0)
})

export function go(to: string): void {
  location.hash = to
}

// Drafts in the browser's own database. Each tab has its own; one whose tab is gone goes to the next tab that opens.

import type { Entry } from './zip'

const TAB = 'soundlora.draft'
const DAYS = 30

let database: Promise<IDBDatabase> | null = null
let id = ''
let release = () => {}

function opened(): Promise<IDBDatabase> {
  return (database ??= new Promise((resolve, reject) => {
    // Several servers may share an address, each under a folder.
    const request = indexedDB.open(`soundlora ${location.pathname}`)
    request.onupgradeneeded = () => ['drafts', 'files'].forEach((name) => request.result.createObjectStore(name))
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  }))
}

/** Do `work` as a whole or not at all. */
async function inDatabase<T>(mode: IDBTransactionMode, work: (drafts: IDBObjectStore, files: IDBObjectStore) => IDBRequest<T>) {
  const transaction = (await opened()).transaction(['drafts', 'files'], mode)
  return new Promise<T>((resolve, reject) => {
    const request = work(transaction.objectStore('drafts'), transaction.objectStore('files'))
    transaction.oncomplete = () => resolve(request.result)
    transaction.onabort = () => reject(transaction.error)
  })
}

/** Whether this tab has the draft from now on. `patient` waits a moment, for a page that is being reloaded to let go. */
async function claim(wanted: string, patient = false): Promise<boolean> {
  // Locks exist on https and on this machine only.
  if (!navigator.locks) return true
  const options = patient ? { signal: AbortSignal.timeout(1500) } : { ifAvailable: true }
  return new Promise((resolve) => {
    const held = navigator.locks.request(`soundlora ${wanted}`, options, (lock) => {
      resolve(lock !== null)
      return lock ? new Promise<void>((free) => (release = free)) : undefined
    })
    held.catch(() => resolve(false))
  })
}

function become(next: string): void {
  id = next
  sessionStorage.setItem(TAB, next)
}

/** Begin another draft; the one until now stays for the next tab that opens. */
export async function leave(): Promise<void> {
  release()
  become(`${Date.now().toString(36)}${Math.random().toString(36).slice(2)}`)
  await claim(id)
}

/** The draft of this tab, or else the newest that no tab has; null where there is none. */
export async function find<T extends { at: number }>(): Promise<{ draft: T; files: Entry[] } | null> {
  const mine = sessionStorage.getItem(TAB)
  const drafts = await inDatabase<T[]>('readonly', (store) => store.getAll())
  const keys = await inDatabase<IDBValidKey[]>('readonly', (store) => store.getAllKeys())
  const all = keys.map((key, n) => ({ key: String(key), draft: drafts[n]! })).filter(({ draft }) => draft)
  // A page that went at once has left words, and nothing in the database.
  const words = mine && !keys.includes(mine) ? lastWords<T>(mine) : null
  if (words) all.push({ key: mine!, draft: words })
  all.sort((a, b) => Number(b.key === mine) - Number(a.key === mine) || b.draft.at - a.draft.at)
  for (const { key, draft } of all) {
    const old = key !== mine && Date.now() - draft.at > DAYS * 86_400_000
    // Without locks nobody knows which other tabs are open.
    if ((key !== mine && !old && !navigator.locks) || !(await claim(key, key === mine))) continue
    become(key)
    if (!old) {
      const late = lastWords<T>(key)
      const files = (await inDatabase<Entry[] | undefined>('readonly', (_, files) => files.get(key))) ?? []
      return { draft: late && late.at >= draft.at ? late : draft, files }
    }
    await letGo()
    release()
  }
  await leave()
  return null
}

/** Write the draft down, and its files where they are given. */
export async function keep(draft: { at: number }, files: Entry[] | null): Promise<void> {
  const key = id
  await inDatabase('readwrite', (drafts, store) => {
    if (files) store.put(files, key)
    return drafts.put(draft, key)
  })
}

/** Write down what a page that is about to go has no time left for. */
export function keepAtOnce(draft: { at: number }): void {
  localStorage.setItem(TAB + id, JSON.stringify(draft))
}

// They stay until the draft is let go, since the next page may go before it has written them to the database.
function lastWords<T extends { at: number }>(key: string): T | null {
  return JSON.parse(localStorage.getItem(TAB + key) ?? 'null') as T | null
}

export async function letGo(): Promise<void> {
  const key = id
  localStorage.removeItem(TAB + key)
  await inDatabase('readwrite', (drafts, files) => {
    files.delete(key)
    return drafts.delete(key)
  })
}

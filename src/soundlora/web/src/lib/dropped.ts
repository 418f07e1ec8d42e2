// Files that were dropped or chosen, folders opened.

import type { Entry } from './zip'

export async function entriesOfDrop(transfer: DataTransfer): Promise<Entry[]> {
  // The list must be read at once: it is empty after the first pause.
  const roots = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null)
  if (!roots.length) return entriesOfFiles(transfer.files)
  const found: Entry[] = []
  for (const root of roots) await walk(root, '', found)
  return found
}

export function entriesOfFiles(files: Iterable<File>): Entry[] {
  return [...files].map((file) => ({ name: file.webkitRelativePath || file.name, blob: file }))
}

async function walk(entry: FileSystemEntry, folder: string, found: Entry[]): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject))
    found.push({ name: folder + entry.name, blob: file })
    return
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader()
  while (true) {
    // A hundred at a time, until there are none.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject))
    if (!some.length) return
    for (const one of some) await walk(one, `${folder}${entry.name}/`, found)
  }
}

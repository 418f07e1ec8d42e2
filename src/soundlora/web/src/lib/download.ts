import { local } from './api'
import type { File } from './types'
import { writeZip } from './zip'

/** Fetch the files and save them as one zip. */
export async function saveAll(files: File[], name: string): Promise<void> {
  const entries = []
  for (const file of files) {
    const response = await fetch(local(file.url))
    if (response.ok) entries.push({ name: file.file_name ?? 'file', blob: await response.blob() })
  }
  const address = URL.createObjectURL(await writeZip(entries))
  const link = document.createElement('a')
  link.href = address
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(address), 60_000)
}

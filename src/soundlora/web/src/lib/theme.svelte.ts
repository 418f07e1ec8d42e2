// Light, dark, or as the system says.

export type Theme = 'system' | 'light' | 'dark'

const NAME = 'soundlora.theme'
const dark = matchMedia('(prefers-color-scheme: dark)')

export const theme = $state({ chosen: (localStorage.getItem(NAME) ?? 'system') as Theme, shown: 'light' })

export function choose(wanted: Theme): void {
  theme.chosen = wanted
  localStorage.setItem(NAME, wanted)
  apply()
}

function apply(): void {
  theme.shown = theme.chosen === 'system' ? (dark.matches ? 'dark' : 'light') : theme.chosen
  document.documentElement.dataset.theme = theme.shown
}

dark.addEventListener('change', apply)
apply()

// The form of a word that belongs to a number.

export type Forms = { other: string } & Partial<Record<Intl.LDMLPluralRule, string>>

/** A function that chooses a form by a number, as a language does. */
export function choosing(locale: string): (number: number, forms: Forms) => string {
  const rules = new Intl.PluralRules(locale)
  return (number, forms) => forms[rules.select(number)] ?? forms.other
}

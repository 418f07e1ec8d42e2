// English: the words of every screen. The other languages are of this form.

import { banner, bar, common, marks, names, units } from './common'
import { blind, compare, sides, sounds } from './compare'
import { captions, captionTools, clip, clipsTable, cuts, dataset, drop, lengths, spans, zip } from './data'
import { fields, form, modes } from './fields'
import { history, limits, settings } from './history'
import { locale } from './counted'
import { problems } from './problems'
import { heard, learnt, levels, log, loss, previews, results, run, trainOn, uses } from './run'
import { code, cost, train } from './train'
import { given, grid, takes, tries } from './try'

export const en = {
  locale, units, common, bar, banner, marks, names,
  train, cost, code, modes, fields, form,
  drop, dataset, clipsTable, clip, captions, captionTools, lengths, cuts, spans, zip,
  run, previews, results, uses, learnt, loss, levels, heard, log, trainOn,
  tries, given, grid, takes,
  compare, blind, sounds, sides,
  history, settings, limits, problems,
}

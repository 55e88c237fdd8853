import { test } from 'vitest'
import { replay } from './campaign.ts'
import { habits } from './habits.ts'
import { corpusFolder, foundFolder, scriptsIn } from './scenes.ts'

// What once broke a broker of ours, and the corpus, as they are.

for (const folder of [foundFolder, corpusFolder])
  for (const [name, script] of scriptsIn(folder))
    for (const kind of habits) test(`${folder}/${name}, ${kind.name}`, () => replay(script, kind))

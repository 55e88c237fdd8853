import assert from 'node:assert'
import { createRequire } from 'node:module'
import { describe, expect, test } from 'vitest'
import { aedesPersistence } from '../../src/aedes/index.ts'
import { temporary } from '../support/program.ts'

// The suite by which the authors of aedes-persistence 11 tell a persistence from what is none. It is written for node:test;
// here it gets just as much of that as it uses.

interface Context {
  plan(count: number): void
  diagnostic(): void
  readonly assert: typeof assert
}

interface Suite {
  test(name: string, run: (t: Context) => Promise<void>): void
  persistence(): unknown
  readonly testAsync?: boolean
  readonly waitForReady?: boolean
}

const require = createRequire(import.meta.url)
const abstract = require('aedes-persistence/abstract.js') as (suite: Suite) => void
const { CallBackPersistence } = require('aedes-persistence/callBackPersistence.js') as {
  CallBackPersistence: new (factory: () => unknown) => unknown
}

const onItsOwnFolder = () => aedesPersistence({ data: temporary() })

for (const [title, options] of [
  ['promises', { persistence: onItsOwnFolder, testAsync: true }],
  ['callbacks', { persistence: () => new CallBackPersistence(onItsOwnFolder), waitForReady: true }],
] as const)
  describe(`the abstract suite of aedes-persistence 11, by ${title}`, () => {
    let registered = 0
    let passed = 0
    abstract({
      ...options,
      test(name, run) {
        registered++
        test(name, async () => {
          const { context, planned, seen } = contextOf()
          await run(context)
          if (planned() !== undefined) expect(seen()).toBe(planned())
          passed++
        })
      },
    })
    test('50 of 50', () => expect([registered, passed]).toEqual([50, 50]))
  })

/** Counts assertions, so that a plan can be held against them. */
function contextOf() {
  let planned: number | undefined
  let seen = 0
  const counting = new Proxy(assert, {
    get(target, name, receiver) {
      seen++
      return Reflect.get(target, name, receiver) as unknown
    },
  })
  const context: Context = { plan: (count) => (planned = count), diagnostic: () => {}, assert: counting }
  return { context, planned: () => planned, seen: () => seen }
}

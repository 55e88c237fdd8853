import { expect, test } from 'vitest'
import { ownText } from '../../src/cluster/own-names.ts'

for (const [clientId, text] of [
  ['sensor', undefined],
  ['', undefined],
  ['\0node', '(cluster: this node)'],
  ['\0out/b/1795247404894', '(cluster: queue to node b)'],
  ['\0in/berlin-2/1795247404894', '(cluster: received from node berlin-2)'],
  ['\0table/c/59', '(cluster: wishes of node c)'],
  ['\0arriving/a/b', '(cluster: arriving session a/b)'],
] as const)
  test(`${JSON.stringify(clientId)} is ${text ?? "a client's"}`, () => expect(ownText(clientId)).toBe(text))

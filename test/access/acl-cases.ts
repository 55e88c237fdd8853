/** A client that asks: user name (undefined: none), client id, topic. */
export type Asked = readonly [user: string | undefined, clientId: string, topic: string]

/**
 * What Mosquitto says: W may write, R may read, where its answer differs from ours the second word is ours. `test/peers`
 * asks Debian's mosquitto the same.
 */
export interface AclCase {
  readonly name: string
  readonly text: string
  readonly asked: readonly (readonly [...Asked, theirs: string, ours?: string])[]
}

export const aclCases: readonly AclCase[] = [
  {
    name: 'topic lines are for anonymous clients, then for a user; access types',
    text: 'topic read a\nuser u\ntopic write b\ntopic deny b/x\ntopic b/#\n\nuser v\ntopic readwrite c d\n',
    asked: [
      [undefined, 'i', 'a', 'R'],
      [undefined, 'i', 'b', ''],
      ['u', 'i', 'a', ''],
      ['u', 'i', 'b', 'RW'],
      ['u', 'i', 'b/x', ''],
      ['u', 'i', 'b/y', 'RW'],
      ['u', 'i', 'c d', ''],
      ['v', 'i', 'c d', 'RW'],
      ['v', 'i', 'c', ''],
    ],
  },
  {
    name: 'patterns come behind topic lines',
    text: 'user u\ntopic readwrite a/#\npattern deny a/b/%u\npattern readwrite a/%u/#\ntopic deny a/c\n',
    asked: [
      ['u', 'i', 'a/b/u', 'RW'],
      ['u', 'i', 'a/c', ''],
      ['v', 'i', 'a/b/v', ''],
      ['v', 'i', 'a/v/x', 'RW'],
      ['b', 'i', 'a/b/b', ''],
      ['b', 'i', 'a/b/c', 'RW'],
      ['c', 'i', 'a/c', 'RW'],
    ],
  },
  {
    name: 'patterns: placeholders',
    text: 'pattern read p/%u/%c\npattern readwrite pre%c/#\npattern write x/%c%u\npattern readwrite all/#\npattern y/%%c\n',
    asked: [
      ['u', 'i', 'p/u/i', 'R'],
      ['u', 'i', 'p/i/u', ''],
      ['u', 'i', 'prei/z', 'RW'],
      ['u', 'i', 'pre%c/z', ''],
      ['u', 'i', 'x/iu', 'W'],
      ['u', 'i', 'all/z', 'RW'],
      ['u', 'i', 'y/%i', 'RW'],
      [undefined, 'i', 'p//i', ''],
      [undefined, 'i', 'prei', 'RW'],
      [undefined, 'i', 'all/z', 'RW'],
    ],
  },
  {
    name: 'ids and names that could open something',
    text: 'pattern readwrite dev/%c/#\npattern readwrite all/#\npattern readwrite %u/#\ntopic readwrite t/#\nuser u#\ntopic readwrite t/#\n',
    asked: [
      ['u', 'a/b', 'dev/a/b/x', 'RW', ''],
      ['u', '+', 'dev/x/y', ''],
      ['u', '+', 'all/y', ''],
      ['u', '#', 'all/z', ''],
      ['u#', 'a', 'all/z', ''],
      ['u#', 'a', 't/z', 'RW'],
      [undefined, '+', 't/z', 'RW'],
      ['a/b', 'i', 'a/b/c', 'RW', ''],
      ['$x', 'i', '$x/b', 'RW', ''],
    ],
  },
  {
    name: 'wildcards, and topics that begin with "$"',
    text: 'topic readwrite +/b\ntopic readwrite x/#\ntopic read /a//+\npattern readwrite +/+/c\npattern read #\ntopic readwrite $d/#\n',
    asked: [
      [undefined, 'i', 'a/b', 'RW'],
      [undefined, 'i', '$a/b', ''],
      [undefined, 'i', '$d/b', 'RW'],
      [undefined, 'i', '$d', 'RW'],
      [undefined, 'i', 'x', 'RW'],
      [undefined, 'i', 'x/y/z', 'RW'],
      [undefined, 'i', '/a//b', 'R'],
      [undefined, 'i', 'q/q/c', 'RW'],
      [undefined, 'i', 'other', 'R'],
      ['u', 'i', '$d/b', ''],
      ['u', 'i', 'a/b', 'R'],
    ],
  },
  {
    name: 'spaces, quotes, comments, ends of lines',
    text:
      '# topic readwrite c\n  topic readwrite ind\r\ntopic   readwrite   sp  \t\ntopic readwrite "q"\n \t \n\n' +
      'topic readwrite a b\ntopic read\ntopic deny\ntopic readwrite\tt\nuser  two words \ntopic one\nuser u # c\ntopic two',
    asked: [
      [undefined, 'i', 'c', ''],
      [undefined, 'i', 'ind', 'RW'],
      [undefined, 'i', 'sp', 'RW'],
      [undefined, 'i', '"q"', 'RW'],
      [undefined, 'i', 'q', ''],
      [undefined, 'i', 'a b', 'RW'],
      [undefined, 'i', 'read', 'RW'],
      [undefined, 'i', 'deny', 'RW'],
      [undefined, 'i', 't', ''],
      ['two words', 'i', 'one', 'RW'],
      ['u', 'i', 'two', ''],
      ['u # c', 'i', 'two', 'RW'],
    ],
  },
  {
    name: 'a user twice, an empty section, a topic that looks shared',
    text: 'topic $share/g/a\nuser u\ntopic a\nuser v\nuser u\ntopic b\ntopic a/%c\n',
    asked: [
      [undefined, 'i', 'a', ''],
      ['u', 'i', 'a', 'RW'],
      ['u', 'i', 'b', 'RW'],
      ['v', 'i', 'a', ''],
      ['u', 'i', 'a/i', ''],
      ['u', 'i', 'a/%c', 'RW'],
    ],
  },
  { name: 'an empty file allows nothing', text: '', asked: [[undefined, 'i', 'a', '']] },
  {
    name: 'deny before what it is taken from, in any order',
    text: 'topic deny a/#\ntopic a/b\npattern a/c\n',
    asked: [
      [undefined, 'i', 'a/b', ''],
      [undefined, 'i', 'a/c', ''],
      ['u', 'i', 'a/c', 'RW'],
    ],
  },
]

/** Files that Mosquitto does not start with. */
export const badAclFiles: readonly (readonly [text: string, line: number])[] = [
  ['topic a\n #b\n', 2],
  ['topic a b\n', 1],
  ['nonsense a\n', 1],
  ['user\ntopic a\n', 1],
  ['user   \n', 1],
  ['topic\n', 1],
  ['pattern\n', 1],
  ['topic a/#/b\n', 1],
  ['topic a+\n', 1],
  ['topic a#c\n', 1],
  ['TOPIC a\n', 1],
  ['topic a\n\ttopic b\n', 2],
  ['\ufefftopic a\n', 1],
]

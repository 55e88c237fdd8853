import { parentPort } from 'node:worker_threads'
import type { PasswordWork } from '../host.ts'
import { hashNow } from './password-work.ts'

// A thread of `PasswordPool`: one hash at a time.

parentPort!.on('message', (work: PasswordWork) => {
  try {
    parentPort!.postMessage({ hash: hashNow(work) })
  } catch (fault) {
    parentPort!.postMessage({ fault: (fault as Error).message })
  }
})

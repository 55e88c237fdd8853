import { readFileSync } from 'node:fs'
import { faultText } from '../../config/files.ts'
import { usage } from '../flags.ts'
import { wholeInput } from '../input.ts'
import { CliError, Exit, type Io } from '../io.ts'
import type { PasswordFlags } from '../users.ts'

/** What CONNECT has room for. */
const longest = 65_535

/**
 * A new password: from a file, from a person at a terminal, or from stdin. Never from an argument, which every program on the
 * machine can read.
 * @throws CliError when there is none, or when what was typed twice is not the same
 */
export async function newPassword(flags: PasswordFlags, io: Io): Promise<string> {
  const password = await anyPassword(flags, io)
  if (password === '') throw usage('the password is empty')
  if (/[\r\n\0]/.test(password)) throw usage('a password is one line')
  if (Buffer.byteLength(password) > longest) throw usage(`a password has at most ${longest} bytes`)
  return password
}

async function anyPassword({ passwordFile }: PasswordFlags, io: Io): Promise<string> {
  if (passwordFile !== undefined) return oneLine(textOf(fileBytes(passwordFile)))
  if (!io.stdin.isTTY) return oneLine(textOf(await wholeInput(io.stdin)))
  if (!io.stderr.isTTY) throw usage('there is nobody to ask here for the password: --password-file FILE, or stdin')
  const password = await askHidden(io, 'Password: ')
  if (password !== '' && (await askHidden(io, 'Once more: ')) !== password)
    throw usage('that was not the same password twice')
  return password
}

function fileBytes(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (fault) {
    throw new CliError(Exit.failure, `cannot read ${file}: ${faultText(fault)}`)
  }
}

function textOf(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw usage('the password is no UTF-8')
  }
}

function oneLine(text: string): string {
  return text.replace(/\r?\n$/, '')
}

/** Asks for a line that the terminal does not show. */
async function askHidden(io: Io, question: string): Promise<string> {
  const { stdin, stderr } = io
  if (!stdin.setRawMode) throw usage('this terminal cannot hide a password: --password-file FILE, or stdin')
  stderr.write(question)
  stdin.setRawMode(true)
  try {
    return await typedLine(stdin)
  } finally {
    stdin.setRawMode(false)
    stderr.write('\n')
  }
}

// Without the terminal's own line editing, a few keys are for us to know.
const enter = new Set(['\r', '\n', '\u0004'])
const backspace = new Set(['\u007f', '\b'])
const clear = '\u0015'
const interrupt = '\u0003'

function typedLine(stdin: Io['stdin']): Promise<string> {
  const decoder = new TextDecoder()
  return new Promise((resolve, reject) => {
    let typed: string[] = []
    const stop = (): void => void stdin.off('data', take).off('end', end).pause()
    const end = (): void => {
      stop()
      resolve(typed.join(''))
    }
    const take = (chunk: Buffer | string): void => {
      const keys = [...(typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true }))]
      for (const [at, key] of keys.entries()) {
        if (key === interrupt) {
          stop()
          return reject(new CliError(Exit.interrupted, ''))
        }
        if (enter.has(key)) {
          end()
          // Somebody types ahead, or pastes both lines.
          const rest = keys.slice(at + 1).join('')
          if (rest !== '') stdin.unshift(Buffer.from(rest))
          return
        }
        if (backspace.has(key)) typed.pop()
        else if (key === clear) typed = []
        else if (key >= ' ') typed.push(key)
      }
    }
    stdin.on('data', take).once('end', end).resume()
  })
}

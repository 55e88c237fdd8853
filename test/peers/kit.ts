import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeCertificates } from '../support/certificates.ts'
import { type Program, run } from '../support/program.ts'

/** The names that mosquitto's clients have for the versions; ours take them too. */
export const versions = ['mqttv31', 'mqttv311', 'mqttv5'] as const

export const levels = [0, 1, 2] as const

/** What starts one client: its words in front of its flags. */
export type Start = (args: readonly string[]) => Program

/**
 * A subscriber that the broker has heard: besides `args` it asks for the retained message of `ready`, which comes behind
 * SUBACK. It prints topic and payload unless `args` have a format. With `count` it leaves after so many messages.
 */
export async function subscribed(start: Start, args: readonly string[], count?: number): Promise<Subscriber> {
  const shape = args.includes('-F') ? [] : ['-v']
  const end = count === undefined ? [] : ['-C', String(count + 1), '-W', '25']
  const program = start([...args, ...shape, ...end, '-t', 'ready'])
  const failed = program.ended().then(({ code, err }) => {
    throw new Error(`it ended with ${code}: ${err}`)
  })
  failed.catch(() => {})
  await Promise.race([program.out.until('ready'), failed])
  return new Subscriber(program)
}

class Subscriber {
  constructor(readonly program: Program) {}

  /** Waits for its end, which must be in order; gives its lines without the one of `ready`. */
  async lines(): Promise<string[]> {
    const { code, out, err } = await this.program.ended()
    if (code !== 0) throw new Error(`it ended with ${code}, ${out.split('\n').length - 2} messages: ${err}`)
    const lines = out.split('\n').slice(0, -1)
    lines.splice(
      lines.findIndex((line) => line.startsWith('ready')),
      1,
    )
    return lines
  }
}

/** Puts the retained message of `ready` into a broker. */
export async function makeReady(port: number): Promise<void> {
  await succeeds('mosquitto_pub', ['-p', String(port), '-t', 'ready', '-m', 'yes', '-r', '-q', '1'])
}

/** Runs a program, which must end with 0; gives what it has written. */
export async function succeeds(command: string, args: readonly string[], input: string | Buffer = ''): Promise<string> {
  const { code, out, err } = await run(command, args, { input })
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${err}`)
  return out
}

export interface CertificateFiles {
  readonly cert: string
  readonly key: string
  readonly clientCert: string
  readonly clientKey: string
}

/** Certificates as files in `folder`: the server's is its own authority, and the client's is signed by it. */
export async function certificateFiles(folder: string): Promise<CertificateFiles> {
  const certificates = await makeCertificates()
  const write = (name: keyof CertificateFiles): string => {
    const file = join(folder, `${name}.pem`)
    // Debian's mosquitto gives up its rights before it reads its key.
    writeFileSync(file, certificates[name], { mode: 0o644 })
    return file
  }
  return { cert: write('cert'), key: write('key'), clientCert: write('clientCert'), clientKey: write('clientKey') }
}

/** 10,000 lines, each of them another one. */
export const manyLines = Array.from({ length: 10_000 }, (_, at) => `line ${at}`)

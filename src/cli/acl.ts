import { Argument, Command } from 'commander'
import { gathered } from './flags.ts'
import { CliError, Exit, type Io } from './io.ts'

export interface AclTestFlags {
  readonly client?: string
  readonly group?: readonly string[]
  readonly retain?: true
  readonly will?: true
  readonly config?: string
  readonly aclFile?: string
  readonly json?: true
}

/** `godwit acl`: who may do what. */
export function aclCommand(io: Io): Command {
  return new Command('acl')
    .description('see who may do what')
    .helpOption('--help', 'show this')
    .helpCommand(false)
    .addCommand(testCommand(io))
}

const help = `
USER '' is a client without a user name. TOPIC is a topic name for pub, and a topic filter for sub, which may be shared:
$share/GROUP/FILTER. It ends with 0 when it is allowed, with 5 when it is not, and with 3 when the rules are wrong.`

function testCommand(io: Io): Command {
  return new Command('test')
    .description('say whether a client may publish or subscribe, and which rule decides')
    .helpOption('--help', 'show this')
    .argument('<user>', 'user name')
    .addArgument(new Argument('<action>', 'pub or sub').choices(['pub', 'sub']))
    .argument('<topic>', 'topic, or filter')
    .option('--client <id>', 'client id, for rules that name it or have %c in them')
    .option('--group <name>', 'a group that the user is in, besides those of the users file; may be repeated', gathered)
    .option('--retain', 'pub: retained')
    .option('--will', 'pub: as a will')
    .option('--config <file>', 'configuration with the rules; GODWIT_CONFIG if not given')
    .option('--acl-file <file>', "Mosquitto's acl_file, instead of a configuration")
    .option('--json', 'as JSON')
    .addHelpText('after', help)
    .action(async (user: string, action: 'pub' | 'sub', topic: string, flags: AclTestFlags) => {
      const { testAccess } = await import('./acl/test.ts')
      // It has been told, and only the exit code is left to say so.
      if (!testAccess({ user, action, topic }, flags, io)) throw new CliError(Exit.refused, '')
    })
}

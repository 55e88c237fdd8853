import { CliError, Exit } from '../io.ts'

/** Turns what is thrown of a cluster's directory that cannot be used into what a person reads. */
export function sound<T>(use: () => T): T {
  try {
    return use()
  } catch (fault) {
    const { name, message } = fault as Error
    throw name === 'ClusterIdentityError' ? new CliError(Exit.data, message) : fault
  }
}

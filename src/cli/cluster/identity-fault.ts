import { CliError, Exit } from '../io.ts'

/** Turns what is thrown of a cluster's directory that cannot be used into what a person reads. */
export async function sound<T>(use: () => T | Promise<T>): Promise<T> {
  try {
    return await use()
  } catch (fault) {
    const { name, message } = fault as Error
    throw name === 'ClusterIdentityError' ? new CliError(Exit.data, message) : fault
  }
}

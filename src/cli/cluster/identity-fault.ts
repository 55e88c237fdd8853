import { CliError, Exit } from '../io.ts'

/** Throws what a person reads of a cluster's directory that cannot be used. */
export function identityFault(fault: unknown): never {
  const { name, message } = fault as Error
  throw name === 'ClusterIdentityError' ? new CliError(Exit.data, message) : fault
}

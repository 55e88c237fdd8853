/** What OpenSSL says, without the place in its sources where it says so. */
export function tlsWords(fault: Error): string {
  return (fault as { readonly reason?: string }).reason ?? fault.message
}

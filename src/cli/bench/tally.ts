/** What one run counted, over all its clients. */
export class Tally {
  sent = 0
  /** QoS 1: PUBACK. QoS 2: PUBCOMP. */
  acked = 0
  received = 0
  /** Messages that came with the DUP flag. */
  duplicates = 0
  /** With `--order`: messages behind one that came before, and messages with some missing before them. */
  outOfOrder = 0
  gaps = 0
  /** Acknowledgements with an error reason, and those that nobody waits for. */
  rejected = 0
  strayAcks = 0
  pongs = 0
  /** When something was last received, by the run's clock. */
  lastUs = 0

  reset(): void {
    Object.assign(this, new Tally())
  }
}

// Loaded before a broker: its wall clock is off by SHIFTED seconds, and at each SIGUSR2 it jumps, so that it is off by the next of
// SHIFTS. The monotonic clock goes on as ever.
const { SHIFTS = '', SHIFTED = '0' } = process.env
const shifts = SHIFTS.split(',').map(Number)
const Real = Date
let shiftMs = Number(SHIFTED) * 1000

globalThis.Date = class extends Real {
  constructor(...when) {
    super(...(when.length > 0 ? when : [Real.now() + shiftMs]))
  }
  static now() {
    return Real.now() + shiftMs
  }
}
process.on('SIGUSR2', () => {
  shiftMs = shifts.shift() * 1000
  process.stderr.write(`the clock is off by ${shiftMs / 1000} s\n`)
})

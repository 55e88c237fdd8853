// Loaded before a broker: at each SIGUSR2 its wall clock jumps, so that it is off by the next of SHIFTS, in seconds. The monotonic
// clock goes on as ever.
const shifts = process.env.SHIFTS.split(',').map(Number)
const Real = Date
let shiftMs = 0

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

// One contender, one scenario, one round: starts the broker, warms it, measures it, ends it.
import { freePorts, removeFolder, residentBytes, startServer, temporaryFolder } from './processes.mjs'

const brokerCore = 0
const generatorCore = 1
/** A run that takes longer is given up: its contender is too slow for the load. */
const timeoutSeconds = 30
/** Connecting thousands takes a while on a busy machine, and is not what is measured. */
const connectSeconds = 180

/**
 * @param pace { seconds, warmupSeconds, probe } how long runs should take, and how many messages the first one has
 * @param known messages a second that this contender took before; undefined for the first time
 * @returns { figures, fault, lost, takenPerSecond }
 */
export async function measure(contender, scenario, generator, pace, known) {
  const folder = temporaryFolder()
  const [port, another] = await freePorts(2)
  let server
  try {
    server = await startServer(brokerCore, contender.command(port, folder, another), port, folder)
    const run = (load) => generator.run(generatorCore, port, load, load.connections ? connectSeconds : timeoutSeconds)
    const { load } = scenario
    const result = load.connections
      ? await idle(server.pid, load, run)
      : load.rate
        ? // A broker runs for months: at this rate its code takes seconds to be compiled, on the core that serves.
          await run({ ...load, seconds: pace.seconds * 2, warmupSeconds: pace.warmupSeconds * 12 })
        : await throughput(load, run, pace, known)
    if (!server.isAlive()) result.fault = 'the broker died'
    return result
  } catch (error) {
    return { figures: {}, fault: error.message, lost: 0 }
  } finally {
    await server?.stop()
    removeFolder(folder)
  }
}

/** A shorter run than this share of what was wanted says little: what a cold broker did was no guide. */
const shortest = 0.6
const attempts = 4

/** Slow contenders get fewer messages, so that each run takes about as long. */
async function throughput(load, run, { seconds, warmupSeconds, probe }, known) {
  const least = load.publishers * 2
  let perSecond = known
  if (perSecond === undefined) {
    const probed = await run({ ...load, count: Math.max(least, probe), warmup: 0 })
    if (probed.fault) return probed
    perSecond = probed.figures.inPerSecond
  }
  const messages = (wanted) => Math.max(least, Math.round(perSecond * wanted))
  for (let attempt = 0; attempt < attempts; attempt++) {
    const result = await run({ ...load, count: messages(seconds), warmup: messages(warmupSeconds) })
    if (result.fault) return result
    perSecond = result.figures.inPerSecond
    if (result.figures.seconds >= seconds * shortest) return { ...result, takenPerSecond: perSecond }
  }
  return { figures: {}, fault: 'runs were too short to say anything', lost: 0 }
}

/** What the broker's process grows by while the connections are held, for each of them. */
async function idle(pid, load, run) {
  const before = residentBytes(pid)
  if (before === undefined) return { figures: {}, fault: 'no /proc on this system', lost: 0 }
  const samples = []
  const timer = setInterval(() => samples.push([Date.now(), residentBytes(pid)]), 100)
  const result = await run(load)
  clearInterval(timer)
  // The generator leaves right after it held them: a sample from the second half of that time is taken with all of them there.
  const until = Date.now() - (load.hold * 1000) / 4
  const held = samples.findLast(([at]) => at < until)?.[1]
  const { connected = 0 } = result.figures
  const short = connected < load.connections ? `${connected} of ${load.connections} connected` : undefined
  const fault = short && result.fault ? `${short}: ${result.fault}` : (short ?? result.fault)
  const bytesEach = fault || held === undefined ? undefined : Math.round((held - before) / connected)
  return { figures: { ...result.figures, bytesEach }, fault, lost: 0 }
}

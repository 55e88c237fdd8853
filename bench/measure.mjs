// One contender, one scenario, one round: starts the broker, warms it, measures it, ends it.
import { connack, freePorts, memoryOf, removeFolder, startServer, temporaryFolder } from './processes.mjs'

const brokerCore = 0
const generatorCore = 1
/** A run that takes longer is given up: its contender is too slow for the load. */
const timeoutSeconds = 30
/** Connecting thousands takes a while on a busy machine, and is not what is measured. */
const connectSeconds = 180
/** A broker with millions of messages may take so long to end, and to be back. */
const restartMs = 120_000

/**
 * @param pace { seconds, warmupSeconds, probe } how long runs should take, and how many messages the first one has
 * @param known messages a second that this contender took before; undefined for the first time
 * @returns { figures, fault, lost, takenPerSecond }
 */
export async function measure(contender, scenario, generator, pace, known) {
  const folder = temporaryFolder()
  const [port, anotherPort] = await freePorts(2)
  let server
  let runs = 0
  try {
    const command = contender.command({ port, anotherPort, folder, group: scenario.group })
    server = await startServer(brokerCore, command, port, folder)
    // Sessions outlive a run, so that each run has its own.
    const prefix = ({ sessions }) => (sessions ? { prefix: `bench${runs++}` } : {})
    const trial = {
      folder,
      load: scenario.load,
      pace,
      known,
      syncs: contender.syncs ?? false,
      pid: () => server.pid,
      run: (load, seconds = load.connections ? connectSeconds : timeoutSeconds) =>
        generator.run(generatorCore, port, { ...prefix(load), ...load }, seconds),
      /** @returns milliseconds from the start of the new process to its first CONNACK */
      restart: async (signal) => {
        await server.stop(signal, restartMs)
        const begun = performance.now()
        server = await startServer(brokerCore, command, port, folder, restartMs)
        await connack(port)
        return performance.now() - begun
      },
    }
    const result = await (scenario.measure ?? usual)(trial)
    if (!server.isAlive()) result.fault = 'the broker died'
    return result
  } catch (error) {
    return { figures: {}, fault: error.message, lost: 0 }
  } finally {
    await server?.stop()
    removeFolder(folder)
  }
}

function usual(trial) {
  const { load, pace, run } = trial
  if (load.connections) return idle(trial)
  if (!load.rate) return throughput(trial)
  // A broker runs for months: at this rate its code takes seconds to be compiled, on the core that serves.
  return run({ ...load, seconds: pace.seconds * 2, warmupSeconds: pace.warmupSeconds * 12 })
}

/** A shorter run than this share of what was wanted says little: what a cold broker did was no guide. */
const shortest = 0.6
const attempts = 4

/** Slow contenders get fewer messages, so that each run takes about as long. */
async function throughput({ load, run, known, pace: { seconds, warmupSeconds, probe } }) {
  const least = load.publishers * 2
  let perSecond = known
  if (perSecond === undefined) {
    const probed = await run({ ...load, count: Math.max(least, load.probe ?? probe), warmup: 0 })
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
async function idle({ pid, load, run }) {
  const before = memoryOf(pid())?.residentBytes
  if (before === undefined) return { figures: {}, fault: 'no /proc on this system', lost: 0 }
  const samples = []
  const timer = setInterval(() => samples.push([Date.now(), memoryOf(pid())?.residentBytes]), 100)
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

import { Bench, type Host, type Outcome, round } from './bench.ts'
import { subscribeFrame } from './frames.ts'
import type { ConnectOptions, SubscribeOptions } from './options.ts'

/** Subscribes, or takes up its sessions, and counts what comes. */
export async function runSubscribe(options: SubscribeOptions, host: Host): Promise<Outcome> {
  const { subscribers, seconds, count, persistent = false } = options
  const bench = new Bench(options, host, options.timeout + (count === undefined ? seconds : 0))
  const { tally, fleet, watch } = bench
  // The first of a backlog comes together with CONNACK, before any client is known to be ready.
  let [startUs, startCpuUs] = [host.nowUs(), host.cpuUs()]
  await fleet.connect(subscribers, options.atOnce, (index) => ({
    ...bench.role(`s${index}`, persistent),
    resumes: persistent,
    subscribe: subscribeFrame(options.filter, options.qos, options.protocolVersion),
  }))
  if (fleet.connected < subscribers) return bench.unconnected()
  if (!persistent) [startUs, startCpuUs] = [host.nowUs(), host.cpuUs()]
  const isDone = (): boolean =>
    count === undefined ? host.nowUs() - startUs >= seconds * 1e6 : tally.received >= count
  bench.moved = () => watch.poke()
  const ending = await watch.until(isDone, () => tally.received, Number.POSITIVE_INFINITY)
  const took = (host.nowUs() - startUs) / 1e6
  const generatorCpu = (host.cpuUs() - startCpuUs) / 1e6 / took
  return bench.outcome(ending, {
    subscribers,
    qos: options.qos,
    received: tally.received,
    duplicates: tally.duplicates,
    dropped: fleet.dropped,
    seconds: round(took, 3),
    outPerSecond: Math.round(tally.received / took),
    generatorCpu: round(generatorCpu, 2),
  })
}

/** Connects idle clients, and holds them. */
export async function runConnect(options: ConnectOptions, host: Host): Promise<Outcome> {
  const { connections, hold } = options
  const bench = new Bench(options, host, options.timeout + hold)
  const { fleet, watch } = bench
  await fleet.connect(connections, options.atOnce, (index) => bench.role(`i${index}`))
  const seconds = bench.seconds()
  if (fleet.connected === 0) return bench.unconnected()
  const heldUs = host.nowUs() + hold * 1e6
  const ending = await watch.until(
    () => host.nowUs() >= heldUs,
    () => 0,
    Number.POSITIVE_INFINITY,
  )
  return bench.outcome(fleet.ending === 'done' ? ending : fleet.ending, {
    connections,
    connected: fleet.connected,
    refused: fleet.refused,
    dropped: fleet.dropped,
    seconds: round(seconds, 3),
    connectsPerSecond: Math.round(fleet.connected / seconds),
    holdSeconds: hold,
  })
}

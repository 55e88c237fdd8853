import { Bench, type Host, type Outcome, round } from './bench.ts'
import type { Client, ClientRole } from './client.ts'
import { Batch, subscribeFrame } from './frames.ts'
import { Histogram } from './histogram.ts'
import { Pacer, Pump } from './load.ts'
import { deliveriesOf, filterOf, type PublishOptions, topicOf } from './options.ts'
import { Inspector, Sender } from './sender.ts'
import type { Tally } from './tally.ts'
import type { Ending } from './watch.ts'

const batchBytes = 65_536

type Quantiles = Record<'p50Us' | 'p99Us' | 'p999Us' | 'maxUs', number>

/** Publishes to subscribers of its own, online or gone, and counts what becomes of every message. */
export async function runPublish(options: PublishOptions, host: Host): Promise<Outcome> {
  const { mode, publishers, subscribers, qos, prefix, rate, settle, offline = false } = options
  const persistent = offline || (options.persistent ?? false)
  const bench = new Bench(options, host, options.timeout)
  const { tally, watch, fleet } = bench
  const histogram = new Histogram()
  const ackHistogram = new Histogram()
  const latency = rate === undefined ? undefined : (us: number): void => histogram.record(us)
  const inspector = (): Pick<ClientRole, 'inspector'> =>
    latency || options.order
      ? { inspector: new Inspector(tally, options.order ? publishers : 0, mode !== 'shared', latency) }
      : {}
  const subscriber = (index: number): ClientRole => ({
    ...bench.role(`s${index}`, persistent),
    leaves: offline,
    subscribe: subscribeFrame(filterOf(mode, prefix, index, publishers), options.subQos, options.protocolVersion),
    ...inspector(),
  })
  await fleet.connect(subscribers, options.atOnce, subscriber, bench.dial(options.subPort ?? options.port))
  const clients = await fleet.connect(publishers, options.atOnce, (index) => bench.role(`p${index}`))
  const connectSeconds = bench.seconds()
  if (fleet.connected < publishers + subscribers) return bench.unconnected()

  const ackLatency = rate === undefined ? undefined : (us: number): void => ackHistogram.record(us)
  const senders = clients.map((client, index) => senderOf(client, index, options, tally, ackLatency))
  const copies = deliveriesOf(mode, subscribers, publishers)
  const deliveries = offline ? 0 : copies
  const load = async (each: number): Promise<Ending> => {
    const drive =
      rate === undefined
        ? new Pump(senders, each, deliveries, tally)
        : new Pacer(senders, each * publishers, rate, host.nowUs)
    const total = each * publishers
    const isDone = (): boolean =>
      tally.sent >= total &&
      tally.received >= total * deliveries &&
      (qos === 0 ? deliveries > 0 || tally.pongs >= publishers : tally.acked + tally.rejected >= total)
    bench.moved = (client) => {
      drive.wake(client?.sender)
      watch.poke()
    }
    drive.wake()
    const ending = await watch.until(isDone, () => tally.sent + tally.received + tally.acked + tally.pongs, settle)
    bench.moved = () => {}
    if (drive instanceof Pacer) drive.stop()
    return ending
  }

  // A warm-up that fails is what is reported: its figures belong to its own messages and its own time.
  let each = Math.ceil(options.warmup / publishers)
  let [startUs, startCpuUs] = [host.nowUs(), host.cpuUs()]
  let ending: Ending = each > 0 ? await load(each) : 'done'
  if (ending === 'done') {
    tally.reset()
    histogram.clear()
    ackHistogram.clear()
    each = Math.floor(options.count / publishers)
    ;[startUs, startCpuUs] = [host.nowUs(), host.cpuUs()]
    ending = await load(each)
  }
  const seconds = Math.max(1, (tally.lastUs || host.nowUs()) - startUs) / 1e6
  const generatorCpu = (host.cpuUs() - startCpuUs) / Math.max(1, host.nowUs() - startUs)
  const expected = each * publishers * deliveries
  const lost = Math.max(0, expected - tally.received)
  const unacked = qos === 0 ? 0 : Math.max(0, tally.sent - tally.acked - tally.rejected)
  const surplus = qos === 1 && options.subQos > 0 ? 0 : Math.max(0, tally.received - expected)
  bench.problem(lost, 'messages were not delivered')
  bench.problem(unacked, 'messages were not acknowledged')
  bench.problem(surplus, 'messages were delivered twice')
  bench.problem(tally.rejected, 'messages were acknowledged with an error')
  bench.problem(tally.strayAcks, 'acknowledgements were for no message in flight')
  bench.problem(tally.outOfOrder, 'messages came out of order')
  bench.problem(tally.gaps, 'messages were missing when a later one came')
  return bench.outcome(ending, {
    mode,
    qos,
    publishers,
    subscribers,
    sizeBytes: options.size,
    window: options.window,
    sent: tally.sent,
    acked: tally.acked,
    received: tally.received,
    expected,
    lost,
    duplicates: tally.duplicates,
    outOfOrder: tally.outOfOrder,
    dropped: fleet.dropped,
    connectSeconds: round(connectSeconds, 3),
    seconds: round(seconds, 4),
    inPerSecond: Math.round(tally.sent / seconds),
    outPerSecond: Math.round(tally.received / seconds),
    generatorCpu: round(generatorCpu, 2),
    ...(offline ? { queued: tally.acked * copies, queuedPerSecond: Math.round((tally.acked * copies) / seconds) } : {}),
    ...(latency && !offline ? quantilesOf(histogram) : {}),
    ...(latency && qos > 0 ? ackQuantilesOf(ackHistogram) : {}),
  })
}

function senderOf(
  client: Client,
  index: number,
  options: PublishOptions,
  tally: Tally,
  ackLatency: ((us: number) => void) | undefined,
): Sender {
  const { mode, prefix, qos, protocolVersion, size } = options
  // Publishers share what memory batches take: the last ones get a few frames each.
  const mostBytes = Math.min(batchBytes, Math.max(4096, (64 * batchBytes) / options.publishers))
  const batch = new Batch(topicOf(mode, prefix, index), qos, protocolVersion, size, mostBytes)
  const window = Math.min(options.window, client.receiveMaximum)
  client.sender = new Sender(index, batch, client.wire, tally, window, size, options.order ?? false, ackLatency)
  return client.sender
}

function quantilesOf(histogram: Histogram): Quantiles {
  return {
    p50Us: histogram.quantile(0.5),
    p99Us: histogram.quantile(0.99),
    p999Us: histogram.quantile(0.999),
    maxUs: histogram.max,
  }
}

function ackQuantilesOf(histogram: Histogram): Record<string, number> {
  const { p50Us, p99Us, p999Us, maxUs } = quantilesOf(histogram)
  return { ackP50Us: p50Us, ackP99Us: p99Us, ackP999Us: p999Us, ackMaxUs: maxUs }
}

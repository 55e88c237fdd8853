import { check, type Finding } from '../prove/checker.ts'
import type { Qos } from '../prove/history.ts'
import { GoneError, Scene } from './scene.ts'

/** Enough of these fill a segment of the smallest size, and bring a checkpoint. */
const big = { bytes: 350_000 }
const retain = true
const keptTopics = ['kept/0', 'kept/1', 'kept/2'] as const

/**
 * A short fixed story that leaves every kind of record on the disk, a second segment, and a checkpoint:
 *
 *   sender    publishes QoS 1 and 2, retained messages, and large ones
 *   holder    leaves a QoS 2 id between PUBREC and PUBREL
 *   away      is offline while its queue grows, then drains it
 *   steady    receives; crashes once with messages in flight
 *   fickle    unsubscribes
 *   mortal    dies with a will
 *
 * `run` may be cut short anywhere by the end of the broker. `aftermath` then says which promises were broken.
 */
export class Script {
  readonly #scene = new Scene()
  readonly #sender = this.#scene.client({ id: 'sender', version: 5 })
  readonly #holder = this.#scene.client({ id: 'holder', version: 5 })
  readonly #away = this.#scene.subscriber({ id: 'away', version: 5, receiveMaximum: 4 })
  readonly #steady = this.#scene.subscriber({ id: 'steady', version: 4 })
  readonly #fickle = this.#scene.subscriber({ id: 'fickle', version: 4 })
  readonly #mortal = this.#scene.client({ id: 'mortal', version: 4 })

  /** Messages whose acknowledgement has come. */
  get acknowledged(): number {
    return this.#scene.history.publications.filter(({ ackedAt }) => ackedAt < Infinity).length
  }

  /** @param ended resolves when the broker is gone. @returns has all of the story been told? */
  async run(port: number, ended: Promise<unknown>): Promise<boolean> {
    this.#scene.meet(port, ended)
    try {
      await this.#tell()
      return true
    } catch (fault) {
      if (fault instanceof GoneError) return false
      throw fault
    } finally {
      this.end()
    }
  }

  /** After a restart: everybody comes back and gets what is theirs. @returns what is wrong */
  async aftermath(port: number, ended: Promise<unknown>): Promise<readonly Finding[]> {
    const { history } = this.#scene
    this.#scene.meet(port, ended)
    try {
      await this.#settle()
    } catch (fault) {
      history.incident('misbehaved', (fault as Error).message)
    }
    this.end()
    return check(history).findings
  }

  /** Lets go of every connection. */
  end(): void {
    this.#scene.end()
  }

  async #tell(): Promise<void> {
    const scene = this.#scene
    const [sender, holder, away, steady, fickle] = [this.#sender, this.#holder, this.#away, this.#steady, this.#fickle]
    await scene.connect(sender, holder, away, steady)
    away.subscribe('a/#', 2)
    steady.subscribe('a/+', 1)
    steady.subscribe('will/#', 2)
    away.subscribe('big/#', 1)
    await scene.idle(away, steady)
    away.leave()

    scene.send(sender, 'a/x', 1)
    scene.send(sender, 'a/x', 2)
    scene.send(sender, keptTopics[0], 1, { retain })
    await scene.publish(sender, keptTopics[1], 2, { retain })
    holder.publisher.hold(true)
    const held = scene.send(holder, 'a/held', 2)
    await scene.until(() => held.ackedAt < Infinity)

    await scene.connect(fickle)
    fickle.subscribe('c/#', 1)
    await scene.idle(fickle)
    fickle.subscribe('d/#', 2)
    fickle.unsubscribe(fickle.subscriptionTo('c/#')!)
    scene.send(sender, keptTopics[1], 1, { retain, bytes: 0 })
    await scene.idle(fickle, sender)

    const will = scene.publication(this.#mortal, 'will/due', 2, { kind: 'will' })
    this.#mortal.connect(scene.port, { publication: will, delaySeconds: 0 })
    await scene.until(() => this.#mortal.isOnline)
    this.#mortal.crash()
    await scene.until(() => steady.record.received.includes(will.number))

    steady.receiver.hold(true)
    const flying = [1, 2, 1, 2].map((qos) => scene.send(sender, 'a/y', qos as Qos))
    await scene.idle(sender)
    await scene.until(() => flying.every(({ number }) => steady.record.received.includes(number)))
    steady.crash()
    steady.receiver.hold(false)
    await scene.connect(steady)

    for (let count = 0; count < 4; count++) await scene.publish(sender, 'big/x', 1, big)
    holder.publisher.hold(false)
    await scene.publish(sender, keptTopics[2], 2, { ...big, retain })
    await scene.connect(away)
    await scene.until(() => scene.owed() === 0)
    away.leave()
    scene.send(sender, 'a/z', 2)
    scene.send(sender, 'd/z', 1)
    await scene.idle(sender, holder, steady, fickle)
  }

  async #settle(): Promise<void> {
    const scene = this.#scene
    const members = [this.#sender, this.#holder, this.#away, this.#steady, this.#fickle]
    for (const client of members) {
      client.publisher.hold(false)
      client.receiver.hold(false)
    }
    await scene.connect(...members)
    await scene.idle(...members)
    await this.#readKept()
    for (const topic of ['a/probe', 'big/probe', 'c/probe', 'd/probe', 'will/probe'])
      scene.send(this.#sender, topic, 2, { kind: 'probe' })
    await scene.idle(...members)
    await scene.until(() => scene.owed() === 0)
    // What must not come has come as well.
    for (const client of members) client.ping()
    await scene.idle(...members)
  }

  /** Somebody new asks for everything retained. */
  async #readKept(): Promise<void> {
    const { history } = this.#scene
    const reader = this.#scene.client({ id: 'reader', version: 5, passing: true })
    const { readings } = history
    await this.#scene.connect(reader)
    const askedAt = history.now()
    const first = readings.length
    reader.onRetained = (topic, number) => readings.push({ topic, number, askedAt, heardAt: history.now() })
    reader.subscribe('kept/#', 1)
    // Retained messages may come behind SUBACK, and these before the answer to a PINGREQ.
    await this.#scene.idle(reader)
    reader.ping()
    await this.#scene.idle(reader)
    const heard = new Set(readings.slice(first).map(({ topic }) => topic))
    for (const topic of keptTopics)
      if (!heard.has(topic)) readings.push({ topic, number: undefined, askedAt, heardAt: history.now() })
  }
}

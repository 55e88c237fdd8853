import { expect } from 'vitest'
import type { Client } from './client.ts'
import type { ConnectWish } from './connecting.ts'
import type { Delivery, Wish } from './history.ts'
import type { FilterWish } from './subscriber.ts'
import { World, type WorldOptions } from './world.ts'

// What scenarios are made of: a world without faults, and clients that do one thing at a time.

export function calmWorld(options: Partial<WorldOptions> = {}): World {
  return new World({ seed: 1, syncMs: 0, ...options, weather: { latencyMs: 1, ...options.weather } })
}

export function wish(topic: string, more: Partial<Wish> = {}): Wish {
  const plain = { qos: 1, retain: false, payloadBytes: 1, isWill: false, expirySeconds: -1, contentType: '' } as const
  return { topic, ...plain, ...more }
}

export function filter(name: string, more: Partial<FilterWish> = {}): FilterWish {
  return { name, qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0, ...more }
}

/** Connects, and waits for CONNACK. */
export function enter(world: World, client: Client, more: Partial<ConnectWish> = {}): Client {
  client.connect({ clean: false, ...more })
  expect(world.run(60_000, () => client.online)).toBe(true)
  return client
}

/** Subscribes, and waits for SUBACK. */
export function subscribe(world: World, client: Client, ...wishes: FilterWish[]): void {
  client.subscribe(wishes, 0)
  expect(world.run(60_000, () => client.subscriber.size === 0)).toBe(true)
}

/** What has come to a client on a topic. */
export function came(client: Client, topic: string): Delivery[] {
  return client.epoch.deliveries.filter((delivery) => delivery.topic === topic)
}

/** Runs until `done`, and gives how long that took. */
export function timeUntil(world: World, mostMs: number, done: () => boolean): number {
  const startMs = world.time.now()
  expect(world.run(mostMs, done), 'it should have happened by now').toBe(true)
  return world.time.now() - startMs
}

// Aedes on godwit's store, as its users run it. Prints its port; SIGTERM ends it in order.
//
//   node test/aedes/broker.mjs FOLDER
import net from 'node:net'
import { Aedes } from 'aedes'
import { aedesPersistence } from 'godwit/aedes'

const persistence = aedesPersistence({ data: process.argv[2] })
// Wills of a broker that is gone are sent after four heartbeats.
const broker = await Aedes.createBroker({ persistence, heartbeatInterval: 50 })
const server = net
  .createServer(broker.handle)
  .listen(0, '127.0.0.1', () => console.log(`port ${server.address().port}`))
process.once('SIGTERM', () => {
  server.close()
  broker.close(() => persistence.destroy())
})

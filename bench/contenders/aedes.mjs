// Aedes with its default settings: the broker that people embed in Node today. With a folder it keeps everything there, in
// LevelDB by aedes-persistence-level.
//
//   node bench/contenders/aedes.mjs PORT [FOLDER]
import net from 'node:net'
import { Aedes } from 'aedes'

const [port, folder] = process.argv.slice(2)
const broker = await Aedes.createBroker(folder === undefined ? {} : { persistence: await levelPersistence(folder) })
net.createServer(broker.handle).listen(Number(port), '127.0.0.1')

async function levelPersistence(folder) {
  const { Level } = await import('level')
  const { default: persistence } = await import('aedes-persistence-level')
  return persistence(new Level(folder))
}

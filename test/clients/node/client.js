'use strict'
// One MQTT.js client, told what to do by lines of JSON on stdin. See external_test.go.

const readline = require('node:readline')
const mqtt = require('mqtt')

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const answer = (fields) => say({ reply: { code: 0, ...fields } })

// A refusal has the server's reason code; other errors are the library's own.
const answerError = (err) => answer(typeof err.code === 'number' ? { code: err.code } : { error: String(err) })

let client

function properties(m) {
  const p = {}
  if (m.contentType) p.contentType = m.contentType
  if (m.responseTopic) p.responseTopic = m.responseTopic
  if (m.correlation) p.correlationData = Buffer.from(m.correlation)
  for (const [key, value] of m.user || []) {
    p.userProperties ||= {}
    p.userProperties[key] = [...(p.userProperties[key] || []), value]
  }
  return p
}

function received(topic, payload, packet) {
  const p = packet.properties || {}
  say({
    message: {
      topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain,
      contentType: p.contentType, responseTopic: p.responseTopic,
      correlation: p.correlationData && p.correlationData.toString(),
      user: Object.entries(p.userProperties || {}).flatMap(([k, v]) => [v].flat().map((one) => [k, one])),
    },
  })
}

const does = {
  connect(c) {
    const v5 = c.version === 5
    client = mqtt.connect(c.url, {
      protocolVersion: c.version, clientId: c.id, username: c.userName, password: c.token,
      clean: !c.durable, reconnectPeriod: 0, resubscribe: false, ca: c.ca,
      ...(v5 && c.durable && { properties: { sessionExpiryInterval: 3600 } }),
      ...(c.will && { will: { topic: c.will.topic, payload: c.will.payload, qos: c.will.qos, retain: c.will.retain,
        ...(v5 && { properties: properties(c.will) }) } }),
    })
    let told = false
    const once = (tell) => (value) => {
      if (!told) tell(value)
      told = true
    }
    client.on('message', received)
    client.on('connect', once((ack) => answer({ present: ack.sessionPresent })))
    client.on('error', once(answerError))
    client.on('close', once(() => answer({ error: 'closed' })))
  },
  subscribe(c) {
    client.subscribe(c.filter, { qos: c.qos }, (err, granted, packet) => {
      const ack = packet || (err && err.packet)
      if (ack) answer({ code: ack.granted[0] })
      else answerError(err)
    })
  },
  unsubscribe(c) {
    client.unsubscribe(c.filter, (err) => (err ? answerError(err) : answer()))
  },
  publish(c) {
    const m = c.message
    client.publish(m.topic, m.payload, { qos: m.qos, retain: m.retain, properties: properties(m) },
      (err) => (err ? answerError(err) : answer()))
  },
  disconnect() {
    client.end(() => answer())
  },
}

readline.createInterface({ input: process.stdin })
  .on('line', (line) => {
    const command = JSON.parse(line)
    does[command.do](command)
  })
  .on('close', () => process.exit(0))

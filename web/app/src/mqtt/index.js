// MQTT.js from its sources, with the one transport that a page here uses. Its
// own bundle for browsers has others, timers in a worker made from a blob,
// which the content security policy forbids, and a store that nobody asked for.
import client from "mqtt/lib/client";
import { browserStreamBuilder } from "mqtt/lib/connect/ws";

const MqttClient = client.default ?? client;

function connect(address, options) {
  const url = new URL(address);
  const opts = {
    ...options,
    protocol: url.protocol.slice(0, -1),
    hostname: url.hostname,
    host: url.hostname,
    port: Number(url.port) || (url.protocol === "wss:" ? 443 : 80),
    path: url.pathname + url.search,
  };
  const made = new MqttClient((c) => browserStreamBuilder(c, opts), opts);
  made.on("error", () => {}); // who connects listens too; without this one it would throw before
  return made;
}

export default { connect };

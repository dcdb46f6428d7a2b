// In the place of what MQTT.js does not use in a page: its log, timers in
// workers, and the WebSocket of Node.
const none = () => {};
none.enabled = false;
module.exports = () => none;

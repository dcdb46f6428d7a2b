// Package clients drives client libraries and programs of others against a
// server, on chat topics and on ordinary topics: paho.golang, paho.mqtt.golang,
// the paho-mqtt of Python, MQTT.js over WebSocket, and mosquitto's programs.
//
// Each library is driven through the same few operations, and each scenario
// runs with each library on either side of it. scripts/test-deps.sh installs
// what the tests need; a test fails where it is missing.
package clients

// Package parley is the root of a chat server that speaks MQTT. It holds no
// code: the server is built by internal/app and started by cmd/parley. The
// tests here watch over the shape of the whole.
package parley

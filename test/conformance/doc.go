// Package conformance tests from outside what MQTT 3.1.1 and 5 demand of a
// server, a file for each chapter, and holds docs/conformance.md against the
// list of the standards' statements.
//
// Absence of a packet is shown by one that must come after it.
package conformance

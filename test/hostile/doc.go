// Package hostile shows what clients that mean harm can do to the others: it
// runs the real program, attacks it, and measures meanwhile how long messages
// of decent clients take, and what memory the server needs.
//
// A plain run has small attacks, and checks what each one gets for an answer,
// memory, and that nothing is left behind. Times are only looked at for a
// message that never comes. The whole attacks, with a table of what they cost
// the others, are run by
//
//	go test ./test/hostile -full -v -timeout 2h
package hostile

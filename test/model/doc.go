// Package model plays random cases on a real server and checks after every
// step what the contract promises. A case has a few users with some devices
// each, in a few conversations. They join, leave, send, read, stall, die and
// return; the server restarts and crashes. Each case runs on SQLite and on
// Postgres.
//
// The checks compare with the log as the store has it:
//
//   - every acknowledged send stands in the log once, where its
//     acknowledgement said; a repeat gives the first id and seq; what was
//     refused is not there; the refusal was due;
//   - seq goes 1, 2, 3, … in each stream, and no entry is lost or changed;
//   - every subscriber gets each stream in order, from the place that is its
//     due. It may jump only over what was committed while its user was no
//     member, and back only where it asked for that, or to what it has not
//     acknowledged;
//   - a session that returns goes on after what it acknowledged. After a
//     crash it may get again what was not saved yet;
//   - nothing that was erased is in a delivery that began later;
//   - acknowledgements come in order, no more entries are under way than the
//     Receive Maximum, what must come does come;
//   - in the end everybody has everything, and no goroutine is left.
//
// By default every run plays the same cases. New ones, and more of them:
//
//	RAPID_CHECKS=5000 RAPID_STEPS=60 go test -timeout 0 ./test/model -rapid.seed=0
//
// A failure prints the steps of the case, and how to play it again with
// -rapid.seed or -rapid.failfile:
//
//	go test ./test/model -run 'TestModel/sqlite' -rapid.seed=123
//	go test ./test/model -run 'TestModel/sqlite' -rapid.failfile=testdata/rapid/…
//
// The server is concurrent, so a case may need some tries to fail again; set
// -count. PARLEY_MODEL_PATIENCE is how long the test waits for what must come:
// with 3s instead of 15s rapid has more tries to find a short case. That is
// written to testdata/rapid, and as long as it lies there it is played first.
// It is not meant to be committed: a defect that was found becomes a plain
// test, see found_test.go.
package model

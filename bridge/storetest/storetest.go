// Package storetest is the suite that every bridge.Store must pass. It checks
// what the comments of bridge.Store promise, through the contract alone, so
// that it runs on every database.
//
// A backend's test package uses it like this:
//
//	var backend = storetest.Backend{Open: …, Reopen: …}
//
//	func TestMain(m *testing.M) {
//		storetest.ChildMain(backend)
//		goleak.VerifyTestMain(m)
//	}
//
//	func TestStore(t *testing.T) { storetest.Exercise(t, backend) }
//
// ChildMain comes first: the crash tests start the test binary again as a
// child, and the child must not run the tests.
package storetest

import (
	"testing"

	"github.com/parley-mqtt/parley/bridge"
)

// Backend is a kind of store under test.
type Backend struct {
	// Open gives a migrated store on a fresh, empty database, and the
	// words by which Reopen finds that database again, in this process or
	// in a child. A Cleanup of tb closes the store and removes the
	// database; the test may have closed the store before.
	Open func(tb testing.TB) (store bridge.Store, dsn string)
	// Reopen opens a database that Open made. It does not migrate. A
	// Cleanup of tb closes the store; the test may have closed it before.
	Reopen func(tb testing.TB, dsn string) bridge.Store
	// Shared says that several stores may have one database open at the
	// same time. Where it is false, the suite closes the first store before
	// it opens the second.
	Shared bool
}

// Exercise runs the whole suite. Each test has a database of its own; the
// tests run in parallel.
func Exercise(t *testing.T, b Backend) {
	t.Run("Commit", func(t *testing.T) { b.run(t, commitTests) })
	t.Run("Targets", func(t *testing.T) { b.run(t, targetTests) })
	t.Run("History", func(t *testing.T) { b.run(t, historyTests) })
	t.Run("Conversations", func(t *testing.T) { b.run(t, conversationTests) })
	t.Run("Members", func(t *testing.T) { b.run(t, memberTests) })
	t.Run("Settings", func(t *testing.T) { b.run(t, settingTests) })
	t.Run("Pairs", func(t *testing.T) { b.run(t, pairTests) })
	t.Run("Views", func(t *testing.T) { b.run(t, viewTests) })
	t.Run("Reading", func(t *testing.T) { b.run(t, readingTests) })
	t.Run("Sessions", func(t *testing.T) { b.run(t, sessionTests) })
	t.Run("Keep", func(t *testing.T) { b.run(t, keepTests) })
	t.Run("Queues", func(t *testing.T) { b.run(t, queueTests) })
	t.Run("Retained", func(t *testing.T) { b.run(t, retainedTests) })
	t.Run("Retention", func(t *testing.T) { b.run(t, retentionTests) })
	t.Run("Revocations", func(t *testing.T) { b.run(t, revocationTests) })
	t.Run("Mine", func(t *testing.T) { b.run(t, mineTests) })
	t.Run("Live", func(t *testing.T) { b.run(t, liveTests) })
	t.Run("Webhooks", func(t *testing.T) { b.run(t, webhookTests) })
	t.Run("Search", func(t *testing.T) { b.run(t, searchTests) })
	t.Run("Persons", func(t *testing.T) { b.run(t, personTests) })
	t.Run("Notices", func(t *testing.T) { b.run(t, noticeTests) })
	t.Run("Mentions", func(t *testing.T) { b.run(t, mentionTests) })
	t.Run("Failures", func(t *testing.T) { b.run(t, failureTests) })
	t.Run("Races", func(t *testing.T) { b.run(t, raceTests) })
	t.Run("KeepRaces", func(t *testing.T) { b.run(t, keepRaceTests) })
	t.Run("Model", func(t *testing.T) { b.run(t, modelTests) })
	t.Run("Crash", func(t *testing.T) { b.run(t, crashTests) })
}

// test is one test of the suite, on a database of its own.
type test struct {
	name string
	run  func(e *env)
}

func (b Backend) run(t *testing.T, tests []test) {
	t.Parallel()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			store, dsn := b.Open(t)
			tt.run(newEnv(t, b, store, dsn))
		})
	}
}

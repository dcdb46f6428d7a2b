package model_test

import (
	"flag"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// What a run does unless flags or RAPID_CHECKS, RAPID_STEPS and RAPID_SEED say
// otherwise: cases on each database, steps of a case on average, and where the
// cases come from. With the seed a run of CI plays the same cases every time;
// 0 draws new ones.
const (
	checks = "80"
	steps  = "40"
	seed   = "1"
)

func TestMain(m *testing.M) {
	flag.Parse()
	setDefault("rapid.checks", "RAPID_CHECKS", checks)
	setDefault("rapid.steps", "RAPID_STEPS", steps)
	setDefault("rapid.seed", "RAPID_SEED", seed)
	goleak.VerifyTestMain(pgtest.Runner{M: m})
}

func setDefault(name, env, value string) {
	_, given := os.LookupEnv(env)
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	if err := flag.Set(name, value); err != nil {
		panic(err)
	}
}

// cases counts all cases of a process: each has users and conversations of
// its own, for they share a database.
var cases atomic.Int64

func TestModel(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		dsn := parleytest.Database(t, backend)
		rapid.Check(t, func(rt *rapid.T) {
			leaks := goleak.IgnoreCurrent()
			w := newWorld(t, rt, backend, dsn)
			w.begin()
			rt.Repeat(map[string]func(*rapid.T){"step": func(*rapid.T) { w.step() }})
			w.finish()
			if err := goleak.Find(leaks); err != nil {
				w.fail("a goroutine is left: %v", err)
			}
		})
	})
}

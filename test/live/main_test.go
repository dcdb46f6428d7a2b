package live_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// What a run does unless flags or the environment say otherwise; see package
// model.
const (
	checks = "15"
	steps  = "30"
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

func TestLive(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		dsn := parleytest.Database(t, backend)
		serial := 0
		rapid.Check(t, func(rt *rapid.T) {
			serial++
			w := newWorld(t, rt, backend, dsn, serial)
			defer func() { w.server.Stop() }()
			rt.Repeat(map[string]func(*rapid.T){
				"connect": w.connect, "cut": w.cut, "status": w.status, "join": w.join, "leave": w.leave, "block": w.block,
				"type": w.types, "rest": w.rests, "read": w.reads, "say": w.sends, "restart": w.restart, "revoke": w.revoke, "settle": w.settles,
			})
			w.finish()
		})
	})
}

package doctor

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/bridge/postgres"
	"github.com/parley-mqtt/parley/bridge/sqlite"
)

// slowCommit is a commit that takes so long that people notice.
const slowCommit = 50 * time.Millisecond

func (d *doctor) database(ctx context.Context) {
	if d.DatabaseURL == "" {
		d.embedded(ctx)
		return
	}
	f, err := postgres.Inspect(ctx, d.DatabaseURL)
	if errors.Is(err, bridge.ErrUnavailable) {
		d.fail("see that Postgres runs, that this machine reaches it, and that user, password and database are right", "database-url: %v", err)
		return
	}
	if err != nil {
		d.fail("see the URL, and what the role may do", "database-url: %v", err)
		return
	}
	d.facts(f)
}

// facts tells what was found.
func (d *doctor) facts(f *postgres.Facts) {
	d.server(f)
	d.durability(f)
	d.schema(f.Schema, f.Needed, "database-url", !d.Migrate, "run parley migrate, or start with --migrate")
	d.rights(f)
	d.skew(f.Skew)
}

// server tells about the database server as such.
func (d *doctor) server(f *postgres.Facts) {
	version := f.Version / 10_000
	if f.Version < postgres.OldestVersion {
		d.fail("use PostgreSQL 15 or newer", "PostgreSQL %d is too old", version)
	} else if f.Encoding != "UTF8" {
		d.fail("make the database with ENCODING 'UTF8'", "the database has the encoding %s", f.Encoding)
	} else if f.Standby {
		d.fail("name the primary in database-url", "the server is a standby: it cannot be written to")
	} else {
		d.ok("PostgreSQL %d", version)
	}
	switch {
	case f.Pool > f.MaxConnections:
		d.fail("raise max_connections, or set pool_max_conns in database-url",
			"a server opens up to %d connections, the database has %d", f.Pool, f.MaxConnections)
	case f.InUse+f.Pool > f.MaxConnections:
		d.warn("raise max_connections, or set pool_max_conns in database-url",
			"a server opens up to %d connections, and %d of %d are taken", f.Pool, f.InUse, f.MaxConnections)
	}
}

// durability tells about what a commit is worth, and what it costs.
func (d *doctor) durability(f *postgres.Facts) {
	if f.Fsync != "on" || f.FullPageWrites != "on" {
		d.fail("turn fsync and full_page_writes on",
			"fsync is %s and full_page_writes is %s: what was acknowledged is lost when the machine of the database fails", f.Fsync, f.FullPageWrites)
	}
	if f.SynchronousCommit == "off" {
		d.warn("turn it on for role and database, so that nobody relies on it being off",
			"synchronous_commit is off, so that acknowledged would not mean committed; a server sets it to on for its own connections")
	}
	switch {
	case f.Commit > slowCommit:
		d.warn("look at the disk of the database and the network to it", "a commit takes %v", f.Commit.Round(10*time.Microsecond))
	case f.Commit > 0:
		d.ok("a commit takes %v", f.Commit.Round(10*time.Microsecond))
	}
}

// rights tells what the role lacks.
func (d *doctor) rights(f *postgres.Facts) {
	if len(f.NotMine) > 0 {
		d.fail("migrate with the role that serves, or GRANT SELECT, INSERT, UPDATE, DELETE on them",
			"the role may not use %s", strings.Join(f.NotMine, ", "))
	}
	if f.Schema < f.Needed && !f.MayCreate && len(f.NotMine) == 0 {
		d.fail("GRANT CREATE ON SCHEMA public to it, or migrate with another role", "the role may not make tables")
	}
	if !f.OwnsTheIndex {
		d.warn("migrate with the role that serves, or ALTER TABLE entries OWNER TO it",
			"the role does not own the index entries_words, and so cannot tidy it: some commits take longer")
	}
}

// schema compares versions. One that is behind is a failure where nobody
// brings it up to date.
func (d *doctor) schema(have, need int64, setting string, mustBe bool, advice string) {
	switch {
	case have > need:
		d.fail("use the build that migrated it, or a newer one; or restore the backup from before the update",
			"%s: the schema has version %d, this build knows %d", setting, have, need)
	case have == need:
		d.ok("schema version %d", have)
	case mustBe:
		d.fail(advice, "%s: the schema has version %d, this build needs %d", setting, have, need)
	case have == 0:
		d.ok("empty; the schema is made at the start")
	default:
		d.warn("make a backup first: an older build cannot use it afterwards",
			"%s: the schema has version %d, the start brings it to %d", setting, have, need)
	}
}

// embedded looks at the file.
func (d *doctor) embedded(ctx context.Context) {
	path := filepath.Join(d.DataDir, d.DatabaseFile)
	f, err := sqlite.Inspect(ctx, path)
	if errors.Is(err, context.DeadlineExceeded) {
		d.warn("run parley doctor with a longer --timeout", "%s could not be checked from end to end within %v", path, d.Timeout)
		return
	}
	if err != nil {
		d.fail("let the user of the server read and write it, and run parley doctor as that user", "%s: %v", path, err)
		return
	}
	if !f.Exists {
		d.ok("%s is not there yet; the server makes it", path)
		return
	}
	if f.Damage != "" {
		d.fail("stop the server, keep a copy of the folder, and restore the last backup", "%s is damaged: %s", path, f.Damage)
		return
	}
	d.ok("%s is sound, %s", path, size(uint64(f.Bytes)))
	d.schema(f.Schema, f.Needed, path, false, "")
	if f.InUse != "" {
		d.ok("in use by %s: no second server can have it", f.InUse)
	}
}

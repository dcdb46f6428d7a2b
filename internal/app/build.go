package app

import (
	"runtime"
	"runtime/debug"
)

// Build says what a program was built from. What is not known is "".
type Build struct {
	Version  string // of the module; "(devel)" without one
	Revision string // of the repository
	Time     string // of the revision, RFC 3339
	Modified bool   // the tree differed from the revision
	Go       string // version of Go
	Platform string // system and processor
}

// What the linker is told where there is no repository, as in an image:
// -ldflags "-X github.com/parley-mqtt/parley/internal/app.version=v1.2.3".
var version, revision, built string

// ReadBuild reads what the go command wrote into the running program. What the
// linker was told counts first.
func ReadBuild() Build {
	b := readBuild()
	for _, told := range []struct {
		text string
		into *string
	}{{version, &b.Version}, {revision, &b.Revision}, {built, &b.Time}} {
		if told.text != "" {
			*told.into = told.text
		}
	}
	return b
}

func readBuild() Build {
	b := Build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

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

// ReadBuild reads what the go command wrote into the running program.
func ReadBuild() Build {
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

// Package web holds the web app, as files that make builds from web/app.
package web

import "embed"

// Dist is what was built; without a build it has a page that says so, so that
// go build works where there is no Node.
//
//go:embed all:dist
var Dist embed.FS

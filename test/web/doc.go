// Package web tests the client library for browsers and Node, web/sdk, and the
// parts of the web app, web/app, that need no browser: their own tests, run by
// Node, the library's against the real server, come out as Go tests, so that
// they are counted and fail like all others.
package web

// Package web tests the client library for browsers and Node, web/sdk: its own
// tests, run by Node against the real server, come out as Go tests, so that
// they are counted and fail like all others.
package web

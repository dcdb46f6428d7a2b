// Package browser tests the web app as people use it: in real Chromium, against
// the real program. Keys are typed and buttons clicked, and what is looked at
// is what the page shows. Servers are killed, links cut, and people go offline
// meanwhile.
//
// Every page is watched: an error or a warning in its console, a violation of
// the content security policy, a request to another origin or a dialog fails
// the test, whatever the test is about.
//
// A test that fails logs what its pages show. With -artifacts it keeps
// screenshots as well:
//
//	make test PKG=./test/browser ARGS="-artifacts -run TestChat"
//
// The pictures in docs/screenshots are made by
//
//	make test PKG=./test/browser ARGS="-run TestScreenshots -screenshots $PWD/docs/screenshots"
package browser

package quickstarts_test

import (
	"os/exec"
	"testing"
)

// What cannot run here is compiled against declarations of the library that
// it uses. They are in testdata, by hand, with the names of the library's
// source: they show that the page is valid and uses each name as it was read
// there, no more.

func TestAndroidCompiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := file(t, "docs/quickstart/android.md", "ParleyChat.java").save(t, dir)
	compile(t, "javac", "-Xlint:all,-serial", "-Werror", "--release", "11", "-d", dir, "-sourcepath", "testdata/java", source)
}

func compile(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

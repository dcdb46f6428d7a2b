package broker

import "testing"

// What a SUBACK granted may be pumped before the SUBACK is taken from what
// waits: it goes behind it all the same, and once.
func TestSubackBeforeWhatItGrants(t *testing.T) {
	c := &conn{out: []byte("SUBACK ")}
	c.granted.Store(true)
	const taken = "PUBACK "
	if got := string(c.grantFirst([]byte(taken+"PUBLISH "), len(taken))); got != "PUBACK SUBACK PUBLISH " {
		t.Errorf("written: %s", got)
	}
	if len(c.out) != 0 || c.granted.Load() {
		t.Errorf("%q waits still, granted %v", c.out, c.granted.Load())
	}
}

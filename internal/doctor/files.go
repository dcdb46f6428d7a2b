package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/parley-mqtt/parley/acl"
)

const (
	// leastBytes is too little to go on with, fewBytes is little.
	leastBytes, fewBytes = 64 << 20, 1 << 30
	// leastFiles are few inodes.
	leastFiles = 1000
)

// dataDir looks at the folder and at what it lies on.
func (d *doctor) dataDir(context.Context) {
	if !d.UsesDataDir {
		d.ok("not used")
		return
	}
	info, err := os.Stat(d.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		d.missingDir()
		return
	}
	if err != nil {
		d.fail("let the user of the server read it", "data-dir: %v", err)
		return
	}
	if !info.IsDir() {
		d.fail("name a folder in data-dir", "data-dir: %s is not a folder", d.DataDir)
		return
	}
	if !writable(d.DataDir) {
		d.fail("chown it to the user that runs the server, and run parley doctor as that user", "data-dir: %s cannot be written to by this user", d.DataDir)
		return
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		d.fail("chmod 700 "+d.DataDir, "data-dir: %s has mode %04o: others can change what is in it", d.DataDir, mode)
	} else if owner, mine := owners(info); !mine {
		d.warn("run parley doctor as the user that runs the server", "data-dir: %s belongs to user %d, this is user %d", d.DataDir, owner, os.Geteuid())
	} else {
		d.ok("%s, mode %04o", d.DataDir, mode)
	}
	d.room(d.DataDir)
}

// missingDir looks whether the server could make the folder.
func (d *doctor) missingDir() {
	above := filepath.Dir(filepath.Clean(d.DataDir))
	for {
		if _, err := os.Stat(above); err == nil || above == filepath.Dir(above) {
			break
		}
		above = filepath.Dir(above)
	}
	if !writable(above) {
		d.fail("make it, and chown it to the user that runs the server", "data-dir: %s is not there, and this user cannot make it", d.DataDir)
		return
	}
	d.ok("%s is not there yet; the server makes it", d.DataDir)
	d.room(above)
}

// room looks for free room where the folder lies.
func (d *doctor) room(dir string) {
	bytes, files, known := free(dir)
	switch {
	case !known:
	case bytes < leastBytes:
		d.fail("make room: without it nothing can be committed", "%s are free in %s", size(bytes), dir)
	case bytes < fewBytes:
		d.warn("make room: without it nothing can be committed", "%s are free in %s", size(bytes), dir)
	case files < leastFiles:
		d.warn("remove files: the file system has few inodes left", "%d files can still be made in %s", files, dir)
	default:
		d.ok("%s are free", size(bytes))
	}
}

// tokens looks at the key that tokens are checked with.
func (d *doctor) tokens(ctx context.Context) {
	switch {
	case d.JWTPublicKeyFile != "":
		alg, err := acl.CheckPublicKey(d.JWTPublicKeyFile)
		if err != nil {
			d.fail("write a PEM file with one RSA, P-256 or Ed25519 public key", "jwt-public-key-file: %v", err)
			return
		}
		d.ok("%s, by the key in %s", alg, d.JWTPublicKeyFile)
		d.audience()
	case d.JWKSURL != "":
		usable, unusable, err := acl.CheckJWKS(ctx, d.JWKSURL)
		if err != nil {
			d.fail("see that this machine reaches the endpoint; until it does no token holds", "jwks-url: %v", err)
			return
		}
		d.ok("%d keys were fetched from jwks-url, %d of no use", usable, unusable)
		d.audience()
	case d.JWTSecret != "":
		d.secret([]byte(d.JWTSecret), "jwt-secret")
	case d.UsesSecretFile:
		d.secretFile(filepath.Join(d.DataDir, acl.SecretFile))
	}
}

// audience warns where the keys sign tokens for others too.
func (d *doctor) audience() {
	if d.JWTIssuer == "" || d.JWTAudience == "" {
		d.warn("set jwt-issuer and jwt-audience",
			"any token of these keys holds, also one that was made for another service: jwt-issuer or jwt-audience is empty")
	}
}

// secret looks at what was chosen. Its length was looked at with the settings.
func (d *doctor) secret(secret []byte, name string) {
	const advice = "use a random one: openssl rand -hex 32"
	different := map[byte]bool{}
	for _, b := range secret {
		different[b] = true
	}
	switch {
	case len(secret) < acl.MinSecret:
		d.fail(advice, "%s has %d bytes, at least %d are needed", name, len(secret), acl.MinSecret)
	case len(different) < 8:
		d.fail(advice, "%s has %d different characters: it can be guessed", name, len(different))
	default:
		d.ok("HS256, by %s", name)
	}
}

func (d *doctor) secretFile(path string) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		d.ok("HS256; the server makes %s at its first start", path)
		return
	}
	if err != nil {
		d.fail("let the user of the server read it", "%v", err)
		return
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		d.fail("delete it to have a new one made, or trust it with chmod 600",
			"%s has mode %04o: everybody on this machine knows it, and can sign tokens", path, mode)
		return
	} else if mode&0o070 != 0 {
		d.warn("chmod 600 "+path, "%s has mode %04o: its group knows it; the server sets it to 0600", path, mode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		d.fail("chown it to the user that runs the server", "%v", err)
		return
	}
	d.secret(trimLine(text), path)
}

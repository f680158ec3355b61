package config

import (
	"fmt"
	"io"
	"os"
)

// maxKeyFileBytes is far more than sixteen RSA keys need: a larger file is a mistake.
const maxKeyFileBytes = 1 << 20

// PublicKeys is the text of the configured public keys, not yet parsed.
type PublicKeys struct {
	Setting string      // who gave it, as [Name] tells, to be put before an error
	PEM     []byte      // PEM, or a JWK or JWK set; nil when Base64 holds the keys
	Version FileVersion // of the file, from before it was read; zero: the keys are not from a file
	Base64  string      // of the same, with or without line breaks
}

// PublicKeys returns the keys that verify tokens. It reads the key file if one is set.
func (c *Serve) PublicKeys() (PublicKeys, error) {
	if c.JWTPublicKeyFile == "" {
		return PublicKeys{Setting: Name("jwt-public-key-b64"), Base64: c.JWTPublicKeyB64}, nil
	}
	k := PublicKeys{Setting: Name("jwt-public-key-file"), Version: VersionOf(c.JWTPublicKeyFile)}
	f, err := os.Open(c.JWTPublicKeyFile)
	if err != nil {
		return k, fmt.Errorf("%s: %w", k.Setting, FileError(c.JWTPublicKeyFile, err))
	}
	defer f.Close()
	k.PEM, err = io.ReadAll(io.LimitReader(f, maxKeyFileBytes+1))
	if err != nil {
		return k, fmt.Errorf("%s: %w", k.Setting, FileError(c.JWTPublicKeyFile, err))
	}
	if len(k.PEM) > maxKeyFileBytes {
		return k, fmt.Errorf("%s: %s is larger than a file of public keys may be (%v): check the path", k.Setting, c.JWTPublicKeyFile, Bytes(maxKeyFileBytes))
	}
	return k, nil
}

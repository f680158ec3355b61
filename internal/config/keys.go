package config

import "fmt"

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
	var err error
	if k.PEM, err = ReadRegular(c.JWTPublicKeyFile, MaxFileBytes); err != nil {
		return k, fmt.Errorf("%s: %w", k.Setting, err)
	}
	return k, nil
}

package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
)

// The names of the files of a key pair.
const (
	privateKeyFile = "es256_private.pem"
	publicKeyFile  = "es256_public.pem"
)

type keysCmd struct {
	Dir string `default:"." placeholder:"DIR" help:"Directory to write to; created if missing."`
}

// Help is shown by -h below the first line.
func (*keysCmd) Help() string {
	return "Writes es256_private.pem, which signs tokens and must stay secret, and es256_public.pem. Prints the public key as an environment variable for the server. Never overwrites a file."
}

// Run makes a key pair.
func (c *keysCmd) Run(t *terminal) error {
	_, public, err := createKeys(c.Dir)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(t.out, "JWT_PUBLIC_KEY_B64="+base64.StdEncoding.EncodeToString(public))
	return err
}

// createKeys makes a key pair and writes it to dir: either both files or neither. It
// returns their contents.
func createKeys(dir string) (private, public []byte, err error) {
	if private, public, err = auth.GenerateKey(); err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("--dir: %w", config.FileError(dir, err))
	}
	privatePath, publicPath := filepath.Join(dir, privateKeyFile), filepath.Join(dir, publicKeyFile)
	if err := createFile(privatePath, private, 0o600); err != nil {
		return nil, nil, err
	}
	if err := createFile(publicPath, public, 0o644); err != nil {
		return nil, nil, errors.Join(err, os.Remove(privatePath))
	}
	return private, public, nil
}

// createFile writes a new file, completely or not at all. It fails if the file exists.
func createFile(path string, data []byte, perm fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists, and keys are never overwritten: move it, or use another --dir", path)
	}
	if err != nil {
		return fmt.Errorf("--dir: %w", config.FileError(path, err))
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

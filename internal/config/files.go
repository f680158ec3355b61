package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// MaxFileBytes is far more than any file that settings name needs: a larger one is a mistake.
const MaxFileBytes = 1 * MiB

// FileError says what is wrong with the file or directory at path, starting with the path.
// err is an error of the os package; the result wraps it.
func FileError(path string, err error) error {
	text := ""
	pathError, _ := errors.AsType[*fs.PathError](err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		text = "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		text = "this user may not open it"
	case errors.Is(err, syscall.EISDIR):
		text = "this is a folder, not a file"
	case errors.Is(err, syscall.ENOTDIR):
		text = "a part of this path is a file, not a folder"
	case pathError != nil:
		text = "it cannot be used: " + pathError.Err.Error()
	default:
		text = "it cannot be used: " + err.Error()
	}
	return &fileError{fmt.Sprintf("%s: %s", path, text), err}
}

// A fileError is an error of the os package in our words.
type fileError struct {
	text string
	err  error
}

func (e *fileError) Error() string { return e.text }

func (e *fileError) Unwrap() error { return e.err }

// ReadRegular returns the content of the regular file at path, which has up to limit bytes. Its
// errors begin with the path. It refuses pipes and devices: reading them could take for ever, and
// the server reads most files more than once.
func ReadRegular(path string, limit Bytes) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // does not wait for the writer of a pipe
	if err != nil {
		return nil, FileError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, FileError(path, err)
	case info.IsDir():
		return nil, FileError(path, syscall.EISDIR)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: this is a pipe or a device: use a regular file, which the server can read again", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, FileError(path, err)
	}
	if len(text) > int(limit) {
		return nil, fmt.Errorf("%s is larger than %v: check the path", path, limit)
	}
	return text, nil
}

// A FileVersion distinguishes contents of a file: it is their SHA-256. Size and times do not
// suffice, because keys of a kind have the same size, and tools that deploy files set their times
// to a constant.
type FileVersion [sha256.Size]byte

// VersionOf returns the version of the file at path, or the zero value if it cannot be read.
func VersionOf(path string) FileVersion {
	text, err := ReadRegular(path, MaxFileBytes)
	if err != nil {
		return FileVersion{}
	}
	return sha256.Sum256(text)
}

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

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

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
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

// A FileVersion distinguishes versions of a file. It cannot distinguish versions of the same
// length that are written within the resolution of the time stamp.
type FileVersion struct {
	modified time.Time
	bytes    int64
}

// VersionOf returns the version of the file at path, or the zero value if it cannot be read.
func VersionOf(path string) FileVersion {
	info, err := os.Stat(path)
	if err != nil {
		return FileVersion{}
	}
	return FileVersion{info.ModTime(), info.Size()}
}

package revoke

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// A File is a [Store] in a file: one entry per line, in JSON. Entries are appended. When most
// lines are no longer needed, or somebody else has changed or removed the file, it is written
// again, under another name that then replaces it. A [List] calls it, one call at a time.
type File struct {
	path   string   // without symbolic links, so that replacing it replaces the file that they lead to
	lock   *os.File // path.lock, so that no other server uses the file
	file   *os.File // nil: it has to be written again
	size   int64
	lines  int
	enough int // more lines than this are perhaps more than needed
}

// spareLines is how many lines more than twice the entries a file may have. Below that, writing
// it again is not worth it.
const spareLines = 1000

// maxLineBytes limits what is read for one entry. Its texts have at most 255 bytes each, which
// JSON may make six times as long.
const maxLineBytes = 16 << 10

// OpenFile opens the file at path, which it creates if it is missing, and returns the entries
// that have not expired at now. A last line without an end is what a crash left of an entry that
// was never acknowledged: OpenFile removes it. Any other line that it cannot read is an error,
// because a token would be valid again without it.
func OpenFile(path string, now time.Time) (*File, []Entry, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, nil, err
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, nil, err
	}
	f := &File{path: path, lock: lock, enough: spareLines}
	entries, err := f.open(now)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, entries, nil
}

// resolve returns path without symbolic links. It creates the file if it is missing.
func resolve(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() { // To read a pipe could take for ever.
		return "", fmt.Errorf("%s is not a regular file: use one, or a path where there is nothing yet", path)
	}
	return filepath.EvalSymlinks(path)
}

func (f *File) open(now time.Time) (entries []Entry, err error) {
	if f.file, err = os.OpenFile(f.path, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	whole, err := f.read(func(e Entry) {
		if now.Before(e.Expires) {
			entries = append(entries, e)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	if err := f.file.Truncate(whole); err != nil {
		return nil, err
	}
	f.size = whole
	if _, err := f.file.Seek(whole, io.SeekStart); err != nil {
		return nil, err
	}
	return entries, syncFolder(f.path) // of a new file
}

// read calls each for every line of the file, counts them, and returns the size of all of them.
func (f *File) read(each func(Entry)) (whole int64, err error) {
	r := bufio.NewReaderSize(f.file, maxLineBytes)
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return whole, nil
		case errors.Is(err, bufio.ErrBufferFull):
			return whole, fmt.Errorf("line %d is longer than an entry can be (%d bytes): repair or remove it", f.lines+1, maxLineBytes)
		case err != nil:
			return whole, err
		}
		f.lines++
		e, err := parseEntry(bytes.TrimSpace(line))
		if err != nil {
			return whole, fmt.Errorf("line %d is not an entry: %w; repair or remove it", f.lines, err)
		}
		each(e)
		whole += int64(len(line))
	}
}

// Append implements [Store].
func (f *File) Append(_ context.Context, entries []Entry, live func() []Entry) error {
	if f.file != nil && !f.isUnchanged() {
		f.file.Close()
		f.file = nil
	}
	if f.file == nil {
		return f.rewrite(live())
	}
	if f.lines+len(entries) > f.enough {
		all := live()
		if f.enough = 2*len(all) + spareLines; f.lines+len(entries) > f.enough && f.rewrite(all) == nil {
			return nil
		}
		// If it cannot be written again, for example because it is mounted alone, it grows instead.
		f.enough = max(f.enough, f.lines+spareLines)
	}
	data, err := encode(entries)
	if err != nil {
		return err
	}
	if _, err = f.file.Write(data); err == nil {
		err = f.file.Sync()
	}
	if err != nil { // What the file has now is not known, so the next call writes it again.
		f.file.Close()
		f.file = nil
		return err
	}
	f.lines += len(entries)
	f.size += int64(len(data))
	return nil
}

// isUnchanged reports whether path still names the open file, with what was written to it.
func (f *File) isUnchanged() bool {
	found, err := os.Stat(f.path)
	if err != nil {
		return false
	}
	own, err := f.file.Stat()
	return err == nil && os.SameFile(found, own) && own.Size() == f.size
}

// rewrite replaces the file by one that has only these entries.
func (f *File) rewrite(entries []Entry) (err error) {
	data, err := encode(entries)
	if err != nil {
		return err
	}
	next, err := os.OpenFile(f.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = next.Write(data); err == nil {
		err = next.Sync()
	}
	if err == nil {
		err = os.Rename(next.Name(), f.path)
	}
	if err != nil {
		next.Close()
		_ = os.Remove(next.Name()) // It may take up the last space.
		return err
	}
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
	if err := syncFolder(f.path); err != nil {
		next.Close()
		return err
	}
	f.file, f.lines, f.size = next, len(entries), int64(len(data))
	return nil
}

func encode(entries []Entry) ([]byte, error) {
	var lines bytes.Buffer
	e := json.NewEncoder(&lines) // ends each with a newline
	for _, entry := range entries {
		if err := e.Encode(entry); err != nil {
			return nil, err
		}
	}
	return lines.Bytes(), nil
}

// syncFolder makes the name of a new file survive a crash.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return syncDirectory(folder)
}

// Close releases the file.
func (f *File) Close() error {
	var err error
	if f.file != nil {
		err = f.file.Close()
	}
	return errors.Join(err, f.lock.Close())
}

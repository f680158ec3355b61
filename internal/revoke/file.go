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
// lines are no longer needed, the file is written again, under another name that then replaces
// it. A [List] calls it, one call at a time.
type File struct {
	path  string
	lock  *os.File // path.lock, so that no other server uses the file
	file  *os.File // nil: it has to be written again
	lines int
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
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, nil, err
	}
	f := &File{path: path, lock: lock}
	entries, err := f.open(now)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, entries, nil
}

func (f *File) open(now time.Time) (entries []Entry, err error) {
	if f.file, err = os.OpenFile(f.path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
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
	if f.file != nil && f.lines+len(entries) > spareLines {
		if all := live(); f.lines > 2*len(all)+spareLines {
			return f.rewrite(all)
		}
	}
	if f.file == nil {
		return f.rewrite(live())
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
	return nil
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
	f.file, f.lines = next, len(entries)
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

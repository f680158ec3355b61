package revoke

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
)

// A Shared store has the entries of several servers, in JSON. Each server learns the entries of
// the others with [List.Learn].
type Shared interface {
	// Revoke stores entries and removes others. It returns nil only once it has done both, and a
	// [pubsub.Error] otherwise: OverCapacity if there would be more than [MaxEntries],
	// Unavailable if nothing was stored, OutcomeUnknown if that is not known.
	Revoke(ctx context.Context, add, remove []string) error
}

const (
	// purgeEvery is how often Add removes entries from a shared store that have expired.
	purgeEvery = time.Minute
	// maxPurged is how many it removes at once, because the store does nothing else meanwhile.
	maxPurged = 1000
)

// share stores entries in the shared store. An entry that differs from one in the list only by
// its times replaces that one; both together become one.
func (l *List) share(ctx context.Context, entries []Entry, now time.Time) error {
	var add, remove []string
	var expired []Entry
	l.mu.RLock()
	for _, e := range entries {
		if known := l.all[e.identity()]; known != nil {
			before := *known
			if now.Before(before.Expires) {
				e.widen(before)
			}
			if e != before {
				remove = append(remove, encodeText(before))
			}
		}
		add = append(add, encodeText(e))
	}
	if now.Sub(l.purged) > purgeEvery {
		for _, e := range l.all {
			if isOutdated(e, now) && len(expired) < maxPurged {
				expired = append(expired, *e)
				remove = append(remove, encodeText(*e))
			}
		}
	}
	l.mu.RUnlock()
	if err := l.shared.Revoke(ctx, add, remove); err != nil {
		return err
	}
	l.purged = now
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range expired {
		if known := l.all[e.identity()]; known != nil && *known == e {
			l.removeLocked(known)
		}
	}
	return nil
}

// isOutdated reports whether an entry has expired by the clocks of all servers.
func isOutdated(e *Entry, now time.Time) bool { return now.After(e.Expires.Add(auth.Leeway)) }

// Learn adds the entries of a shared store. It returns how many of them changed the list, and
// those that have expired and that the store need not keep. An error says what is wrong with entries
// that it cannot read; it adds all others.
func (l *List) Learn(texts []string) (news int, outdated []string, err error) {
	now := l.now()
	entries := make([]Entry, 0, len(texts))
	for _, text := range texts {
		e, wrong := parseEntry([]byte(text))
		switch {
		case wrong != nil:
			err = fmt.Errorf("%.100q is not an entry: %w", text, wrong)
		case isOutdated(&e, now):
			outdated = append(outdated, text)
		default:
			entries = append(entries, e)
		}
	}
	if l.Len()+len(entries) > MaxEntries {
		l.mu.Lock()
		l.purgeLocked()
		l.mu.Unlock()
	}
	return l.insert(entries), outdated, err
}

// Texts returns all entries that have not expired as a shared store has them.
func (l *List) Texts() []string {
	entries := l.Entries()
	texts := make([]string, len(entries))
	for i, e := range entries {
		texts[i] = encodeText(e)
	}
	return texts
}

// encodeText returns an entry in JSON.
func encodeText(e Entry) string {
	text, err := json.Marshal(e)
	if err != nil {
		panic("revoke: an entry that was checked has no JSON: " + err.Error()) // times are in the years 1 to 9999
	}
	return string(text)
}

package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A Section has the settings of a topic, or of all topics that a pattern matches. A nil field
// means the setting of the server.
type Section struct {
	Topic string // a topic, or a pattern if it ends with `*`
	At    string // the file and the line; empty: the section is not from a file

	History         *Switch // off: no message is kept
	HistoryMessages *int
	HistoryBytes    *Bytes
	HistoryAge      *time.Duration
	Presence        *Switch // off: nobody can be present
	MaxMessageBytes *Bytes
}

// sectionMembers are the settings of a section.
var sectionMembers = []string{"history", "history-messages", "history-bytes", "history-age", "presence", "max-message-bytes"}

// readSections reads the member `topics`.
func (r *fileReader) readSections(topics member) {
	const right = "the settings of a topic or pattern in each line, such as `\"chat:*\": {history-messages: 1000}`"
	for m := range r.members(topics.value, "`"+topicsMember+"`", right) {
		if len(r.file.Sections) == maxSections {
			r.wrong(m.key, "there are more than %d sections: use patterns, such as \"chat:*\"", maxSections)
			return
		}
		if err := checkSection(m.name); err != nil {
			r.wrong(m.key, "section %.*q: %s", maxShownBytes, m.name, pubsub.Refusal(err).Detail)
			continue
		}
		if m.value.Tag == "!!null" {
			r.wrong(m.key, "section %q is empty: write {} to give it the settings of the server", m.name)
			continue
		}
		r.readSection(m)
	}
}

// checkSection returns an error if name is neither a topic nor a pattern.
func checkSection(name string) (err error) {
	if isPattern(name) {
		_, err = pubsub.ParsePattern(name)
	} else {
		_, err = pubsub.ParseTopic(name)
	}
	return err
}

func isPattern(section string) bool { return strings.HasSuffix(section, "*") }

func (r *fileReader) readSection(section member) {
	s := Section{Topic: section.name, At: r.at(section.key.Line)}
	what := fmt.Sprintf("section %q", s.Topic)
	for m := range r.members(section.value, what, "settings such as {history-messages: 1000}") {
		text, ok := r.scalar(m, m.value)
		if !ok {
			continue
		}
		var err error
		switch m.name {
		case "history":
			s.History, err = parse[Switch](text)
		case "history-messages":
			s.HistoryMessages, err = parse[int](text)
		case "history-bytes":
			s.HistoryBytes, err = parse[Bytes](text)
		case "history-age":
			s.HistoryAge, err = parse[time.Duration](text)
		case "presence":
			s.Presence, err = parse[Switch](text)
		case "max-message-bytes":
			s.MaxMessageBytes, err = parse[Bytes](text)
		default:
			r.wrong(m.key, "%s has no setting `%.*s`%s", what, maxShownBytes, m.name, suggest(m.name, sectionMembers))
		}
		if err != nil {
			r.wrong(m.key, "%s: `%s` %v", what, m.name, err)
		}
	}
	r.file.Sections = append(r.file.Sections, s)
}

// validateSections checks each section against the settings of the server, as validateHistory
// and validateLimits check those.
func (c *Serve) validateSections(p *Problems) {
	for i := range c.Sections {
		s := &c.Sections[i]
		of := c.settings(s)
		wrong := func(when bool, format string, args ...any) {
			if when {
				at := ""
				if s.At != "" {
					at = s.At + ": "
				}
				*p = append(*p, fmt.Sprintf("%ssection %q: %s", at, s.Topic, fmt.Sprintf(format, args...)))
			}
		}
		off := !of.History
		wrong(off && (s.HistoryMessages != nil || s.HistoryBytes != nil || s.HistoryAge != nil),
			"`history` is off, but the section also says how much history to keep: remove one or the other")
		wrong(s.HistoryMessages != nil && of.HistoryMessages < 1, "`history-messages` is %d: use a number above zero, or `history: off`", of.HistoryMessages)
		wrong(s.HistoryMessages != nil && of.HistoryMessages > maxCount, "`history-messages` is %d: use at most %d", of.HistoryMessages, maxCount)
		wrong(s.HistoryAge != nil && of.HistoryAge <= 0, "`history-age` is %v: use a duration above zero, such as 5m, or `history: off`", of.HistoryAge)
		size, global := of.MaxMessageBytes, c.MaxMessageBytes
		wrong(s.MaxMessageBytes != nil && size < 1, "`max-message-bytes` is %v: use at least 1", size)
		wrong(s.MaxMessageBytes != nil && size > global, "`max-message-bytes` is %v: use at most %v, which is %s", size, global, Name("max-message-bytes"))
		wrong(s.HistoryBytes != nil && of.HistoryBytes < size, "`history-bytes` is %v: use at least %v, which is the largest message of these topics", of.HistoryBytes, size)
		wrong(s.HistoryBytes != nil && of.HistoryBytes > c.HistoryTotalBytes, "`history-bytes` is %v: use at most %v, which is %s", of.HistoryBytes, c.HistoryTotalBytes, Name("history-total-bytes"))
	}
}

// TopicSettings are the settings of a topic.
type TopicSettings struct {
	Section string // the name of the section that they come from; empty: they are those of the server
	At      string // where the section is, such as notiflux.yaml:14

	History         bool // false: no message is kept, whatever the next three fields say
	HistoryMessages int
	HistoryBytes    Bytes
	HistoryAge      time.Duration
	Presence        bool // false: nobody can be present
	MaxMessageBytes Bytes
}

// settings returns the settings of the topics of a section, or of all others if s is nil.
func (c *Serve) settings(s *Section) *TopicSettings {
	t := &TopicSettings{
		History: true, HistoryMessages: c.HistoryMessages, HistoryBytes: c.HistoryBytes, HistoryAge: c.HistoryAge,
		Presence: true, MaxMessageBytes: c.MaxMessageBytes,
	}
	if s == nil {
		return t
	}
	t.Section, t.At = s.Topic, s.At
	set((*Switch)(&t.History), s.History)
	set(&t.HistoryMessages, s.HistoryMessages)
	set(&t.HistoryBytes, s.HistoryBytes)
	set(&t.HistoryAge, s.HistoryAge)
	set((*Switch)(&t.Presence), s.Presence)
	set(&t.MaxMessageBytes, s.MaxMessageBytes)
	return t
}

// set sets target to value, unless that is nil.
func set[T any](target, value *T) {
	if value != nil {
		*target = *value
	}
}

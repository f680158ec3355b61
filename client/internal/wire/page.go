package wire

import "encoding/json"

// A Page is a history of a topic.
type Page struct {
	Messages  []Frame `json:"messages"`
	Position  string  `json:"position"`
	Recovered bool    `json:"recovered"`
	More      bool    `json:"more"`
}

// ParsePage parses a history. It returns [ErrProtocol] if it is not one, or if a position is
// malformed.
func ParsePage(answer []byte) (p Page, err error) {
	if json.Unmarshal(answer, &p) != nil {
		return Page{}, ErrProtocol
	}
	if _, err := ParsePosition(p.Position); err != nil {
		return Page{}, ErrProtocol
	}
	for _, m := range p.Messages {
		if _, err := ParsePosition(m.Position); err != nil {
			return Page{}, ErrProtocol
		}
	}
	return p, nil
}

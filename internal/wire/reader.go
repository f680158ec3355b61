package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux"
)

// maxDepth is how deep JSON may be nested, the outermost object included.
const maxDepth = 64

// ErrHalfCharacter is what [JSONReader.Member] returns of a member that has half a
// character: an escape like \ud83d without its other half, as of an emoji that was
// cut in two. The text is JSON all the same, so reading can go on behind it.
var ErrHalfCharacter = errors.New("wire: half a surrogate pair")

// halves lets the decoder pass over what [JSONReader.Member] reports as
// ErrHalfCharacter. Whether the text is UTF-8 is looked at before. To the decoder all
// halves are the same character, so two names with different ones are one name to it.
// twice lets it pass over them: see [JSONReader.passHalves].
var (
	halves = jsontext.AllowInvalidUTF8(true)
	twice  = jsontext.AllowDuplicateNames(true)
)

// A JSONReader reads one JSON object that a stranger sent, or an array of them (RFC
// 8259, and strictly: RFC 7493), nothing behind it, member by member. Its errors are
// [notiflux.Error]s, and never quote what was sent: it may hold a token.
//
// The zero value is ready to be [JSONReader.Reset]. It keeps its memory for the
// next text, and so is for one goroutine.
type JSONReader struct {
	what, wanted string
	text         []byte
	buffer       bytes.Buffer // of text, as the decoder wants it
	json         jsontext.Decoder
	scratch      []byte
}

// Reset has r read text, which must stay as it is while r and the values of it
// are in use. For errors, what names the text, such as "the body", and wanted
// says what it should be, such as "it should be one JSON object".
func (r *JSONReader) Reset(text []byte, what, wanted string) {
	r.what, r.wanted, r.text = what, wanted, text
	r.decode(text)
}

func (r *JSONReader) decode(text []byte) {
	r.buffer = *bytes.NewBuffer(text)
	r.json.Reset(&r.buffer, halves)
}

// decodeTwice is decode, and passes over names that stand twice.
func (r *JSONReader) decodeTwice() {
	r.buffer = *bytes.NewBuffer(r.text)
	r.json.Reset(&r.buffer, halves, twice)
}

// passHalves has the decoder pass over names that stand twice if the text has half a
// character. Of an object without one, and of what is in it, it looks for such names here.
func (r *JSONReader) passHalves() error {
	if halfCharacter(r.text) < 0 {
		return nil
	}
	r.decodeTwice()
	if !r.IsArray() {
		return nil // What has a half is refused as a whole.
	}
	if _, err := r.json.ReadToken(); err != nil {
		return r.notJSON(err)
	}
	for r.MoreElements() {
		element, err := r.value()
		if err != nil {
			return err
		}
		if halfCharacter(element) >= 0 {
			continue
		}
		_, err = jsontext.NewDecoder(bytes.NewBuffer(element)).ReadValue()
		if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			return r.twiceAt(r.json.InputOffset() - int64(len(element)) + e.ByteOffset)
		}
	}
	r.decodeTwice()
	return nil
}

// Size returns how much memory r keeps besides the text, in bytes.
func (r *JSONReader) Size() int { return cap(r.scratch) }

// IsArray reports whether the text begins like an array. It is for before Begin.
func (r *JSONReader) IsArray() bool { return r.json.PeekKind() == jsontext.KindBeginArray }

// Begin reads the beginning of the object.
func (r *JSONReader) Begin() error {
	if err := r.checkText(); err != nil {
		return err
	}
	token, err := r.json.ReadToken()
	switch {
	case err == io.EOF:
		return notiflux.Errorf(notiflux.Malformed, "%s is empty: %s", r.what, r.wanted)
	case err != nil:
		return r.notJSON(err)
	case token.Kind() != jsontext.KindBeginObject:
		return notiflux.Errorf(notiflux.Malformed, "%s is not an object: %s", r.what, r.wanted)
	}
	return nil
}

// BeginArray reads the beginning of an array, after [JSONReader.IsArray].
func (r *JSONReader) BeginArray() error {
	if err := r.checkText(); err != nil {
		return err
	}
	if _, err := r.json.ReadToken(); err != nil {
		return r.notJSON(err)
	}
	return nil
}

// MoreElements reports whether another element of the array follows, or something
// that is none, as reading it will tell.
func (r *JSONReader) MoreElements() bool { return r.json.PeekKind() != jsontext.KindEndArray }

// IsObject reports whether what follows begins like an object.
func (r *JSONReader) IsObject() bool { return r.json.PeekKind() == jsontext.KindBeginObject }

// Skip reads a value that means nothing.
func (r *JSONReader) Skip() error {
	_, err := r.value()
	return err
}

// EndObject reads the end of an object that is an element.
func (r *JSONReader) EndObject() error {
	if _, err := r.json.ReadToken(); err != nil {
		return r.notJSON(err)
	}
	return nil
}

// More reports whether another member follows, or something that is none, as
// [JSONReader.Member] will tell.
func (r *JSONReader) More() bool { return r.json.PeekKind() != jsontext.KindEndObject }

// Member reads one member: its name, valid until the next call to r, and its
// value, a part of the text. After an error that is [ErrHalfCharacter] the next
// member can be read; after any other, nothing.
func (r *JSONReader) Member() (name []byte, value jsontext.Value, err error) {
	quoted, err := r.value()
	if err != nil {
		return nil, nil, err
	}
	if value, err = r.value(); err != nil {
		return nil, nil, err
	}
	for _, v := range [...]jsontext.Value{quoted, value} {
		if at := halfCharacter(v); at >= 0 {
			return nil, nil, r.half(cap(r.text) - cap(v) + at)
		}
	}
	name, err = r.Text(quoted, "a member's name")
	return name, value, err
}

// half says where half a character stands.
func (r *JSONReader) half(at int) error {
	return &notiflux.Error{
		Code:   notiflux.Malformed,
		Detail: fmt.Sprintf("%s has half a character, such as half an emoji, at byte %d (a lone surrogate): UTF-8 has none, so cut texts between characters", r.what, at),
		Err:    ErrHalfCharacter,
	}
}

// halfCharacter returns where in value an escape stands for half a surrogate pair
// without the other half; -1: nowhere. In what is not JSON it may find one or not.
func halfCharacter(value []byte) int {
	for at := 0; ; {
		next := bytes.IndexByte(value[at:], '\\')
		if next < 0 {
			return -1
		}
		at += next
		switch unit, ok := escapedUnit(value[at:]); {
		case !ok:
			at = min(at+len(`\n`), len(value)) // What is not JSON may end in between.
		case !utf16.IsSurrogate(unit):
			at += escapeBytes
		default:
			low, _ := escapedUnit(value[at+escapeBytes:])
			if utf16.DecodeRune(unit, low) == utf8.RuneError {
				return at
			}
			at += 2 * escapeBytes
		}
	}
}

const escapeBytes = len(`\u0000`)

// escapedUnit returns the UTF-16 unit that text begins with if that is an escape of
// the form \u0000.
func escapedUnit(text []byte) (unit rune, ok bool) {
	if len(text) < escapeBytes || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[2:escapeBytes]), 16, 16)
	return rune(n), err == nil
}

// checkText looks at the whole text, once, for what the decoder does not.
func (r *JSONReader) checkText() error {
	if r.json.StackDepth() > 0 { // inside an array that was begun
		return nil
	}
	if err := r.checkUTF8(); err != nil {
		return err
	}
	return r.passHalves()
}

func (r *JSONReader) checkUTF8() error {
	if utf8.Valid(r.text) {
		return nil
	}
	at := 0
	for {
		c, size := utf8.DecodeRune(r.text[at:])
		if c == utf8.RuneError && size <= 1 {
			return r.notJSONAt(int64(at))
		}
		at += size
	}
}

// End reads the end of the object, or of the array, and of the text.
func (r *JSONReader) End() error {
	if err := r.EndObject(); err != nil {
		return err
	}
	if _, err := r.json.ReadToken(); err != io.EOF {
		return notiflux.Errorf(notiflux.Malformed, "something follows the JSON, from byte %d on", r.json.InputOffset())
	}
	return nil
}

// Text returns the string that value stands for, without quotes and escapes,
// valid until the next call to r. Anything else is an error, where what names
// the value.
func (r *JSONReader) Text(value jsontext.Value, what string) ([]byte, error) {
	if value.Kind() != jsontext.KindString {
		return nil, notiflux.Errorf(notiflux.Malformed, "%s must be a string", what)
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1], nil
	}
	var err error
	if r.scratch, err = jsontext.AppendUnquote(r.scratch[:0], value); err != nil {
		return nil, r.notJSON(err)
	}
	return r.scratch, nil
}

// Body returns value as what is published, in memory of its own. It is
// [notiflux.TooLarge] if that has more than maxBytes.
func (r *JSONReader) Body(value jsontext.Value, maxBytes int) (notiflux.Body, error) {
	isString := value.Kind() == jsontext.KindString
	var data []byte
	var err error
	if isString {
		data, err = r.Text(value, "")
	} else if r.scratch, err = jsontext.AppendFormat(r.scratch[:0], value); err != nil {
		err = r.notJSON(err)
	} else {
		data = r.scratch
	}
	switch {
	case err != nil:
		return notiflux.Body{}, err
	case len(data) > maxBytes:
		return notiflux.Body{}, notiflux.Errorf(notiflux.TooLarge, "the message has %d bytes, the limit is %d", len(data), maxBytes)
	}
	// A copy just as long as it is: that is what the log counts.
	return notiflux.Body{Data: append(make([]byte, 0, len(data)), data...), JSON: !isString}, nil
}

// value reads the next value. Its depth is looked at first: parsing would take
// memory for each level.
func (r *JSONReader) value() (jsontext.Value, error) {
	switch r.json.PeekKind() {
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
		if r.json.StackDepth()+depth(r.text[r.json.InputOffset():]) > maxDepth {
			return nil, notiflux.Errorf(notiflux.Malformed, "the JSON is nested deeper than %d levels", maxDepth)
		}
	}
	value, err := r.json.ReadValue()
	if err != nil {
		return nil, r.notJSON(err)
	}
	end := r.json.InputOffset()
	return jsontext.Value(r.text[end-int64(len(value)) : end]), nil // The decoder's own is valid until the next one.
}

// depth returns how deep the object or array is nested that begins text. What
// is not JSON gets some number, and is refused by who parses it.
func depth(text []byte) (deepest int) {
	open := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			open++
			deepest = max(deepest, open)
		case '}', ']':
			if open--; open <= 0 {
				return deepest
			}
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		}
	}
	return deepest
}

// notJSON says where the text stops being JSON. The parser's own words quote it.
func (r *JSONReader) notJSON(err error) error {
	at := r.json.InputOffset()
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = e.ByteOffset
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return notiflux.Errorf(notiflux.Malformed, "%s ends before its JSON does", r.what)
	case errors.Is(err, jsontext.ErrDuplicateName):
		return r.twiceAt(at)
	}
	return r.notJSONAt(at)
}

func (r *JSONReader) twiceAt(at int64) error {
	return notiflux.Errorf(notiflux.Malformed, "a member stands twice in an object, at byte %d", at)
}

func (r *JSONReader) notJSONAt(at int64) error {
	return notiflux.Errorf(notiflux.Malformed, "%s is not JSON in UTF-8, from byte %d on", r.what, at)
}

// Elements returns what is between the brackets of an array or object that was
// read before: its elements, or the names and values of its members in turn.
func Elements(value jsontext.Value) iter.Seq[jsontext.Value] {
	return func(yield func(jsontext.Value) bool) {
		decoder := jsontext.NewDecoder(bytes.NewBuffer(value))
		_, err := decoder.ReadToken()
		for err == nil {
			var v jsontext.Value
			// At the bracket that closes, reading a value is an error.
			if v, err = decoder.ReadValue(); err == nil && !yield(v) {
				return
			}
		}
	}
}

// Package strictjson reads JSON from untrusted clients: commands, request bodies, and the
// parts of tokens. It accepts RFC 8259 with the restrictions of RFC 7493, on top of package
// jsontext.
//
// A [Reader] reads one object, or one array of objects, member by member. It refuses:
//   - a name that occurs twice in an object, at any depth,
//   - text that is not UTF-8,
//   - an escape of half a surrogate pair,
//   - more than 64 levels of nesting,
//   - anything after the JSON.
//
// Values are parts of the text and not copies. [Elements] and [Members] walk through a
// value that has already been read.
//
// Errors say at which byte the text is wrong. They never quote the text, because it may
// contain a token.
//
// The package does not interpret members and does not skip a byte order mark. Callers do
// both.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// maxDepth is the maximum nesting depth, including the outermost object.
const maxDepth = 64

// Options of decoders. This package checks UTF-8 and surrogates itself, so that reading can
// continue after a lone surrogate. To a decoder with anyUTF8 all lone surrogates are the
// same character, so different names may look equal to it: see [Reader.allowDuplicates].
var (
	anyUTF8    = jsontext.AllowInvalidUTF8(true)
	duplicates = jsontext.AllowDuplicateNames(true)
)

// A Reader reads one JSON object or one array of objects. Its errors are [pubsub.Error]s
// with [pubsub.Malformed].
//
// The zero value is ready for [Reader.Reset]. A Reader keeps its memory for the next text.
// It is not safe for concurrent use.
type Reader struct {
	what, wanted string
	text         []byte
	buffer       bytes.Buffer // text, in a form that the decoder reads without a copy
	json         jsontext.Decoder
	scratch      []byte
	lone         bool // text has a lone surrogate somewhere
}

// Reset makes r read text, which must not change while r and its values are in use. what
// names the text in errors, such as "the body". wanted says what it should be, such as "it
// should be one JSON object".
func (r *Reader) Reset(text []byte, what, wanted string) {
	r.what, r.wanted, r.text = what, wanted, text
	r.decode(anyUTF8)
}

func (r *Reader) decode(options ...jsontext.Options) {
	r.buffer = *bytes.NewBuffer(r.text)
	r.json.Reset(&r.buffer, options...)
}

// Size returns the number of bytes of memory that r keeps, without the text.
func (r *Reader) Size() int { return cap(r.scratch) }

// IsArray reports whether the text begins like an array. Call it before [Reader.BeginArray]
// or [Reader.BeginObject].
func (r *Reader) IsArray() bool { return r.json.PeekKind() == jsontext.KindBeginArray }

// BeginArray reads the opening bracket of the array that [Reader.IsArray] found.
func (r *Reader) BeginArray() error {
	if err := r.checkText(); err != nil {
		return err
	}
	return r.readToken()
}

// MoreElements reports whether the array continues. If the next value turns out not to be
// an element, reading it returns the error.
func (r *Reader) MoreElements() bool { return r.json.PeekKind() != jsontext.KindEndArray }

// IsObject reports whether the next value begins like an object.
func (r *Reader) IsObject() bool { return r.json.PeekKind() == jsontext.KindBeginObject }

// BeginObject reads the opening brace of an object: the whole text, or an element.
func (r *Reader) BeginObject() error {
	if r.json.StackDepth() == 0 {
		if err := r.checkText(); err != nil {
			return err
		}
	}
	token, err := r.json.ReadToken()
	switch {
	case err == io.EOF:
		return malformed("%s is empty: %s", r.what, r.wanted)
	case err != nil:
		return r.notJSON(err)
	case token.Kind() != jsontext.KindBeginObject:
		return malformed("%s is not an object: %s", r.what, r.wanted)
	}
	return nil
}

// MoreMembers reports whether the object continues. If the next value turns out not to be a
// member, [Reader.Member] returns the error.
func (r *Reader) MoreMembers() bool { return r.json.PeekKind() != jsontext.KindEndObject }

// Member reads one member. The name is valid until the next call to r; the value is a part
// of the text. If the error is [ErrLoneSurrogate], the caller can read the next member.
// After any other error, r must be reset.
func (r *Reader) Member() (name []byte, value jsontext.Value, err error) {
	quoted, err := r.value()
	if err != nil {
		return nil, nil, err
	}
	start := int(r.json.InputOffset()) - len(quoted)
	if value, err = r.value(); err != nil {
		return nil, nil, err
	}
	if r.lone {
		if at := loneSurrogate(r.text[start:r.json.InputOffset()]); at >= 0 {
			return nil, nil, r.loneSurrogateAt(start + at)
		}
	}
	name, err = r.Text(quoted, "a member's name")
	return name, value, err
}

// Skip reads and discards the next value.
func (r *Reader) Skip() error {
	_, err := r.value()
	return err
}

// EndObject reads the closing brace of an object that is an element.
func (r *Reader) EndObject() error { return r.readToken() }

// End reads the closing brace or bracket of the whole text, and checks that nothing
// follows.
func (r *Reader) End() error {
	if err := r.readToken(); err != nil {
		return err
	}
	if _, err := r.json.ReadToken(); err != io.EOF {
		return malformed("unexpected data after the JSON, at byte %d", r.json.InputOffset())
	}
	return nil
}

// Text returns the value of a JSON string without quotes and escapes, valid until the next
// call to r. If value is not a string, it returns an error that calls the value what.
func (r *Reader) Text(value jsontext.Value, what string) ([]byte, error) {
	if value.Kind() != jsontext.KindString {
		return nil, malformed("%s must be a string", what)
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

// Compact returns value without white space and without unnecessary escapes, valid until
// the next call to r.
func (r *Reader) Compact(value jsontext.Value) ([]byte, error) {
	var err error
	if r.scratch, err = jsontext.AppendFormat(r.scratch[:0], value); err != nil {
		return nil, r.notJSON(err)
	}
	return r.scratch, nil
}

// Whole returns the whole number that value holds, or most if the number is larger. ok is
// false unless value consists of digits only.
func Whole(value jsontext.Value, most int64) (n int64, ok bool) {
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), most)
	}
	return n, true
}

// Elements returns the elements of a valid array. They are parts of it and not copies.
func Elements(array jsontext.Value) iter.Seq[jsontext.Value] {
	return func(yield func(jsontext.Value) bool) {
		decoder := jsontext.NewDecoder(bytes.NewBuffer(array), anyUTF8, duplicates)
		_, _ = decoder.ReadToken() // no error: array is valid
		for decoder.PeekKind() != jsontext.KindEndArray {
			value, err := readValue(decoder, array)
			if err != nil || !yield(value) {
				return
			}
		}
	}
}

// Members returns the members of a valid object. Their values are parts of it and not
// copies. If no [Reader] has read the object, a name may occur twice.
func Members(object jsontext.Value) iter.Seq2[string, jsontext.Value] {
	return func(yield func(string, jsontext.Value) bool) {
		decoder := jsontext.NewDecoder(bytes.NewBuffer(object), anyUTF8, duplicates)
		_, _ = decoder.ReadToken() // no error: object is valid
		for decoder.PeekKind() == jsontext.KindString {
			token, _ := decoder.ReadToken()
			name := token.String()
			value, err := readValue(decoder, object)
			if err != nil || !yield(name, value) {
				return
			}
		}
	}
}

// readToken reads a bracket or brace that PeekKind has announced.
func (r *Reader) readToken() error {
	if _, err := r.json.ReadToken(); err != nil {
		return r.notJSON(err)
	}
	return nil
}

// value reads the next value. It checks the depth first, because parsing takes memory for
// each level.
func (r *Reader) value() (jsontext.Value, error) {
	switch r.json.PeekKind() {
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
		if r.json.StackDepth()+depth(r.text[r.json.InputOffset():]) > maxDepth {
			return nil, malformed("the JSON is nested too deeply; the limit is %d levels", maxDepth)
		}
	}
	value, err := readValue(&r.json, r.text)
	if err != nil {
		return nil, r.notJSON(err)
	}
	return value, nil
}

// readValue reads the next value of text. It returns a part of text, because the decoder's
// own slice is valid only until the next read.
func readValue(decoder *jsontext.Decoder, text []byte) (jsontext.Value, error) {
	value, err := decoder.ReadValue()
	if err != nil {
		return nil, err
	}
	end := decoder.InputOffset()
	return text[end-int64(len(value)) : end], nil
}

// depth returns the nesting depth of the object or array at the beginning of text. If text
// is not JSON, the result does not matter, because the parser refuses the text.
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

// checkText makes the checks that the decoder does not make, once, on the whole text.
func (r *Reader) checkText() error {
	if !utf8.Valid(r.text) {
		at := 0
		for c, size := utf8.DecodeRune(r.text); c != utf8.RuneError || size > 1; c, size = utf8.DecodeRune(r.text[at:]) {
			at += size
		}
		return r.notJSONAt(int64(at))
	}
	if r.lone = loneSurrogate(r.text) >= 0; r.lone {
		return r.allowDuplicates()
	}
	return nil
}

// allowDuplicates makes the decoder accept duplicate names, because names with different
// lone surrogates look equal to it. Member refuses the object with the lone surrogate
// later. In the other elements of an array, allowDuplicates looks for duplicate names
// itself.
func (r *Reader) allowDuplicates() error {
	r.decode(anyUTF8, duplicates)
	if !r.IsArray() {
		return nil
	}
	if err := r.readToken(); err != nil {
		return err
	}
	for r.MoreElements() {
		element, err := r.value()
		if err != nil {
			return err
		}
		if loneSurrogate(element) >= 0 {
			continue
		}
		_, err = jsontext.NewDecoder(bytes.NewBuffer(element)).ReadValue()
		if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			return duplicateAt(r.json.InputOffset() - int64(len(element)) + e.ByteOffset)
		}
	}
	r.decode(anyUTF8, duplicates)
	return nil
}

// notJSON returns an error that says where the text stops being JSON. It does not use the
// parser's own message, which quotes the text.
func (r *Reader) notJSON(err error) error {
	at := r.json.InputOffset()
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = e.ByteOffset
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return malformed("%s ends before its JSON is complete", r.what)
	case errors.Is(err, jsontext.ErrDuplicateName):
		return duplicateAt(at)
	}
	return r.notJSONAt(at)
}

func (r *Reader) notJSONAt(at int64) error {
	return malformed("%s is not valid JSON in UTF-8, at byte %d", r.what, at)
}

func duplicateAt(at int64) error {
	return malformed("an object has the same member twice, at byte %d", at)
}

func malformed(format string, args ...any) *pubsub.Error {
	return pubsub.Errorf(pubsub.Malformed, format, args...)
}

func (r *Reader) loneSurrogateAt(at int) error {
	return &pubsub.Error{
		Code:   pubsub.Malformed,
		Detail: fmt.Sprintf("%s has a lone surrogate (half of a character such as an emoji) at byte %d: if your program shortens strings, make it cut between whole characters", r.what, at),
		Err:    ErrLoneSurrogate,
	}
}

package wire

import "bytes"

// lineBreaks are the characters that JSON leaves as they are, and that some programs
// take for the end of a line. A reader that splits a stream there, as Python's
// str.splitlines does, would cut a message in two.
var lineBreaks = [...]struct{ character, escape []byte }{
	{[]byte("\u2028"), []byte(`\u2028`)},
	{[]byte("\u2029"), []byte(`\u2029`)},
	{[]byte("\u0085"), []byte(`\u0085`)},
}

// appendJSON appends value, which is JSON, with lineBreaks escaped. They stand in
// strings only, so it is the same value.
func appendJSON(dst, value []byte) []byte {
	from := len(dst)
	return escapeBreaks(append(dst, value...), from)
}

// escapeBreaks escapes lineBreaks in dst[from:], which is JSON.
func escapeBreaks(dst []byte, from int) []byte {
	for _, b := range lineBreaks {
		if bytes.Contains(dst[from:], b.character) {
			dst = append(dst[:from], bytes.ReplaceAll(dst[from:], b.character, b.escape)...)
		}
	}
	return dst
}

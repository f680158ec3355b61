package wire

import "bytes"

// lineBreaks are the characters that JSON does not escape, although some programs treat
// them as the end of a line. A reader that splits a stream there, like Python's
// str.splitlines, would cut a message in two.
var lineBreaks = [...]struct{ character, escape []byte }{
	{[]byte("\u2028"), []byte(`\u2028`)},
	{[]byte("\u2029"), []byte(`\u2029`)},
	{[]byte("\u0085"), []byte(`\u0085`)},
}

// appendJSON appends the JSON text value with lineBreaks escaped. They occur only in
// strings, so the value does not change.
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

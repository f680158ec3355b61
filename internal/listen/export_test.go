package listen

// SweepForTest closes idle connections as if descriptors had run out, and calls
// meanwhile between choosing and closing them.
func (l *Limiter) SweepForTest(meanwhile func()) {
	l.crowded(true)
	idle := l.idlest()
	meanwhile()
	for _, i := range idle {
		i.close()
	}
}

package listen

// SweepForTest closes idle connections as if descriptors had run out. It calls meanwhile
// after it has chosen them and before it closes them.
func (l *Limiter) SweepForTest(meanwhile func()) {
	l.crowded(true)
	idle := l.idlest()
	meanwhile()
	for _, i := range idle {
		i.close()
	}
}

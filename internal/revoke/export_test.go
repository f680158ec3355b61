package revoke

// BreakForTest makes the next write fail.
func (f *File) BreakForTest() { f.file.Close() }

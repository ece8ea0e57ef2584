package compose

// SetSpace makes the target believe that every disk has that much room, in bytes.
func (t *Target) SetSpace(free, total int64) {
	t.space = func(string) (space, error) { return space{free: free, total: total}, nil }
}

// SpaceOf measures a real disk.
func SpaceOf(dir string) (free, total int64, err error) {
	s, err := spaceOf(dir)
	return s.free, s.total, err
}

package manifest

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

// tailSum computes a manifest's checksum of itself: the SHA-256 of all bytes
// up to and including the last newline but one (PostgreSQL manual, "Backup
// Manifest Top-level Object"). Which newline that is shows only at the end,
// so the states after the two latest newlines are kept instead of the bytes
// after them, and a line may be of any length.
type tailSum struct {
	running  hash.Cloner
	last     hash.Hash // after the latest newline; nil before the first one
	previous hash.Hash // after the newline before that
	// terminated tells whether the latest byte was a newline.
	terminated bool
}

func newTailSum() (*tailSum, error) {
	running, ok := sha256.New().(hash.Cloner)
	if !ok {
		return nil, errNoClone
	}
	return &tailSum{running: running}, nil
}

// write never keeps p. It copies a state at most twice a call, for the last
// two newlines of p: the states between would be overwritten anyway.
func (t *tailSum) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	t.terminated = p[len(p)-1] == '\n'
	last := bytes.LastIndexByte(p, '\n')
	if last >= 0 {
		previous := bytes.LastIndexByte(p[:last], '\n')
		if previous >= 0 {
			if err := t.mark(p[:previous+1]); err != nil {
				return err
			}
		}
		if err := t.mark(p[previous+1 : last+1]); err != nil {
			return err
		}
	}
	_, err := t.running.Write(p[last+1:])
	return err
}

// mark adds p, which ends in a newline, and remembers the state after it.
func (t *tailSum) mark(p []byte) error {
	if _, err := t.running.Write(p); err != nil {
		return err
	}
	state, err := t.running.Clone()
	if err != nil {
		return err
	}
	t.previous, t.last = t.last, state
	return nil
}

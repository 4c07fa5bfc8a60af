package verify

import (
	"sync/atomic"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
)

// What is known of an entry.
const (
	seen       uint32 = 1 << iota // it is there
	bad                           // something is wrong with it
	good                          // all that was asked for was compared
	passedOver                    // it is to be ignored
	suspect                       // its content makes no sense, whatever its checksum
)

// entry is one file of the manifest. A table may have a million of them, so
// the path and the checksum are one string.
type entry struct {
	text      string
	size      int64
	state     uint32
	length    uint16 // of the path; manifest.MaxPathLength fits
	algorithm manifest.Algorithm
}

func (e *entry) path() string         { return e.text[:e.length] }
func (e *entry) checksum() string     { return e.text[e.length:] }
func (e *entry) has(flag uint32) bool { return atomic.LoadUint32(&e.state)&flag != 0 }

// set adds a flag and tells whether it was there before.
func (e *entry) set(flag uint32) (before bool) { return atomic.OrUint32(&e.state, flag)&flag != 0 }

// table is a manifest's files. Once it is filled, several goroutines may use
// it, entries only through has and set.
type table struct {
	entries []entry
	index   map[string]int32
}

func newTable() *table { return &table{index: map[string]int32{}} }

// add copies what it keeps. It is false for a path that was added before.
func (t *table) add(f manifest.File) bool {
	if _, ok := t.index[f.Path]; ok {
		return false
	}
	e := entry{text: f.Path + string(f.Checksum), size: f.Size, length: uint16(len(f.Path)), algorithm: f.Algorithm}
	t.index[e.path()] = int32(len(t.entries))
	t.entries = append(t.entries, e)
	return true
}

// find gives the entry of a path, or nil.
func (t *table) find(name string) *entry {
	i, ok := t.index[name]
	if !ok {
		return nil
	}
	return &t.entries[i]
}

package logstream_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgtest/powerloss"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/logstream"
)

// TestPowerLossKeepsWhatWasReportedDurable has the power go at random steps of
// a receiver. What it had told the server to be durable must be there, and no
// segment under its last name may have a hole.
func TestPowerLossKeepsWhatWasReportedDurable(t *testing.T) {
	t.Parallel()
	powerloss.SkipWhereSlow(t)
	const end = origin + 6<<20 - 1000
	for name, change := range map[string]func(*logstream.DirOptions, *logstream.Options){
		"receive":     func(*logstream.DirOptions, *logstream.Options) {},
		"clone":       func(do *logstream.DirOptions, _ *logstream.Options) { do.DataDirectory = true },
		"gzip":        func(do *logstream.DirOptions, _ *logstream.Options) { do.Compression.Method = compress.Gzip },
		"synchronous": func(do *logstream.DirOptions, o *logstream.Options) { do.ZeroFill, o.Synchronous = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := scriptRange(t, origin, end, func(_ *walsender.Options, do *logstream.DirOptions, o *logstream.Options) {
				do.NoSync = false
				change(do, o)
			})
			b.wal.ChunkSize = 5 * 8192
			log := powerloss.Record(t, b.dir)
			var mu sync.Mutex
			reported := map[int]logstream.LSN{}
			t.Cleanup(durable.Watch(b.dir, func(c durable.Change) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				// What is reported now was made durable by steps before this one.
				reported[log.Len()] = b.Status().Durable.LSN
				return len(c.Data), nil
			}))
			b.mustReceive(at(1, origin), at(1, end))
			mu.Lock() // the room of a next segment may still be made ready
			reported[log.Len()] = b.Status().Durable.LSN
			mu.Unlock()

			// With zeros to the end of its last segment.
			sent := append(b.wal.Bytes(1, walsender.LSN(origin), walsender.LSN(end)), make([]byte, b.size)...)
			r := rand.New(rand.NewPCG(3, 4))
			sealed, held := 0, 0
			for n := 0; n <= log.Len(); n = min(n+1+r.IntN(3), max(n+1, log.Len())) {
				for _, survives := range []powerloss.Survivor{powerloss.None, powerloss.All, powerloss.Some(r)} {
					tree := log.Crash(n, survives)
					sealed += b.sealedWhole(n, tree, sent, name == "clone", end)
					mu.Lock()
					l, ok := reported[n]
					mu.Unlock()
					if ok && name != "clone" { // a clone that did not finish is none
						b.keeps(n, tree, sent, l)
						held++
					}
				}
			}
			if sealed == 0 || held == 0 && name != "clone" {
				t.Errorf("looked at %d sealed segments and %d reports", sealed, held)
			}
		})
	}
}

// sealedWhole checks each segment that has its last name.
func (b *scripted) sealedWhole(n int, tree powerloss.Tree, sent []byte, short bool, end logstream.LSN) (count int) {
	b.t.Helper()
	for name, content := range tree {
		base, packed := strings.CutSuffix(name, ".gz")
		if len(base) != 24 || strings.Contains(base, "/") {
			continue
		}
		count++
		got := content
		if packed {
			var err error
			if got, err = unpacked(content); err != nil {
				b.t.Errorf("after %d changes %s is torn: %v", n, name, err)
				continue
			}
		}
		_, number, ok := b.size.ParseFileName(base)
		if !ok {
			b.t.Fatalf("after %d changes there is %s", n, name)
		}
		start := b.size.Start(number)
		want := sent[start-origin:][:b.size]
		if !short && start+logstream.LSN(b.size) > end {
			b.t.Errorf("after %d changes %s has its last name", n, name)
		}
		if !bytes.Equal(got, want) {
			b.t.Errorf("after %d changes %s has %d bytes and differs from byte %d on", n, name, len(got), differ(got, want))
		}
	}
	return count
}

// keeps checks that the log up to l is there, in one form or another.
func (b *scripted) keeps(n int, tree powerloss.Tree, sent []byte, l logstream.LSN) {
	b.t.Helper()
	for at := origin; at < l; at += logstream.LSN(b.size) {
		name := b.size.FileName(1, b.size.Segment(at))
		want := sent[at-origin : min(at+logstream.LSN(b.size), l)-origin]
		found := false
		for _, form := range []string{"", ".partial", ".gz"} {
			content, ok := tree[name+form]
			got := content
			if ok && form == ".gz" {
				var err error
				got, err = unpacked(content)
				ok = err == nil
			}
			found = found || ok && bytes.HasPrefix(got, want)
		}
		if !found {
			b.t.Errorf("after %d changes %s was reported durable, and %s does not have it", n, l, name)
		}
	}
}

func unpacked(content []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

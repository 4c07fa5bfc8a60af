package durable

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// someBytes are n bytes that do not repeat within a piece.
func someBytes(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		v := random.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
	return b
}

func TestWriterGivesTheSameFileHoweverItIsCut(t *testing.T) {
	t.Parallel()
	const seed = 1
	random := rand.New(rand.NewPCG(seed, 0))
	for _, w := range []*Writer{NewWriter(false), NewWriter(true), NewDirectWriter(false)} {
		for round := range 12 {
			want := someBytes(random, random.IntN(11<<20))
			f := create(t, "f")
			if w.file != nil {
				t.Fatal("a file is active before Start")
			}
			if w.Start(f); round%2 == 1 {
				w.StartSized(f, int64(len(want)))
			}
			if w.file != f {
				t.Fatal("the file is not active")
			}
			for rest := want; len(rest) > 0; {
				// From single bytes to more than two gathered writes, and
				// the sizes around one.
				n := 1 + random.IntN(1<<random.IntN(22))
				if random.IntN(8) == 0 {
					n = gather - 1 + random.IntN(3)
				}
				n = min(n, len(rest))
				if got, err := w.Write(rest[:n]); got != n || err != nil {
					t.Fatalf("%d of %d bytes, %v", got, n, err)
				}
				rest = rest[n:]
			}
			finished, err := w.Finish()
			if finished != f || err != nil {
				t.Fatalf("%v, %v", finished, err)
			}
			if got := content(t, f.Name()); got != string(want) {
				t.Fatalf("seed %d, round %d: the file differs, %d bytes, want %d", seed, round, len(got), len(want))
			}
		}
	}
}

func TestWriterDoesNotKeepTheCallersBytes(t *testing.T) {
	t.Parallel()
	f := create(t, "f")
	w := NewWriter(false)
	w.Start(f)
	piece := []byte("piece")
	if _, err := w.Write(piece); err != nil {
		t.Fatal(err)
	}
	copy(piece, "XXXXX")
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, f.Name()); got != "piece" {
		t.Errorf("content %q", got)
	}
}

// TestWriterGathers looks at the file while it is written: small pieces stay
// in memory until there are enough of them, large ones go by it at once.
func TestWriterGathers(t *testing.T) {
	t.Parallel()
	f := create(t, "f")
	w := NewWriter(false)
	w.Start(f)
	size := func() int64 {
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	write := func(n int, want int64) {
		t.Helper()
		if _, err := w.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		if got := size(); got != want {
			t.Errorf("file has %d bytes, want %d", got, want)
		}
	}
	write(cached-1, 0)
	write(1, cached)
	write(2*cached+7, 3*cached)
	write(cached-8, 3*cached)
	write(2, 4*cached)
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if got := size(); got != 4*cached+1 {
		t.Errorf("file has %d bytes in the end", got)
	}
}

func TestWriterReportsAFailedWrite(t *testing.T) {
	t.Parallel()
	for _, n := range []int{10, gather, 3 * gather} {
		f := create(t, "f")
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		w := NewWriter(true)
		w.Start(f)
		written, err := w.Write(make([]byte, n))
		finished, e := w.Finish()
		if err := errors.Join(err, e); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%d bytes: %v", n, err)
		}
		if err != nil && written != 0 {
			t.Errorf("%d bytes taken, with an error", written)
		}
		if finished != f || w.file != nil {
			t.Error("the file is not handed back with the error")
		}
		// What was left of it must not get into the next file.
		next := create(t, "next")
		w.Start(next)
		if _, err := w.Write([]byte("next")); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Finish(); err != nil {
			t.Fatal(err)
		}
		if got := content(t, next.Name()); got != "next" {
			t.Errorf("next file has %d bytes", len(got))
		}
	}
}

func TestWriterDoesNotAllocate(t *testing.T) {
	f, err := OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	w := NewWriter(true)
	w.Start(f)
	piece := bytes.Repeat([]byte("x"), 32<<10)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Write allocates %v times", n)
	}
}

func BenchmarkWriter(b *testing.B) {
	f := create(b, "f")
	w := NewWriter(true)
	w.Start(f)
	piece := make([]byte, 32<<10)
	b.SetBytes(int64(len(piece)))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n += len(piece); n > 256<<20 { // the disk has an end
			b.StopTimer()
			if _, err := w.Finish(); err != nil {
				b.Fatal(err)
			}
			if _, err := f.Seek(0, 0); err != nil {
				b.Fatal(err)
			}
			w.Start(f)
			n = 0
			b.StartTimer()
		}
		if _, err := w.Write(piece); err != nil {
			b.Fatal(err)
		}
	}
}

// TestImpatientWriterLeavesASlowDisk has the disk be slower than what comes: a
// writer that does not wait for it in the end uses the page cache then, and one
// that does goes on.
func TestImpatientWriterLeavesASlowDisk(t *testing.T) {
	t.Parallel()
	for _, impatient := range []bool{false, true} {
		dir := t.TempDir()
		t.Cleanup(Watch(dir, func(c Change) (int, error) {
			if c.Op == OpWrite && len(c.Data) == gather { // past the page cache
				time.Sleep(150 * time.Millisecond)
			}
			return len(c.Data), nil
		}))
		w := NewDirectWriter(impatient)
		content := bytes.Repeat([]byte("content "), 10*gather/8)
		for n := range 3 {
			path := filepath.Join(dir, fmt.Sprint(n))
			f, err := OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			w.StartSized(f, int64(len(content)))
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
			if f, err = w.Finish(); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("file %d: %d bytes, %v", n, len(got), err)
			}
		}
		if w.direct != nil && !w.direct.since.IsZero() && w.direct.unable.Load() != impatient {
			t.Errorf("impatient %t: waited %s, and gave up: %t", impatient, w.direct.waited, w.direct.unable.Load())
		}
	}
}

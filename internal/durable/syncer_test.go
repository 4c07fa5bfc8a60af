package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func TestSyncerClosesEveryFile(t *testing.T) {
	t.Parallel()
	for _, skip := range []bool{false, true} {
		dir := t.TempDir()
		s := NewSyncer(skip)
		var files []*File
		for i := range 5 * syncWorkers {
			f, err := OpenFile(filepath.Join(dir, fmt.Sprint(i)), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Fprint(f, i); err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
			if err := s.Take(f); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Wait(); err != nil {
			t.Error(err)
		}
		for _, f := range files {
			if err := f.Close(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("skip %t: %s was left open", skip, f.Name())
			}
		}
	}
}

func TestSyncerReturnsTheFirstErrorAndStillClosesTheRest(t *testing.T) {
	t.Parallel()
	for _, skip := range []bool{false, true} {
		s := NewSyncer(skip)
		if err := s.Err(); err != nil {
			t.Fatal(err)
		}
		bad := create(t, "bad")
		if err := bad.Close(); err != nil {
			t.Fatal(err)
		}
		_ = s.Take(bad) // the error may come later
		for s.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		first := s.Err()
		if !errors.Is(first, os.ErrClosed) {
			t.Errorf("skip %t: %v", skip, first)
		}
		good, worse := create(t, "good"), create(t, "worse")
		if err := worse.Close(); err != nil {
			t.Fatal(err)
		}
		for _, f := range []*File{worse, good} {
			if err := s.Take(f); err != first {
				t.Errorf("skip %t: Take says %v, want the first error", skip, err)
			}
		}
		if err := s.Wait(); err != first {
			t.Errorf("skip %t: %v, want the first error, %v", skip, err, first)
		}
		if err := good.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("skip %t: a good file was left open", skip)
		}
	}
}

// TestSyncerSyncsUnlessItIsToSkip tells the two apart by a file that can be
// closed and not synced: the writing end of a pipe.
func TestSyncerSyncsUnlessItIsToSkip(t *testing.T) {
	t.Parallel()
	for _, skip := range []bool{false, true} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		s := NewSyncer(skip)
		_ = s.Take(&File{File: w})
		if err := s.Wait(); (err == nil) != skip {
			t.Errorf("skip %t: %v", skip, err)
		}
		if err := w.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("skip %t: left open", skip)
		}
	}
}

func TestSyncerTakesFromSeveral(t *testing.T) {
	t.Parallel()
	s := NewSyncer(false)
	var writers sync.WaitGroup
	for range 4 {
		f := create(t, "f")
		writers.Go(func() {
			if err := s.Take(f); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
}

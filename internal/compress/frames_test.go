package compress

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// TestFramesAreOneStream writes streams of several lengths in pieces, which
// must come out again, however many frames they became.
func TestFramesAreOneStream(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	content := make([]byte, 5*frameSize+123)
	for i := range content {
		content[i] = byte(r.IntN(4)) // compresses, and repeats nowhere
	}
	for _, length := range []int{0, 1, frameSize - 1, frameSize, frameSize + 1, 3 * frameSize, len(content)} {
		var packed bytes.Buffer
		z, err := Spec{Method: Zstd, Level: 3, Workers: 3}.NewWriter(&packed)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := z.(*frameWriter); !ok {
			t.Fatalf("it is a %T", z)
		}
		for rest := content[:length]; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN(700_000))
			if m, err := z.Write(rest[:n]); m != n || err != nil {
				t.Fatal(m, err)
			}
			rest = rest[n:]
		}
		if err := errors.Join(z.Close(), z.Close()); err != nil {
			t.Fatal(err)
		}
		magic := []byte{0x28, 0xb5, 0x2f, 0xfd}
		if want := max(1, (length+frameSize-1)/frameSize); bytes.Count(packed.Bytes(), magic) < want || !bytes.HasPrefix(packed.Bytes(), magic) {
			t.Errorf("%d bytes are in %d frames, want %d", length, bytes.Count(packed.Bytes(), magic), want)
		}
		back, err := Zstd.NewReader(&packed)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(back)
		if err != nil || !bytes.Equal(got, content[:length]) {
			t.Errorf("%d bytes came back as %d, %v", length, len(got), err)
		}
	}
}

// TestFramesTellOfAnOutputThatFails wants the error while there is more to
// write, and at the end.
func TestFramesTellOfAnOutputThatFails(t *testing.T) {
	t.Parallel()
	want := errors.New("no room")
	z, err := Spec{Method: Zstd, Level: 1, Workers: 2}.NewWriter(failing{want})
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; err == nil; n++ {
		if n == 20 {
			t.Fatal("it takes what nobody gets")
		}
		_, err = z.Write(make([]byte, frameSize))
	}
	if !errors.Is(err, want) || !errors.Is(z.Close(), want) {
		t.Error(err)
	}
}

type failing struct{ error }

func (f failing) Write([]byte) (int, error) { return 0, f.error }

package manifest

import (
	"encoding/hex"
	"testing"
)

func TestAlgorithmsGiveKnownSums(t *testing.T) {
	t.Parallel()
	// The CRC-32C of these nine digits is 0xe3069283 (RFC 3720, B.4, has the
	// same order of bytes); the others are their standards' digests.
	for a, want := range map[Algorithm]string{
		CRC32C: "839206e3",
		SHA224: "9b3e61bf29f17c75572fae2e86e17809a4513d07c8a18152acf34521",
		SHA256: "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
		SHA384: "eb455d56d2c1a69de64e832011f3393d45f3fa31d6842f21af92d2fe469c499da5e3179847334a18479c8d1dedea1be3",
		SHA512: "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274ad27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85",
	} {
		h := a.New()
		for _, part := range []string{"1234", "", "56789"} {
			h.Write([]byte(part))
		}
		if got := hex.EncodeToString(h.Sum([]byte{})); got != want || h.Size() != a.Size() {
			t.Errorf("%s: got %s, want %s", a, got, want)
		}
		h.Reset()
		h.Write([]byte("123456789"))
		if got := hex.EncodeToString(h.Sum(nil)); got != want {
			t.Errorf("%s after Reset: got %s", a, got)
		}
	}
	if None.New() != nil || None.Size() != 0 {
		t.Error("None sums")
	}
}

func TestParseAlgorithmTakesAnyCase(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Algorithm{
		"none": None, "CRC32C": CRC32C, "crc32c": CRC32C, "Sha224": SHA224, "sha256": SHA256, "SHA384": SHA384, "sha512": SHA512,
	} {
		if a, err := ParseAlgorithm(text); err != nil || a != want {
			t.Errorf("%s: got %s, %v", text, a, err)
		}
	}
	for _, text := range []string{"", "md5", "sha-256", " crc32c", "sha1"} {
		if _, err := ParseAlgorithm(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if s := Algorithm(9).String(); s != "Algorithm(9)" || Algorithm(9).New() != nil || Algorithm(9).Size() != 0 {
		t.Error("an unknown algorithm is not handled")
	}
}

package conninfo

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"testing"
)

// encryptKey encrypts text as openssl pkcs8 -topk8 does.
func encryptKey(t testing.TB, text []byte, password string) []byte {
	t.Helper()
	marshal := func(v any) []byte {
		der, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	identifier := func(oid asn1.ObjectIdentifier, parameters []byte) pkix.AlgorithmIdentifier {
		return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.RawValue{FullBytes: parameters}}
	}
	salt, iv := []byte("saltsalt"), []byte("0123456789abcdef")
	secret, err := pbkdf2.Key(sha256.New, password, salt, 2048, 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		t.Fatal(err)
	}
	padding := aes.BlockSize - len(text)%aes.BlockSize
	data := append(bytes.Clone(text), bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)
	hmacSHA256 := identifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, []byte{5, 0})
	return marshal(encryptedKey{identifier(oidPBES2, marshal(pbes2{
		identifier(oidPBKDF2, marshal(pbkdf2Params{Salt: salt, Iterations: 2048, PRF: hmacSHA256})),
		identifier(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, marshal(iv)),
	})), data})
}

func TestEncryptedKeyOpensWithItsPasswordOnly(t *testing.T) {
	t.Parallel()
	text := []byte("a key of some length that is no multiple of 16")
	der := encryptKey(t, text, "open sesame")
	if got, err := decryptKey(der, "open sesame"); err != nil || !bytes.Equal(got, text) {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := decryptKey(der, "open sesam"); err == nil && bytes.Equal(got, text) {
		t.Error("another password opens it")
	} else if err != nil && !errors.Is(err, errWrongPassword) {
		t.Error(err)
	}
	for n := range der { // a damaged one is an error or opens to something else, and never more
		if _, err := decryptKey(der[:n], "open sesame"); err == nil {
			t.Errorf("cut after %d bytes it opens", n)
		}
	}
}

func FuzzDecryptKey(f *testing.F) {
	f.Add(encryptKey(f, []byte("a key"), "x"))
	f.Fuzz(func(t *testing.T, der []byte) {
		if plain, err := decryptKey(der, "x"); err == nil && len(plain) > len(der) {
			t.Errorf("%d bytes of %d", len(plain), len(der))
		}
	})
}

package conninfo

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //#nosec G502 -- only to read keys that were encrypted so
	"crypto/pbkdf2"
	"crypto/sha1" //#nosec G505 -- likewise
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
)

// encryptedKeyBlock is the PEM type of a private key that is encrypted by
// PKCS #8, as OpenSSL writes it (RFC 7468, section 11).
const encryptedKeyBlock = "ENCRYPTED PRIVATE KEY"

// errWrongPassword says that the password does not open the key, or that the key
// is damaged: the two cannot be told apart.
var errWrongPassword = errors.New("wrong sslpassword, or the file is damaged")

// maxIterations caps the work that a key may ask for. OpenSSL's default is
// 2048.
const maxIterations = 2_000_000

// encryptedKey is EncryptedPrivateKeyInfo (RFC 5958, section 3).
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

// pbes2 is PBES2-params (RFC 8018, appendix A.4).
type pbes2 struct {
	KDF, Cipher pkix.AlgorithmIdentifier
}

// pbkdf2Params is PBKDF2-params (RFC 8018, appendix A.2). The salt is taken as
// it stands there.
type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

// keyHashes are the pseudo-random functions of PBKDF2, HMAC with these hashes,
// by object identifier.
var keyHashes = map[string]func() hash.Hash{
	"":                    sha1.New, // the default
	"1.2.840.113549.2.7":  sha1.New,
	"1.2.840.113549.2.8":  sha256.New224,
	"1.2.840.113549.2.9":  sha256.New,
	"1.2.840.113549.2.10": sha512.New384,
	"1.2.840.113549.2.11": sha512.New,
}

// keyCiphers are the ciphers, all with cipher block chaining.
var keyCiphers = map[string]struct {
	keyLength int
	make      func(key []byte) (cipher.Block, error)
}{
	"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
	"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
	"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
	"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
}

// decryptKey opens the content of an encryptedKeyBlock: what it gives is a
// PKCS #8 private key. It knows what OpenSSL makes since 1.0, except scrypt.
func decryptKey(der []byte, password string) ([]byte, error) {
	var key encryptedKey
	var scheme pbes2
	var kdf pbkdf2Params
	var iv []byte
	if err := unmarshal(der, &key); err != nil {
		return nil, err
	}
	if !key.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, fmt.Errorf("encryption %s is %w: encrypt it anew with openssl pkcs8 -topk8 -v2 aes-256-cbc", key.Algorithm.Algorithm, ErrUnsupported)
	}
	if err := unmarshal(key.Algorithm.Parameters.FullBytes, &scheme); err != nil {
		return nil, err
	}
	if !scheme.KDF.Algorithm.Equal(oidPBKDF2) {
		return nil, fmt.Errorf("key derivation %s is %w: encrypt it anew with openssl pkcs8 -topk8 -v2 aes-256-cbc", scheme.KDF.Algorithm, ErrUnsupported)
	}
	if err := unmarshal(scheme.KDF.Parameters.FullBytes, &kdf); err != nil {
		return nil, err
	}
	newHash, method := keyHashes[kdf.PRF.Algorithm.String()], keyCiphers[scheme.Cipher.Algorithm.String()]
	if newHash == nil || method.make == nil {
		return nil, fmt.Errorf("encryption by %s and %s is %w: encrypt it anew with openssl pkcs8 -topk8 -v2 aes-256-cbc",
			kdf.PRF.Algorithm, scheme.Cipher.Algorithm, ErrUnsupported)
	}
	if err := unmarshal(scheme.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, err
	}
	if kdf.Iterations < 1 || kdf.Iterations > maxIterations || kdf.KeyLength != 0 && kdf.KeyLength != method.keyLength {
		return nil, errWrongPassword
	}
	secret, err := pbkdf2.Key(newHash, password, kdf.Salt, kdf.Iterations, method.keyLength)
	if err != nil {
		return nil, err
	}
	block, err := method.make(secret)
	if err != nil {
		return nil, err
	}
	size := block.BlockSize()
	if len(iv) != size || len(key.Data) == 0 || len(key.Data)%size != 0 {
		return nil, errWrongPassword
	}
	plain := make([]byte, len(key.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, key.Data)
	padding := int(plain[len(plain)-1])
	if padding < 1 || padding > size || !bytes.HasSuffix(plain, bytes.Repeat([]byte{byte(padding)}, padding)) {
		return nil, errWrongPassword
	}
	return plain[:len(plain)-padding], nil
}

// unmarshal reads DER that has nothing after it.
func unmarshal(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err == nil && len(rest) > 0 {
		err = errors.New("data after its end")
	}
	if err != nil {
		return fmt.Errorf("not an encrypted PKCS #8 key: %w", err)
	}
	return nil
}

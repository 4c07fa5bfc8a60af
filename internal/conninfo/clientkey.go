package conninfo

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// clientKey is what this package makes of the client's certificate before, and
// after, pgconn reads the parameters.
type clientKey struct {
	mode        string // sslcertmode
	certificate *tls.Certificate
	// refused is why TLS cannot be used, where it need not be.
	refused error
}

// clientKey looks at the files of the client's certificate as libpq does when it
// begins TLS (initialize_SSL in src/interfaces/libpq/fe-secure-openssl.c): a
// certificate that is not there is done without, a key that others may read is
// refused. With sslmode allow and prefer libpq then goes on without TLS. values
// are what pgconn gets, which is not to read the files itself: it knows fewer
// kinds of them.
func (i *Info) clientKey(e endpoint, values map[string]string) (clientKey, error) {
	k := clientKey{mode: values["sslcertmode"]}
	mode := values["sslmode"]
	values["sslcertmode"] = "disable"
	if e.unix() || mode == "disable" || k.mode == "disable" {
		return k, nil
	}
	cert, key := values["sslcert"], values["sslkey"]
	if cert == "" {
		cert = homeFile(".postgresql", "postgresql.crt")
	}
	if key == "" {
		key = homeFile(".postgresql", "postgresql.key")
	}
	if _, err := os.Stat(cert); cert == "" || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return k, nil
	}
	err := checkKeyFile(key)
	if err == nil {
		k.certificate, err = i.loadPair(cert, key)
	}
	if err != nil && (mode == "" || mode == "prefer" || mode == "allow") {
		k.refused, err = err, nil
	}
	return k, err
}

// apply puts into a configuration what pgconn was not to know.
func (k clientKey) apply(c *pgconn.Config) {
	c.SSLCertMode = k.mode
	all := []*tls.Config{c.TLSConfig}
	for _, f := range c.Fallbacks {
		all = append(all, f.TLSConfig)
	}
	for _, t := range all {
		switch {
		case t == nil:
		case k.refused != nil:
			t.VerifyConnection = func(tls.ConnectionState) error { return k.refused }
		case k.certificate != nil:
			t.Certificates = []tls.Certificate{*k.certificate}
		}
	}
}

// checkKeyFile refuses a private key that others may read, in libpq's words.
func checkKeyFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("certificate present, but not private key file %q", path)
	case err != nil:
		return fmt.Errorf("could not stat private key file: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("private key file %q is not a regular file", path)
	case info.Mode().Perm()&forbiddenKeyMode(info) != 0:
		return fmt.Errorf("private key file %q has group or world access; file must have permissions u=rw (0600) or less "+
			"if owned by the current user, or permissions u=rw,g=r (0640) or less if owned by root", path)
	}
	return nil
}

// loadPair reads the certificate and its key, which may be among other things in
// one file, be encrypted, and be bare DER, as OpenSSL reads them.
func (i *Info) loadPair(cert, key string) (*tls.Certificate, error) {
	certText, err := os.ReadFile(cert)
	if err != nil {
		return nil, fmt.Errorf("could not read certificate file: %w", err)
	}
	keyText, err := os.ReadFile(key)
	if err != nil {
		return nil, fmt.Errorf("could not load private key file: %w", err)
	}
	der, err := keyDER(keyText, i.params["sslpassword"])
	if err != nil {
		return nil, fmt.Errorf("could not load private key file %q: %w", key, err)
	}
	// The kind of key is found out from its content.
	pair, err := tls.X509KeyPair(certText, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		return nil, fmt.Errorf("could not load certificate file %q with private key file %q: %w", cert, key, err)
	}
	return &pair, nil
}

// keyDER is the first private key in a file, which is PEM or DER.
func keyDER(text []byte, password string) ([]byte, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return text, nil
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		//lint:ignore SA1019 it is weak, but keys that openssl encrypted before 1.0 are such
		old := x509.IsEncryptedPEMBlock(block)
		switch {
		case !strings.HasSuffix(block.Type, "PRIVATE KEY"):
			continue
		case !old && block.Type != encryptedKeyBlock:
			return block.Bytes, nil
		case password == "":
			return nil, errors.New("it is encrypted, and there is no sslpassword")
		case !old:
			return decryptKey(block.Bytes, password)
		}
		//lint:ignore SA1019 as above
		der, err := x509.DecryptPEMBlock(block, []byte(password))
		if err != nil {
			return nil, errWrongPassword
		}
		return der, nil
	}
	return nil, errors.New("no private key in it")
}

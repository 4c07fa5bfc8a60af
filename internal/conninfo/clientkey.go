package conninfo

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// clientKey is what this package makes of the client's certificate before, and
// after, pgconn reads the parameters.
type clientKey struct {
	mode string // sslcertmode
	// certificate is one whose key pgconn cannot read.
	certificate *tls.Certificate
	// refused is why TLS cannot be used, where it need not be.
	refused error
}

// clientKey looks at the files of the client's certificate as libpq does when it
// begins TLS (initialize_SSL in src/interfaces/libpq/fe-secure-openssl.c): a
// certificate that is not there is done without, a key that others may read is
// refused. With sslmode allow and prefer libpq then goes on without TLS. values
// are what pgconn gets.
func (i *Info) clientKey(e endpoint, values map[string]string) (clientKey, error) {
	k := clientKey{mode: values["sslcertmode"]}
	mode := values["sslmode"]
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
		values["sslcertmode"] = "disable" // none of the two files is read
		return k, nil
	}
	values["sslcert"], values["sslkey"] = cert, key
	err := checkKeyFile(key)
	if err == nil {
		k.certificate, err = i.encryptedPair(cert, key)
	}
	if err != nil || k.certificate != nil {
		values["sslcertmode"] = "disable" // pgconn is not to read them
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

// encryptedPair is the certificate with its key if that is encrypted by PKCS #8,
// which pgconn does not know; nil otherwise.
func (i *Info) encryptedPair(cert, key string) (*tls.Certificate, error) {
	keyText, err := os.ReadFile(key)
	if err != nil {
		return nil, fmt.Errorf("could not load private key file: %w", err)
	}
	block, _ := pem.Decode(keyText)
	if block == nil || block.Type != encryptedKeyBlock {
		return nil, nil
	}
	password := i.params["sslpassword"]
	if password == "" {
		return nil, fmt.Errorf("could not load private key file %q: it is encrypted, and there is no sslpassword", key)
	}
	plain, err := decryptKey(block.Bytes, password)
	if err != nil {
		return nil, fmt.Errorf("could not load private key file %q: %w", key, err)
	}
	certText, err := os.ReadFile(cert)
	if err != nil {
		return nil, fmt.Errorf("could not read certificate file: %w", err)
	}
	pair, err := tls.X509KeyPair(certText, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: plain}))
	if err != nil {
		return nil, fmt.Errorf("could not load private key file %q: %w", key, err)
	}
	return &pair, nil
}

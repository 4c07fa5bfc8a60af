package pgtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TLSFiles are the PEM files of a cluster that takes TLS connections.
type TLSFiles struct {
	// CA is the certificate of the authority that signed the server's
	// certificate, which is valid for localhost and 127.0.0.1.
	CA string
	// ClientCert and ClientKey are a certificate for the user postgres, by
	// the same authority, for the authentication method cert.
	ClientCert, ClientKey string

	// ExpiredCert and ExpiredKey are a certificate of the server's that is not
	// valid any more, for the settings ssl_cert_file and ssl_key_file.
	ExpiredCert, ExpiredKey string

	serverCert, serverKey string
}

// makeTLS makes an authority, and a server's and a client's certificate.
func makeTLS(t testing.TB, dir string) TLSFiles {
	t.Helper()
	files := TLSFiles{
		CA:          filepath.Join(dir, "ca.crt"),
		ClientCert:  filepath.Join(dir, "client.crt"),
		ClientKey:   filepath.Join(dir, "client.key"),
		ExpiredCert: filepath.Join(dir, "expired.crt"),
		ExpiredKey:  filepath.Join(dir, "expired.key"),
		serverCert:  filepath.Join(dir, "server.crt"),
		serverKey:   filepath.Join(dir, "server.key"),
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pgbraid test authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.ParseIP(loopback)},
	}
	client := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: superuser},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	expired := *server
	expired.SerialNumber, expired.NotAfter = big.NewInt(4), now.Add(-time.Minute)
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		writePEM(files.CA, "CERTIFICATE", caDER, 0o644),
		writePair(files.serverCert, files.serverKey, server, ca, caKey),
		writePair(files.ClientCert, files.ClientKey, client, ca, caKey),
		writePair(files.ExpiredCert, files.ExpiredKey, &expired, ca, caKey),
		serverAccount().give(files.serverKey), serverAccount().give(files.ExpiredKey))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func writePair(certPath, keyPath string, cert, ca *x509.Certificate, caKey *ecdsa.PrivateKey) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	certDER, err := x509.CreateCertificate(rand.Reader, cert, ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(writePEM(certPath, "CERTIFICATE", certDER, 0o644), writePEM(keyPath, "PRIVATE KEY", keyDER, 0o600))
}

func writePEM(path, kind string, der []byte, perm os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), perm)
}

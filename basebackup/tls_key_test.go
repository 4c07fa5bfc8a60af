package basebackup_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/conninfo"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// TestClientKeys has a server that wants a client's certificate.
func TestClientKeys(t *testing.T) {
	t.Parallel()
	primary := pgtest.Newest(t).Init(t, pgtest.TLS(), pgtest.Password("unused"), pgtest.HBA("hostssl replication all 127.0.0.1/32 cert"))
	primary.Start(t)
	address := net.JoinHostPort("localhost", strconv.Itoa(primary.Port))
	dir := t.TempDir()
	text := readFile(primary.TLS.ClientKey)
	write := func(name, content string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	try := func(what, key, want string, extra ...string) {
		t.Helper()
		extra = append([]string{"sslcert=" + primary.TLS.ClientCert, "sslkey=" + key}, extra...)
		info, err := conninfo.Parse(conninfo.Flags{ConnString: primary.ProxyConnString(address, extra...)}, "clone")
		if err != nil {
			t.Fatal(err)
		}
		config, err := info.Config()
		if err == nil {
			var c *replconn.Conn
			if c, err = replconn.Connect(t.Context(), config); err == nil {
				_ = c.Close()
			}
		}
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", what, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", what, err, want)
		case err != nil && strings.Contains(err.Error(), "open sesame"):
			t.Errorf("%s: the error has the password: %v", what, err)
		}
	}

	const access = "has group or world access; file must have permissions u=rw (0600) or less"
	try("for nobody else", write("600", text, 0o600), "")
	try("for reading only", write("400", text, 0o400), "")
	try("for everybody", write("644", text, 0o644), access)
	try("for the group to write", write("660", text, 0o660), access)
	if os.Geteuid() == 0 {
		try("root's, for a group", write("640", text, 0o640), "")
		other := write("other640", text, 0o640)
		if err := os.Chown(other, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		try("somebody's, for a group", other, access)
	} else {
		try("for the group", write("640", text, 0o640), access)
	}
	try("not there", filepath.Join(dir, "none"), "certificate present, but not private key file")
	try("a directory", dir, "is not a regular file")
	try("for everybody, and TLS not needed", filepath.Join(dir, "644"), access, "sslmode=prefer")
	try("for everybody, and no certificate", filepath.Join(dir, "644"), "connection requires a valid client certificate", "sslcert=/nowhere/x")
	try("for everybody, and not to be used", filepath.Join(dir, "644"), "connection requires a valid client certificate", "sslcertmode=disable")

	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl to encrypt keys with")
	}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(openssl, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	parameters, der, old := filepath.Join(dir, "parameters"), filepath.Join(dir, "der"), filepath.Join(dir, "old")
	run("ecparam", "-name", "prime256v1", "-out", parameters)
	try("after the curve's parameters", write("curve", readFile(parameters)+text, 0o600), "")
	both := write("both", readFile(primary.TLS.ClientCert)+text, 0o600)
	try("in one file with the certificate", both, "", "sslcert="+both)
	try("in a file without any", write("neither", readFile(primary.TLS.ClientCert), 0o600), "no private key in it")
	run("pkey", "-in", primary.TLS.ClientKey, "-outform", "DER", "-out", der)
	try("as DER", der, "")
	run("ec", "-in", primary.TLS.ClientKey, "-out", old, "-aes128", "-passout", "pass:open sesame")
	mustContain(t, "the key that is encrypted the old way", readFile(old), "Proc-Type: 4,ENCRYPTED")
	try("encrypted the old way", old, "", "sslpassword='open sesame'")
	try("encrypted the old way, wrong password", old, "could not load", "sslpassword='open sesam'")
	try("encrypted the old way, no password", old, "there is no sslpassword")
	run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", filepath.Join(dir, "another"))
	try("of another certificate", filepath.Join(dir, "another"), "does not match")

	for _, scheme := range [][]string{
		{}, {"-v2", "aes-128-cbc"}, {"-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA512"}, {"-v2", "des3", "-v2prf", "hmacWithSHA1"},
		{"-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA384", "-iter", "100000"},
	} {
		what := strings.Join(scheme, " ")
		path := filepath.Join(dir, "encrypted")
		encrypt := func(scheme []string) {
			t.Helper()
			run(append([]string{"pkcs8", "-topk8", "-in", primary.TLS.ClientKey, "-out", path, "-passout", "pass:open sesame"}, scheme...)...)
		}
		encrypt(scheme)
		try("encrypted "+what, path, "", "sslpassword='open sesame'")
		try("encrypted, with certificate required "+what, path, "", "sslpassword='open sesame'", "sslcertmode=require")
		try("encrypted, wrong password "+what, path, "could not load private key file", "sslpassword='open sesam'")
		try("encrypted, no password "+what, path, "it is encrypted, and there is no sslpassword")
		if what == "" {
			encrypt([]string{"-scrypt"})
			try("encrypted by scrypt", path, "not supported: encrypt it anew", "sslpassword='open sesame'")
		}
	}
}

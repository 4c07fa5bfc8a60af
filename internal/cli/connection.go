package cli

import (
	"context"
	"errors"
	"io/fs"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/conninfo"
)

// connectionOptions are those that every tool of PostgreSQL has.
type connectionOptions struct {
	DBName     string `short:"d" name:"dbname" group:"connection" placeholder:"CONNSTR" help:"Connection string or URI."`
	Host       string `short:"h" group:"connection" placeholder:"HOST" help:"Server's host, or directory of its socket; several with commas."`
	Port       string `short:"p" group:"connection" placeholder:"PORT" help:"Server's port."`
	Username   string `short:"U" group:"connection" placeholder:"NAME" help:"Role to connect as."`
	NoPassword bool   `short:"w" group:"connection" xor:"password" help:"Never ask for a password."`
	Password   bool   `short:"W" group:"connection" xor:"password" help:"Ask for a password before connecting."`
}

func (o *connectionOptions) parse() (*conninfo.Info, error) {
	info, err := conninfo.Parse(conninfo.Flags{
		ConnString: o.DBName, Host: o.Host, Port: o.Port, User: o.Username,
		NoPassword: o.NoPassword, ForcePassword: o.Password,
	}, "pgbraid")
	if err != nil {
		return nil, settingsError(err)
	}
	return info, nil
}

// settingsError is what is wrong with the settings of the connection: a wrong
// command line, unless a file that they name cannot be read, which may lie on a
// disk that is mounted a little later.
func settingsError(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return err
	}
	return &usageError{err: err}
}

// WithPassword calls f with a configuration, and once more if it turns out
// that the server wants a password and there is a person to ask.
func WithPassword(ctx context.Context, info *conninfo.Info, f func(*pgconn.Config) error) error {
	for {
		if info.PasswordFirst() {
			if err := ask(ctx, info); err != nil {
				return err
			}
		}
		config, err := info.Config()
		if err != nil {
			return settingsError(err)
		}
		err = f(config)
		if !info.NeedsPassword(err) {
			return err
		}
		if err := ask(ctx, info); err != nil {
			return err
		}
	}
}

func ask(ctx context.Context, info *conninfo.Info) error {
	password, err := conninfo.PromptPassword(ctx, info.User())
	if err != nil {
		return err
	}
	info.SetPassword(password)
	return nil
}

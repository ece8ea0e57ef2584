package registry

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"rollback-agent/agent"
)

// keychain finds logins where Docker keeps them. The file is read for every
// login, so that `docker login` needs no restart of the agent.
type keychain struct {
	config string
	source atomic.Pointer[string] // of the last login: for the hint, when it is refused
}

// Source says where the last login came from: "docker-credential-ecr-login",
// a file, or "" for none.
func (k *keychain) Source() string {
	if s := k.source.Load(); s != nil {
		return *s
	}
	return ""
}

// Resolve implements [authn.Keychain].
func (k *keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext implements [authn.ContextKeychain]: the credential helper ends
// with ctx.
func (k *keychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	file, err := k.load()
	if err != nil {
		return nil, agent.Permanent(fmt.Errorf("reading Docker's config: %w", err))
	}
	for _, key := range []string{target.String(), target.RegistryStr()} {
		if key == name.DefaultRegistry {
			key = authn.DefaultAuthKey
		}
		login, source, err := k.lookUp(ctx, file, key)
		if err != nil {
			k.source.Store(&source)
			return nil, err
		}
		if login != (authn.AuthConfig{}) {
			k.source.Store(&source)
			return authn.FromConfig(login), nil
		}
	}
	k.source.Store(new(string))
	return authn.Anonymous, nil
}

// dir is the folder that holds the config.json.
func (k *keychain) dir() string {
	if info, err := os.Stat(k.config); err == nil && !info.IsDir() {
		return filepath.Dir(k.config)
	}
	return k.config
}

// load takes the config.json itself, or the folder that holds it.
func (k *keychain) load() (*configfile.ConfigFile, error) {
	info, err := os.Stat(k.config)
	if k.config == "" || err == nil && info.IsDir() {
		return config.Load(k.config)
	}
	if err != nil {
		return nil, err
	}
	file, err := os.Open(k.config)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	loaded, err := config.LoadFromReader(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.config, err)
	}
	loaded.Filename = k.config
	return loaded, nil
}

// lookUp returns the login for a key, and where it came from. No login is the
// zero value. Like Docker, it asks a store for registries only: for a repository
// some fail.
func (k *keychain) lookUp(ctx context.Context, file *configfile.ConfigFile, key string) (login authn.AuthConfig, source string, err error) {
	program := file.CredentialHelpers[key]
	if program == "" && file.CredentialsStore != "" {
		if strings.Contains(strings.TrimPrefix(key, authn.DefaultAuthKey), "/") {
			return authn.AuthConfig{}, "", nil
		}
		program = file.CredentialsStore
	}
	if program != "" {
		program = "docker-credential-" + program
		login, err := k.askHelper(ctx, program, key)
		return login, program, err
	}
	found, err := file.GetAuthConfig(key)
	if err != nil {
		return authn.AuthConfig{}, file.Filename, fmt.Errorf("reading the login for %s: %w", key, err)
	}
	return authn.AuthConfig{
		Username: found.Username, Password: found.Password, Auth: found.Auth,
		IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken,
	}, file.Filename, nil
}

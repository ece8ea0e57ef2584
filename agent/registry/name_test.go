package registry_test

import (
	"strings"
	"testing"

	"rollback-agent/agent"
	"rollback-agent/agent/registry"
)

func TestParseName(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	for ref, want := range map[string]registry.Name{
		"nginx":                          {Full: "docker.io/library/nginx:latest", Host: "docker.io"},
		"docker.io/library/nginx:latest": {Full: "docker.io/library/nginx:latest", Host: "docker.io"},
		"index.docker.io/nginx:1":        {Full: "docker.io/library/nginx:1", Host: "docker.io"},
		"acme/web:1":                     {Full: "docker.io/acme/web:1", Host: "docker.io"},
		"ghcr.io/acme/web":               {Full: "ghcr.io/acme/web:latest", Host: "ghcr.io"},
		"127.0.0.1:5000/web:1":           {Full: "127.0.0.1:5000/web:1", Host: "127.0.0.1:5000"},
		"localhost/web:1":                {Full: "localhost/web:1", Host: "localhost"},
		"ghcr.io/acme/web:1@" + digest:   {Full: "ghcr.io/acme/web@" + digest, Host: "ghcr.io", Digest: digest},
	} {
		if got, err := registry.ParseName(ref); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", ref, got, err, want)
		}
	}
	if _, err := registry.ParseName("Upper/Case"); !agent.IsPermanent(err) || agent.Hint(err) == "" {
		t.Errorf("got %v, want a permanent error with a hint", err)
	}
}

func TestAskTellsHowItWent(t *testing.T) {
	tb, ref, want := private(t)
	config := dockerConfig(t, login(tb.Registry.Host, "ada", "engine"))
	got, err := newResolver(t, registry.Options{DockerConfig: config}).Ask(t.Context(), ref)
	if err != nil || got.Digest != want || got.Login != config || got.Took <= 0 {
		t.Errorf("got %+v, %v, want the digest, the login of %s and a duration", got, err, config)
	}
	wrong := dockerConfig(t, login(tb.Registry.Host, "ada", "wrong"))
	got, err = newResolver(t, registry.Options{DockerConfig: wrong}).Ask(t.Context(), ref)
	if err == nil || got.Digest != "" || got.Login != wrong || got.Took <= 0 {
		t.Errorf("got %+v, %v, want an error, the login of %s and a duration", got, err, wrong)
	}
	got, err = newResolver(t, registry.Options{}).Ask(t.Context(), ref)
	if err == nil || got.Login != "" {
		t.Errorf("got %+v, %v, want an error and no login", got, err)
	}
}

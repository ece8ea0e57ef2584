package registry_test

import (
	"net/http"
	"strings"
	"testing"

	"rollback-agent/agent/registry"
	"rollback-agent/agent/testbed"
)

// A registry, or a proxy before it, that redirects in a circle is asked a few times
// and not until the time is over. What it redirects to may hold a password.
func TestField18RedirectsInACircle(t *testing.T) {
	bed := testbed.New(t)
	everything := false
	bed.Registry.Intercept(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" && !everything {
			bed.Registry.Serve(w, r)
			return
		}
		w.Header().Set("Location", "http://someone:hunter22@"+bed.Registry.Host+"/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	for _, everything = range []bool{false, true} {
		bed.Registry.Forget()
		_, err := newResolver(t, registry.Options{}).Resolve(t.Context(), bed.Ref("app", "v1"))
		wantUnreachable(t, err)
		if got := len(bed.Registry.Requests()); got > 20 {
			t.Errorf("got %d requests for one question, want a few", got)
		}
		if strings.Contains(err.Error(), "hunter22") || !strings.Contains(err.Error(), "redirect") {
			t.Errorf("got %v, want it said without the password", err)
		}
	}
}

package config

import (
	"strings"
	"testing"
)

func TestSlackKeysGoTogether(t *testing.T) {
	for text, want := range map[string][]string{
		`webhook_url = "https://hooks.slack.com/services/T/B/x"`:                             nil,
		"bot_token_file = \"t\"\nchannel = \"#deploys\"":                                     nil,
		`bot_token_file = "t"`:                                                               {"channel is missing"},
		"webhook_url_file = \"t\"\nwebhook_url = \"https://hooks.slack.com/services/T/B/x\"": {"exclude each other"},
		"webhook_url_file = \"t\"\nchannel = \"x\"":                                          {"warning: channel has no effect"},
		`on = ["held"]`: {"warning: [slack] names neither"},
		"webhook_url_file = \"t\"\non = [\"heled\"]":                                   {`on: unknown value "heled"`},
		`webhook_url = "http://hooks.slack.example/sesame"`:                            {"webhook_url: is not https"},
		"bot_token_file = \"t\"\nchannel = \"a b\"":                                    {`"a b" is no channel`},
		`webhook_url = ["https://hooks.slack.com/services/T/B/sesame"]`:                {"webhook_url: must be a string"},
		`webhook_url = "http://127.0.0.1:8080/services/T/B/x"`:                         nil,
		"bot_token_file = \"t\"\nchannel = \"C1\"\napi_url = \"http://10.0.0.1/api/\"": {"api_url: is not https"},
	} {
		cfg, faults := Load(install(t, t.TempDir(), "[slack]\n"+text+"\n[log]\n"))
		var got []string
		for _, f := range append(faults, cfg.Warnings...) {
			line := f.Message
			if f.Warning {
				line = "warning: " + line
			}
			if line != "warning: no service is configured" {
				got = append(got, line)
			}
			if strings.Contains(line+f.Hint, "sesame") {
				t.Errorf("%s: got %q, want the secret hidden", text, line)
			}
		}
		ok := len(got) == len(want)
		for i := range want {
			ok = ok && strings.Contains(got[i], want[i])
		}
		if !ok {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

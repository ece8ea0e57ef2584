package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is set when a release is built: -ldflags "-X rollback-agent/agent/cli.version=1.2.3".
var version string

// Build is what this binary was made from.
type Build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the version control system
	Time     string `json:"time,omitempty"`     // of the revision
	Modified bool   `json:"modified"`           // built with changes that are in no revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Version tells what this binary was made from.
func Version() Build {
	build := Build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		build.Version = cmp.Or(build.Version, "unknown")
		return build
	}
	build.Version = cmp.Or(build.Version, info.Main.Version, "(devel)")
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			build.Revision = setting.Value
		case "vcs.time":
			build.Time = setting.Value
		case "vcs.modified":
			build.Modified = setting.Value == "true"
		}
	}
	return build
}

// String is "agent 1.2.3 (1a2b3c4d5e6f, go1.26, linux/amd64)".
func (b Build) String() string {
	parts := []string{b.Go, b.Platform}
	if b.Revision != "" {
		revision := b.Revision[:min(12, len(b.Revision))]
		if b.Modified {
			revision += "+changes"
		}
		parts = append([]string{revision}, parts...)
	}
	return fmt.Sprintf("agent %s (%s)", b.Version, strings.Join(parts, ", "))
}

func (in *invocation) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say what this binary was made from",
		Long:    `Say which version this binary is, and what it was made from.`,
		Example: "  agent version --output json",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if in.json() {
				return printJSON(cmd.OutOrStdout(), Version())
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), Version())
			return err
		},
	}
}

package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rollback-agent/agent"
)

// validate finds keys that are missing, or that contradict each other.
func (e *entry) validate() {
	e.requireFiles()
	e.compareTimes()
	e.requireArgv()
	e.findIdle()
}

func (e *entry) requireFiles() {
	file, isOne := e.own["compose_file"]
	_, isList := e.own["compose_files"]
	_, tried := e.set["compose_file"]
	_, triedList := e.set["compose_files"]
	switch {
	case isOne && isList:
		e.faults.add(file, "compose_file and compose_files exclude each other", "put every file into compose_files")
	case len(e.svc.Compose.Files) == 0 && triedList:
		e.faults.add(e.at("compose_files"), "compose_files names no file", "")
	case len(e.svc.Compose.Files) == 0 && !tried:
		e.faults.add(e.header, "compose_file is missing", `add compose_file = "/path/to/docker-compose.yml"`)
	}
}

// compareTimes finds spans that can never be over in time.
func (e *entry) compareTimes() {
	s := e.svc
	e.within("min_healthy_time", s.MinHealthyTime, "health_deadline", s.HealthDeadline, "a release could never be proved in time")
	e.within("health_deadline", s.HealthDeadline, "progress_deadline", s.ProgressDeadline, "a release would be rolled back before its health is decided")
	e.within("min_healthy_time", s.MinHealthyTime, "rollback_deadline", s.RollbackDeadline, "a rollback could never be proved in time")
	e.within("health_timeout", s.Health.Timeout, "health_deadline", s.HealthDeadline, "one look could outlast it")
}

func (e *entry) within(inner string, a time.Duration, outer string, b time.Duration, why string) {
	if a <= b {
		return
	}
	at, isSet := e.set[outer]
	if !isSet {
		at = e.at(inner)
	}
	e.faults.add(at, fmt.Sprintf("%s (%s) is shorter than %s (%s)", outer, short(b), inner, short(a)),
		fmt.Sprintf("%s: raise %s or lower %s", why, outer, inner))
}

func (e *entry) requireArgv() {
	at, isSet := e.own["health_command"]
	switch {
	case !isSet:
	case e.svc.Health.In != "" && len(e.svc.Health.Command) == 0:
		e.faults.add(at, "health_command has no argv", `write { argv = ["program"], in = "`+e.svc.Health.In+`" }`)
	case len(e.svc.Health.Command) > 0 && e.svc.Health.Command[0] == "":
		e.faults.add(at, "health_command names no program", "")
	}
	if at, isSet := e.own["before_deploy"]; isSet && len(e.svc.BeforeDeploy) > 0 && e.svc.BeforeDeploy[0] == "" {
		e.faults.add(at, "before_deploy names no program", "")
	}
}

// findIdle warns of the section's own keys that change nothing.
func (e *entry) findIdle() {
	for _, name := range []string{"health_status", "health_body", "health_headers", "health_tls"} {
		if at, isSet := e.own[name]; isSet && e.svc.Health.URL == "" {
			e.faults.warn(at, name+" has no effect without health_url", "add health_url, or remove it")
		}
	}
	if at, isSet := e.own["health_tls"]; isSet && strings.HasPrefix(e.svc.Health.URL, "http://") {
		e.faults.warn(at, "health_tls has no effect: health_url is not https", "")
	}
}

// conflict finds an earlier service that owns what this one owns.
func (e *entry) conflict(earlier []*entry) {
	for _, other := range earlier {
		file, what := overlap(e.svc, other.svc)
		if file == "" {
			continue
		}
		e.faults.add(e.at("compose_file", "compose_files"), fmt.Sprintf("%s of %s belongs to service %q already", what, file, other.svc.Name),
			fmt.Sprintf("%q is in %s:%d; name different compose_services in both", other.svc.Name, other.header.file, other.header.line))
		return
	}
}

// overlap returns a compose file that both services deploy, and what of it.
// Services that name different projects, or different engines, never overlap.
func overlap(a, b agent.Service) (file, what string) {
	if a.Compose.DockerHost != b.Compose.DockerHost || a.Compose.Project != b.Compose.Project {
		return "", ""
	}
	files := realPaths(b.Compose.Files)
	i := slices.IndexFunc(realPaths(a.Compose.Files), func(f string) bool { return slices.Contains(files, f) })
	if i < 0 {
		return "", ""
	}
	file = a.Compose.Files[i]
	if len(a.Compose.Services) == 0 || len(b.Compose.Services) == 0 {
		return file, "everything"
	}
	for _, name := range a.Compose.Services {
		if slices.Contains(b.Compose.Services, name) {
			return file, fmt.Sprintf("compose service %q", name)
		}
	}
	return "", ""
}

func realPaths(files []string) []string {
	real := make([]string, len(files))
	for i, file := range files {
		real[i] = file
		if resolved, err := filepath.EvalSymlinks(file); err == nil {
			real[i] = resolved
		}
	}
	return real
}

// at returns where the first of the keys that is set stands, else the section's
// header.
func (e *entry) at(names ...string) place { return e.set.at(names...) }

func (p places) at(names ...string) place {
	for _, name := range names {
		if at, ok := p[name]; ok {
			return at
		}
	}
	return p[""]
}

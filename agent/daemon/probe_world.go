package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rollback-agent/agent"
)

// skew is how far an engine's clock may be off before it deserves a word: exits
// and restarts are told by its clock.
const skew = 5 * time.Second

// imageRoom is how much room for images deserves a word.
const imageRoom = 1 << 30

// engines asks each distinct engine, as any one service on it would.
func (p *probing) engines() []question {
	var questions []question
	seen := map[string]bool{}
	for _, svc := range p.cfg.Services {
		host := cmp.Or(svc.Compose.DockerHost, defaultDockerHost)
		if d := p.docker(svc); d != nil && !seen[host] {
			seen[host] = true
			questions = append(questions, question{"docker", host, func(ctx context.Context) agent.Finding { return askEngine(ctx, d, svc) }})
		}
	}
	slices.SortFunc(questions, func(a, b question) int { return cmp.Compare(a.name, b.name) })
	return questions
}

func askEngine(ctx context.Context, d docker, svc agent.Service) agent.Finding {
	engine, err := d.Engine(ctx, svc)
	if err != nil {
		return failed(err)
	}
	who := fmt.Sprintf("Engine %s, API %s", engine.Version, engine.API)
	if off := engine.Ahead.Abs(); off > skew {
		direction := "ahead of"
		if engine.Ahead < 0 {
			direction = "behind"
		}
		return doubtful("let both hosts keep time with NTP: exits and restarts are told by the engine's clock", "%s; its clock is %s %s ours", who, off.Round(time.Second), direction)
	}
	if free, err := roomIn(engine.Root); err == nil && engine.Root != "" && free < imageRoom {
		return doubtful("images need room: remove what is not used", "%s; only %s free in %s", who, size(free), engine.Root)
	}
	return fine("%s", who)
}

// services loads what each service's files ask for.
func (p *probing) services() []question {
	var questions []question
	for _, svc := range p.cfg.Services {
		questions = append(questions, question{"service", svc.Name, func(ctx context.Context) agent.Finding { return p.load(ctx, svc) }})
	}
	return questions
}

func (p *probing) load(ctx context.Context, svc agent.Service) agent.Finding {
	wanted, err := p.targets[svc.Target].Desired(ctx, svc)
	offline := false
	if d := p.docker(svc); d != nil && errors.Is(err, agent.ErrUnreachable) {
		outline, outlineErr := d.Outline(ctx, svc)
		if outlineErr == nil {
			wanted, err, offline = agent.Wanted{Files: outline.Files, Warnings: outline.Warnings}, nil, true
			for _, part := range outline.Parts {
				wanted.Artifacts = append(wanted.Artifacts, agent.Artifact{Name: part.Name, Ref: part.Image})
			}
		}
	}
	if err != nil {
		return failed(err)
	}
	p.learn(svc, wanted)
	names := make([]string, len(wanted.Artifacts))
	for i, a := range wanted.Artifacts {
		names[i] = a.Name
	}
	found := fine("%s: %s", count(len(names), "compose service", "compose services"), strings.Join(names, ", "))
	if offline {
		wanted.Warnings = append(wanted.Warnings, "nobody knows what runs: the engine does not answer")
	}
	if len(wanted.Warnings) > 0 {
		found = doubtful("", "%s; %s", found.Detail, strings.Join(wanted.Warnings, "; "))
	}
	return found
}

// wants is one image reference, and the services that name it.
type wants struct {
	svc      agent.Service // one of them
	artifact agent.Artifact
}

// images asks for each distinct reference once.
func (p *probing) images() []question {
	refs := map[string]wants{}
	for _, svc := range p.cfg.Services {
		for _, a := range p.wanted[svc.Name].Artifacts {
			if _, known := refs[a.Ref]; !known {
				refs[a.Ref] = wants{svc, a}
			}
		}
	}
	var questions []question
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		questions = append(questions, question{"registry", ref, func(ctx context.Context) agent.Finding { return p.askRegistry(ctx, refs[ref]) }})
	}
	return questions
}

func (p *probing) askRegistry(ctx context.Context, w wants) agent.Finding {
	d := p.docker(w.svc)
	answer, err := p.resolve.Ask(ctx, w.artifact.Ref)
	if err != nil {
		return explainRegistry(ctx, d, w, answer.Login, err)
	}
	if strings.Contains(w.artifact.Ref, "@"+answer.Digest) {
		return fine("pinned by digest: nobody is asked")
	}
	digest := answer.Digest[:min(19, len(answer.Digest))]
	if answer.Login == "" {
		return fine("%s, without a login", digest)
	}
	if helper := hiddenHelper(answer.Login); helper != "" {
		return doubtful("link it to /usr/local/bin, where the installed agent looks, too",
			"%s, login from %s, which is in %s", digest, answer.Login, helper)
	}
	return fine("%s, login from %s", digest, answer.Login)
}

// explainRegistry tells an image that was made on this host from one that its
// registry should know.
func explainRegistry(ctx context.Context, d docker, w wants, login string, err error) agent.Finding {
	found := failed(err)
	found.Detail = strings.TrimPrefix(found.Detail, "resolving "+w.artifact.Ref+": ")
	switch {
	case errors.Is(err, exec.ErrNotFound) && strings.HasPrefix(login, helperPrefix):
		found.Hint = fmt.Sprintf("install %s in /usr/local/bin (the installed agent looks in %s only), or take it out of Docker's config.json",
			login, strings.Join(servicePath, ":"))
	case found.Hint != "":
	case errors.Is(err, fs.ErrPermission):
		found.Hint = "docker_config in [registry] may name one that this user may read"
	case errors.Is(err, agent.ErrUnreachable):
		found.Hint = "can this host reach it? Look at DNS, firewall and HTTPS_PROXY"
	}
	if d == nil {
		return found
	}
	switch here, homemade, localErr := d.Origin(ctx, w.svc, w.artifact.Ref); {
	case localErr != nil: // told of the engine already
	case homemade:
		return fine("local only: it was made on this host, and no registry has it")
	case here:
		found.Detail += "; until then the copy on this host counts"
	}
	return found
}

const helperPrefix = "docker-credential-"

// servicePath is where systemd lets a service look for programs.
var servicePath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// hiddenHelper returns the directory of a credential helper that a human's PATH
// has and that of a system service has not, else "".
func hiddenHelper(login string) string {
	if !strings.HasPrefix(login, helperPrefix) {
		return ""
	}
	for _, dir := range servicePath {
		if info, err := os.Stat(filepath.Join(dir, login)); err == nil && info.Mode()&0o111 != 0 {
			return ""
		}
	}
	path, err := exec.LookPath(login)
	if err != nil {
		return ""
	}
	return filepath.Dir(path)
}

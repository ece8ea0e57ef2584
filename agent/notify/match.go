package notify

import (
	"fmt"
	"time"

	"rollback-agent/agent"
)

// Occasion is what people may want to hear of.
type Occasion string

// The occasions. The words are those of the config.
const (
	OnHeld           Occasion = "held"
	OnRolledBack     Occasion = "rolled_back"
	OnRollbackFailed Occasion = "rollback_failed"
	OnFailed         Occasion = "failed"
	OnRecovered      Occasion = "recovered"
	OnTrouble        Occasion = "trouble"
	OnWaiting        Occasion = "waiting"
	OnSucceeded      Occasion = "succeeded"

	// onMended is the end of a trouble: whoever heard of the one hears of the other.
	onMended Occasion = "mended"
	// onProgress is a deployment that begins to change what serves, or goes on.
	onProgress Occasion = "progress"
	// onEnd is an end that is no news by itself.
	onEnd Occasion = "end"
)

// sort says what an event is about, and which occasion it is: "" is none.
func sort(e agent.Event) (key string, occasion Occasion) {
	switch e.Kind {
	case agent.EventTransition:
		return fmt.Sprintf("deployment/%d", e.Deployment), ofTransition(e)
	case agent.EventTrouble:
		return "trouble/" + e.Subject, OnTrouble
	case agent.EventMended:
		return "trouble/" + e.Subject, onMended
	case agent.EventInvalid:
		return "invalid/" + e.Service, OnTrouble
	case agent.EventValid:
		return "invalid/" + e.Service, onMended
	case agent.EventRecovered:
		return "recovered/" + e.Service, OnRecovered
	case agent.EventSkipped:
		if e.Reason == agent.ReasonNotify {
			return "waiting/" + e.Service, OnWaiting
		}
	}
	if e.Reason == agent.ReasonDown || e.Severity == agent.SeverityError || e.Severity == agent.SeverityCritical {
		// What is over when it is told is told once a day at least: another day's is
		// another message.
		return fmt.Sprintf("%s/%s/%s/%s", e.Kind, e.Service, e.Reason, e.At.UTC().Format(time.DateOnly)), OnTrouble
	}
	return "", ""
}

func ofTransition(e agent.Event) Occasion {
	if e.From == e.To {
		return "" // a restart moves nothing
	}
	switch e.To {
	case agent.StateHeld:
		return OnHeld
	case agent.StateRolledBack:
		return OnRolledBack
	case agent.StateRollbackFailed:
		return OnRollbackFailed
	case agent.StateFailed:
		return OnFailed
	case agent.StateSucceeded:
		return OnSucceeded
	case agent.StateApplying, agent.StateVerifying, agent.StateWatching, agent.StateRollingBack:
		return onProgress
	case agent.StateSuperseded, agent.StateCancelled:
		return onEnd
	}
	return ""
}

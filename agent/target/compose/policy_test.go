package compose

import (
	"time"

	"github.com/moby/moby/api/types/container"
)

func healthcheck(interval, timeout time.Duration, retries int, startPeriod time.Duration) *container.HealthConfig {
	return &container.HealthConfig{Interval: interval, Timeout: timeout, Retries: retries, StartPeriod: startPeriod}
}

func policy(name string, maximum int) container.RestartPolicy {
	return container.RestartPolicy{Name: container.RestartPolicyMode(name), MaximumRetryCount: maximum}
}

module rollback-agent

go 1.26.8

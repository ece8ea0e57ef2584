// Command app is the patient of the tests and of the demo: a tiny HTTP server
// whose health and fate are set by its environment.
//
//	APP_MODE          good, crash, sick, slow, oom, hang, flap or job
//	APP_VERSION       what / answers
//	APP_ADDR          where it listens (:8080)
//	APP_HEALTH        status of /health, whatever the mode says
//	APP_EXIT_CODE     of crash (1) and job (0)
//	APP_CRASH_AFTER   crash: how long it serves first (300ms)
//	APP_READY_AFTER   slow: how long /health answers 503 (3s)
//	APP_SICK_AFTER    flap: how long /health answers 200 (5s)
//	APP_TAKES         job: how long it works (200ms)
//	APP_PRINTS        names of variables, separated by commas, that it prints into
//	                  its log, and into the answer of /health when that is bad news
//	APP_IGNORE_TERM   1: SIGTERM is ignored
//
// Its one promise: SIGTERM ends it at once, with exit code 0, unless told
// otherwise. With -check it asks its own /health and exits 0 or 1, so that an
// image made of nothing but this binary can have a HEALTHCHECK.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	check := flag.Bool("check", false, "ask the running app for its health")
	flag.Parse()
	log.SetFlags(0)
	log.SetOutput(os.Stdout)
	if *check {
		os.Exit(selfCheck(addr()))
	}
	os.Exit(run(os.Getenv("APP_MODE")))
}

// run lives the life that mode asks for and returns the exit code.
func run(mode string) int {
	term := make(chan os.Signal, 1)
	if os.Getenv("APP_IGNORE_TERM") != "1" {
		signal.Notify(term, syscall.SIGTERM, os.Interrupt)
	} else {
		signal.Ignore(syscall.SIGTERM)
	}
	log.Printf("app %s starts, mode %s", os.Getenv("APP_VERSION"), mode)
	for _, line := range printed() {
		log.Print(line)
	}
	fate := make(chan int, 1)
	switch mode {
	case "job":
		go work(fate)
	case "crash":
		go crash(fate)
	case "oom":
		go swell(fate)
	}
	if mode != "job" {
		go serve(mode, fate)
	}
	select {
	case <-term:
		log.Print("app stops on SIGTERM")
		return 0
	case code := <-fate:
		return code
	}
}

func serve(mode string, fate chan<- int) {
	born := time.Now()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		if mode == "hang" {
			<-r.Context().Done()
			return
		}
		status := health(mode, time.Since(born))
		w.WriteHeader(status)
		fmt.Fprintf(w, "%s is %s\n", os.Getenv("APP_VERSION"), http.StatusText(status))
		if status >= http.StatusBadRequest {
			fmt.Fprintln(w, strings.Join(printed(), "\n"))
		}
	})
	mux.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, r.URL.Query().Get("path"))
	})
	mux.HandleFunc("GET /{$}", identify)
	if err := http.ListenAndServe(addr(), mux); err != nil {
		log.Print(err)
		fate <- 1
	}
}

// health is the status that /health answers at a certain age.
func health(mode string, age time.Duration) int {
	if status, err := strconv.Atoi(os.Getenv("APP_HEALTH")); err == nil {
		return status
	}
	switch {
	case mode == "sick":
		return http.StatusInternalServerError
	case mode == "slow" && age < span("APP_READY_AFTER", 3*time.Second):
		return http.StatusServiceUnavailable
	case mode == "flap" && age > span("APP_SICK_AFTER", 5*time.Second):
		return http.StatusInternalServerError
	}
	return http.StatusOK
}

// printed is what APP_PRINTS asks for.
func printed() []string {
	var lines []string
	for name := range strings.SplitSeq(os.Getenv("APP_PRINTS"), ",") {
		if name != "" {
			lines = append(lines, name+" is "+os.Getenv(name))
		}
	}
	return lines
}

// identify answers who serves, and every APP_ variable it was given.
func identify(w http.ResponseWriter, _ *http.Request) {
	env := map[string]string{}
	for _, line := range os.Environ() {
		if key, value, _ := strings.Cut(line, "="); strings.HasPrefix(key, "APP_") {
			env[key] = value
		}
	}
	host, _ := os.Hostname()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"version": os.Getenv("APP_VERSION"), "host": host, "env": env})
}

func work(fate chan<- int) {
	time.Sleep(span("APP_TAKES", 200*time.Millisecond))
	code := number("APP_EXIT_CODE", 0)
	log.Printf("the job is done, exit code %d", code)
	fate <- code
}

func crash(fate chan<- int) {
	time.Sleep(span("APP_CRASH_AFTER", 300*time.Millisecond))
	code := number("APP_EXIT_CODE", 1)
	log.Print("loading settings")
	log.Print("panic: settings: key \"database\" is missing")
	log.Printf("exit code %d", code)
	fate <- code
}

// swell takes memory until the kernel ends it. It gives up at 512 MiB, so that a
// forgotten limit does not cost the host its memory.
func swell(fate chan<- int) {
	log.Print("loading the whole table into memory")
	var kept [][]byte
	for range 512 {
		chunk := make([]byte, 1<<20)
		for i := 0; i < len(chunk); i += 4096 {
			chunk[i] = 1
		}
		kept = append(kept, chunk)
		time.Sleep(2 * time.Millisecond)
	}
	log.Printf("no limit stopped %d MiB", len(kept))
	fate <- 9
}

// selfCheck asks the app that runs in the same container.
func selfCheck(addr string) int {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		log.Print(err)
		return 1
	}
	client := http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get("http://127.0.0.1:" + port + "/health")
	if err != nil {
		log.Print(err)
		return 1
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
	log.Printf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	if resp.StatusCode != http.StatusOK {
		return 1
	}
	return 0
}

func addr() string {
	if a := os.Getenv("APP_ADDR"); a != "" {
		return a
	}
	return ":8080"
}

func span(key string, fallback time.Duration) time.Duration {
	if d, err := time.ParseDuration(os.Getenv(key)); err == nil {
		return d
	}
	return fallback
}

func number(key string, fallback int) int {
	if n, err := strconv.Atoi(os.Getenv(key)); err == nil {
		return n
	}
	return fallback
}

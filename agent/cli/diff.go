package cli

import (
	"fmt"
	"strings"
)

// edit is one line of a comparison: ' ' in both, '-' only before, '+' only after.
type edit struct {
	kind byte
	line string
}

const diffContext = 3 // lines around a change

// unified returns the difference of two texts as diff -u prints it, "" when there
// is none.
func unified(nameA, nameB, a, b string) string {
	edits := compare(splitLines(a), splitLines(b))
	near := nearChanges(edits)
	var out strings.Builder
	lineA, lineB := 1, 1
	for i := 0; i < len(edits); {
		if !near[i] {
			lineA, lineB, i = lineA+1, lineB+1, i+1
			continue
		}
		end := i
		for end < len(edits) && near[end] {
			end++
		}
		if out.Len() == 0 {
			fmt.Fprintf(&out, "--- %s\n+++ %s\n", nameA, nameB)
		}
		lenA, lenB := lengths(edits[i:end])
		fmt.Fprintf(&out, "@@ -%s +%s @@\n", span(lineA, lenA), span(lineB, lenB))
		for _, e := range edits[i:end] {
			fmt.Fprintf(&out, "%c%s\n", e.kind, e.line)
		}
		lineA, lineB, i = lineA+lenA, lineB+lenB, end
	}
	return out.String()
}

// nearChanges marks the changed lines and those around them; hunks are what is
// marked without a gap.
func nearChanges(edits []edit) []bool {
	near := make([]bool, len(edits))
	for i, e := range edits {
		if e.kind == ' ' {
			continue
		}
		for j := max(0, i-diffContext); j < min(len(edits), i+diffContext+1); j++ {
			near[j] = true
		}
	}
	return near
}

func lengths(edits []edit) (a, b int) {
	for _, e := range edits {
		if e.kind != '+' {
			a++
		}
		if e.kind != '-' {
			b++
		}
	}
	return a, b
}

func span(line, length int) string {
	if length == 0 {
		line--
	}
	if length == 1 {
		return fmt.Sprint(line)
	}
	return fmt.Sprintf("%d,%d", line, length)
}

func splitLines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// compare finds the longest common subsequence, after what begins and ends alike.
func compare(a, b []string) []edit {
	var edits, tail []edit
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		edits, a, b = append(edits, edit{' ', a[0]}), a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail = append(tail, edit{' ', a[len(a)-1]})
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	edits = append(edits, different(a, b)...)
	for i := len(tail) - 1; i >= 0; i-- {
		edits = append(edits, tail[i])
	}
	return edits
}

// maxTable bounds the memory of a comparison; beyond it everything is replaced.
const maxTable = 4 << 20

func different(a, b []string) []edit {
	var edits []edit
	common := make([][]int, 0)
	if len(a)*len(b) <= maxTable {
		common = lcs(a, b)
	}
	i, j := 0, 0
	for i < len(a) && j < len(b) && len(common) > 0 {
		switch {
		case a[i] == b[j]:
			edits, i, j = append(edits, edit{' ', a[i]}), i+1, j+1
		case common[i+1][j] >= common[i][j+1]:
			edits, i = append(edits, edit{'-', a[i]}), i+1
		default:
			edits, j = append(edits, edit{'+', b[j]}), j+1
		}
	}
	for ; i < len(a); i++ {
		edits = append(edits, edit{'-', a[i]})
	}
	for ; j < len(b); j++ {
		edits = append(edits, edit{'+', b[j]})
	}
	return edits
}

// lcs returns the length of the longest common subsequence of a[i:] and b[j:].
func lcs(a, b []string) [][]int {
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				table[i][j] = table[i+1][j+1] + 1
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	return table
}

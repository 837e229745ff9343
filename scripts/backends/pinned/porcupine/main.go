// Judges a history of CecoChat with Porcupine, a checker of linearizability that is not ours.
//
//	porcupine HISTORY.jsonl [PICTURE.html]
//
// A history is what the clients of a run did and saw, a JSON object a line, in the order in which
// it happened; tests/support/porcupine.py writes it and says what each line means. The exit code
// is 1 where the model (model.go) cannot explain it, and the picture shows the first row of these.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// ---- From the lines of a history to the operations of a row.

type line struct {
	number   int64
	Type     string // invoke; ok; fail: it never happens; info: nobody knows
	F        string // what is done, as in the model
	Process  string // who does it
	Row      string
	Messages []message
}

type message struct {
	ID   int64
	Send string // the name that its sender gave it: the same again is the same message
	Text string // a digest
}

func (l line) began() int64 { return 2 * l.number }
func (l line) ended() int64 { return 2*l.number + 1 }

// A send from its first attempt to its first answer. All its ids are the same, or all is lost.
type send struct {
	message
	process         string
	began, answered int64
	ids             []int64
}

// sendsOf gives the sends of a row by name. One that was not answered, yet is shown, was accepted
// at some time. One that nobody ever saw could be so after everything else, and is left out.
func sendsOf(lines []line) map[string]*send {
	sends := map[string]*send{}
	for _, each := range lines {
		for _, m := range each.Messages {
			sent := sends[m.Send]
			switch {
			case each.F == "send" && each.Type == "invoke":
				sends[m.Send] = &send{m, each.Process, each.began(), math.MaxInt64, nil}
			case sent == nil || m.ID == 0: // shown, and never sent; or nothing is known of it
			case each.F == "send":
				sent.answered = min(sent.answered, each.ended())
				sent.ids = append(sent.ids, m.ID)
			case sent.ids == nil:
				sent.ids = []int64{m.ID}
			}
			if each.Type == "fail" {
				delete(sends, m.Send)
			}
		}
	}
	maps.DeleteFunc(sends, func(_ string, each *send) bool { return each.ids == nil })
	return sends
}

// places tells where messages stand in the row, if they are as they were sent.
func places(lines []line, sends map[string]*send) func(...message) []int {
	var ids []int64
	for _, each := range lines {
		for _, m := range each.Messages {
			ids = append(ids, m.ID)
		}
	}
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id int64) bool { return id == 0 })
	as := map[int64]message{}
	for _, each := range sends {
		as[each.ids[0]] = message{each.ids[0], each.Send, each.Text}
	}
	return func(messages ...message) (found []int) {
		for _, m := range messages {
			place, _ := slices.BinarySearch(ids, m.ID)
			if as[m.ID] != m {
				place = nowhere
			}
			found = append(found, place)
		}
		return found
	}
}

func operations(lines []line) (found []porcupine.Operation) {
	sends := sendsOf(lines)
	at := places(lines, sends)
	add := func(began, ended int64, op operation) {
		found = append(found, porcupine.Operation{Input: op, Call: began, Return: ended})
	}
	for _, each := range sends {
		op := operation{"send", each.process, nil}
		for _, id := range each.ids {
			op.places = append(op.places, at(message{id, each.Send, each.Text})...)
		}
		add(each.began, each.answered, op)
	}
	asked := map[string]int64{}
	for _, each := range lines {
		switch {
		case each.F == "send":
		case each.Type == "invoke":
			asked[each.Process] = each.began()
		default:
			began, ok := asked[each.Process]
			if !ok { // nobody asked: it happened at once
				began = each.began()
			}
			delete(asked, each.Process)
			add(began, each.ended(), operation{each.F, each.Process, at(each.Messages...)})
		}
	}
	return found
}

// ---- Reading, judging, telling.

const judgedWithin = time.Minute // a row; what takes longer counts as unexplained

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: porcupine HISTORY.jsonl [PICTURE.html]")
	}
	began := time.Now()
	rows, count := read(os.Args[1])
	broken := 0
	for _, row := range slices.Sorted(maps.Keys(rows)) {
		result, info := porcupine.CheckOperationsVerbose(model, operations(rows[row]), judgedWithin)
		if result == porcupine.Ok {
			continue
		}
		fmt.Printf("%s: %s\n", row, why(result, info, rows[row]))
		if broken++; broken == 1 && len(os.Args) > 2 {
			if err := porcupine.VisualizePath(model, info, os.Args[2]); err != nil {
				log.Fatal(err)
			}
		}
	}
	log.Printf("%d rows, %d lines: judged in %.2f s", len(rows), count, time.Since(began).Seconds())
	if broken > 0 {
		os.Exit(1)
	}
}

func read(path string) (rows map[string][]line, count int64) {
	file, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	rows = map[string][]line{}
	for decoder := json.NewDecoder(bufio.NewReader(file)); ; {
		each := line{number: count + 1}
		if err := decoder.Decode(&each); err == io.EOF {
			return rows, count
		} else if err != nil {
			log.Fatalf("%s:%d: %v", path, each.number, err)
		}
		count++
		rows[each.Row] = append(rows[each.Row], each)
	}
}

// why names the first line that the longest order of operations leaves out.
func why(result porcupine.CheckResult, info porcupine.LinearizationInfo, lines []line) string {
	if result == porcupine.Unknown {
		return fmt.Sprintf("not judged within %v", judgedWithin)
	}
	longest := []porcupine.Operation{}
	for _, ops := range info.PartialLinearizationsOperations()[0] {
		if len(ops) > len(longest) {
			longest = ops
		}
	}
	explained := map[int64]bool{}
	for _, op := range longest {
		explained[op.Return] = true
	}
	for _, l := range lines {
		if l.Type == "ok" && !explained[l.ended()] {
			return fmt.Sprintf("%d operations fit, but then not line %d, %s by %s of %.300s",
				len(longest), l.number, l.F, l.Process, fmt.Sprint(l.Messages))
		}
	}
	return fmt.Sprintf("%d operations fit, but no send that was not answered does", len(longest))
}

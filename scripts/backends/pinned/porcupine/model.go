// The model: what one user says in one dialog, or all say in one group, is a row of messages.
//
// The message ids of a row, in ascending order, are its places. A send takes the next place. A
// device is shown the row from some place on, each message once and none left out. A read gives
// the whole row.
package main

import (
	"fmt"
	"log"
	"maps"
	"slices"

	"github.com/anishathalye/porcupine"
)

type state struct {
	length  int               // how many places are taken
	devices map[string]cursor // how far each device has been shown the row
}

type cursor struct {
	next    int
	settled bool // false: it may begin at any place up to `next`
}

type operation struct {
	what   string
	device string
	places []int // that it takes or shows; nowhere: of a message that was not sent like that
}

const nowhere = -1

func step(before, input, _ any) (bool, any) {
	now, op := before.(state), input.(operation)
	at := now.devices[op.device]
	switch op.what {
	case "send": // it takes the next place, and every answer to it names that one
		return allAre(now.length, op.places), state{now.length + 1, now.devices}
	case "join": // a new device: all that is accepted from now on is for it
		return true, now.with(op.device, cursor{now.length, false})
	case "deliver": // the device is shown the next message
		place := op.places[0]
		next := place == at.next || !at.settled && place < at.next
		return next && 0 <= place && place < now.length, now.with(op.device, cursor{place + 1, true})
	case "fetch": // the device reads the row to fill a gap, and goes on somewhere in it
		count := len(op.places)
		all := isStart(op.places) && at.next <= count && count <= now.length
		return all, now.with(op.device, cursor{count, false})
	case "read": // the history gives the row, with all that was acknowledged before
		return isStart(op.places) && len(op.places) == now.length, now
	case "rest": // the run has come to rest: the device has been shown all
		return at.next == now.length, now
	}
	log.Fatalf("no operation is called %q", op.what)
	return false, nil
}

func (s state) with(device string, at cursor) state {
	devices := map[string]cursor{}
	maps.Copy(devices, s.devices)
	devices[device] = at
	return state{s.length, devices}
}

func allAre(expected int, places []int) bool {
	return !slices.ContainsFunc(places, func(place int) bool { return place != expected })
}

func isStart(places []int) bool {
	for expected, place := range places {
		if place != expected {
			return false
		}
	}
	return true
}

var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: step,
	Equal: func(one, other any) bool {
		a, b := one.(state), other.(state)
		return a.length == b.length && maps.Equal(a.devices, b.devices)
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprint(input) },
	DescribeState:     func(s any) string { return fmt.Sprint(s) },
}


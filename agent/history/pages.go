package history

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// The page format of bbolt (version 2), as far as it must be looked at before
// bbolt may be let near the file: page ids that point outside the file, loops in
// the tree and element sizes beyond the page all end in a crash there that
// cannot be recovered from.
const (
	pageSize    = 4096
	pageHeader  = 16
	elementSize = 16
	bucketSize  = 16

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10
	flagBucket   = 0x01

	boltMagic     = 0xED0CDAED
	boltVersion   = 2
	metaChecked   = 56 // bytes of a meta that its checksum covers
	maxDepth      = 64
	inlineDepth   = -1     // an inline bucket is one leaf, without buckets of its own
	countOverflow = 0xFFFF // of a freelist: the count is the first element
)

// pages is a whole file, and which of its pages were seen in use.
type pages struct {
	data []byte
	high uint64 // pages in use end here
	seen []bool
	keys int64 // in leaves, those of buckets not counted
}

type meta struct{ root, freelist, high, txid uint64 }

// checkPages verifies the structure of a bbolt file: metas, tree, freelist, and
// that every page is in exactly one of the two. It returns the number of keys, or
// what is wrong first.
func checkPages(data []byte) (keys int64, err error) {
	m, err := readMetas(data)
	if err != nil {
		return 0, err
	}
	if m.high < 2 || m.high > uint64(len(data))/pageSize {
		return 0, fmt.Errorf("%d pages in use, %d in the file", m.high, len(data)/pageSize)
	}
	p := &pages{data: data, high: m.high, seen: make([]bool, m.high)}
	p.seen[0], p.seen[1] = true, true
	if err := p.tree(m.root, nil, nil, 0); err != nil {
		return 0, err
	}
	if err := p.freelist(m.freelist); err != nil {
		return 0, err
	}
	for id, seen := range p.seen {
		if !seen {
			return 0, fmt.Errorf("page %d is neither used nor free", id)
		}
	}
	return p.keys, nil
}

// readMetas returns the newer of the two metas. Both must be good: bbolt would
// silently go back to the older one, and lose what was recorded last. A write
// that is cut off cannot tear a meta, which lies within one disk sector.
func readMetas(data []byte) (meta, error) {
	if len(data) < 4*pageSize {
		return meta{}, fmt.Errorf("file of %d bytes is too short", len(data))
	}
	first, err := readMeta(data, 0)
	if err != nil {
		return meta{}, err
	}
	second, err := readMeta(data, 1)
	if err != nil {
		return meta{}, err
	}
	if second.txid > first.txid {
		first, second = second, first
	}
	if first.txid != second.txid+1 {
		return meta{}, fmt.Errorf("transactions %d and %d do not follow each other", second.txid, first.txid)
	}
	return first, nil
}

func readMeta(data []byte, id uint64) (meta, error) {
	page := data[id*pageSize : (id+1)*pageSize]
	body, word := page[pageHeader:], binary.NativeEndian
	sum := fnv.New64a()
	sum.Write(body[:metaChecked])
	switch {
	case word.Uint64(page) != id || word.Uint16(page[8:]) != flagMeta:
		return meta{}, fmt.Errorf("page %d is no meta page", id)
	case word.Uint32(body) != boltMagic || word.Uint32(body[4:]) != boltVersion:
		return meta{}, fmt.Errorf("meta %d is of no known format", id)
	case word.Uint64(body[metaChecked:]) != sum.Sum64():
		return meta{}, fmt.Errorf("meta %d has a wrong checksum", id)
	case word.Uint32(body[8:]) != pageSize:
		return meta{}, fmt.Errorf("meta %d has a page size of %d", id, word.Uint32(body[8:]))
	}
	return meta{root: word.Uint64(body[16:]), freelist: word.Uint64(body[32:]), high: word.Uint64(body[40:]), txid: word.Uint64(body[48:])}, nil
}

// take returns a page with its overflow and marks it as seen. A page seen
// twice is a loop, or shared.
func (p *pages) take(id uint64) ([]byte, error) {
	if id < 2 || id >= p.high {
		return nil, fmt.Errorf("page %d is out of bounds", id)
	}
	page := p.data[id*pageSize:]
	if stored := binary.NativeEndian.Uint64(page); stored != id {
		return nil, fmt.Errorf("page %d calls itself %d", id, stored)
	}
	end := id + uint64(binary.NativeEndian.Uint32(page[12:])) + 1
	if end > p.high {
		return nil, fmt.Errorf("page %d ends out of bounds", id)
	}
	for i := id; i < end; i++ {
		if p.seen[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		p.seen[i] = true
	}
	return page[:(end-id)*pageSize], nil
}

// tree checks a page and all below it. Keys must rise from low (inclusive) to
// below limit; nil is no bound.
func (p *pages) tree(id uint64, low, limit []byte, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("page %d is too deep", id)
	}
	page, err := p.take(id)
	if err != nil {
		return err
	}
	switch binary.NativeEndian.Uint16(page[8:]) {
	case flagBranch:
		return p.branch(page, low, limit, depth)
	case flagLeaf:
		return p.leaves(page, low, limit, depth)
	}
	return fmt.Errorf("page %d is neither branch nor leaf", id)
}

func (p *pages) branch(page, low, limit []byte, depth int) error {
	n, err := room(page)
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("empty branch")
	}
	e, err := branchElement(page, 0)
	if err != nil {
		return err
	}
	if low != nil && bytes.Compare(e.key, low) < 0 {
		return outOfOrder(e.key)
	}
	for i := range n {
		next := element{key: limit}
		if i+1 < n {
			if next, err = branchElement(page, i+1); err != nil {
				return err
			}
		}
		if next.key != nil && bytes.Compare(e.key, next.key) >= 0 {
			return outOfOrder(e.key)
		}
		if err := p.tree(e.child, e.key, next.key, depth+1); err != nil {
			return err
		}
		e = next
	}
	return nil
}

func (p *pages) leaves(page, low, limit []byte, depth int) error {
	n, err := room(page)
	if err != nil {
		return err
	}
	last := low
	for i := range n {
		e, err := leafElement(page, i)
		if err != nil {
			return err
		}
		if order := bytes.Compare(e.key, last); order < 0 || (order == 0 && i > 0) {
			return outOfOrder(e.key)
		}
		if err := p.value(e, depth); err != nil {
			return fmt.Errorf("key %x: %w", e.key, err)
		}
		last = e.key
	}
	if limit != nil && bytes.Compare(last, limit) >= 0 {
		return outOfOrder(last)
	}
	return nil
}

func outOfOrder(key []byte) error { return fmt.Errorf("key %x is out of order", key) }

// value counts a record, or goes into a bucket.
func (p *pages) value(e element, depth int) error {
	switch {
	case e.flags == 0:
		p.keys++
		return nil
	case e.flags != flagBucket:
		return fmt.Errorf("unknown flags %#x", e.flags)
	case depth == inlineDepth || len(e.value) < bucketSize:
		return fmt.Errorf("no place for a bucket of %d bytes", len(e.value))
	}
	if root := binary.NativeEndian.Uint64(e.value); root != 0 {
		return p.tree(root, nil, nil, depth+1)
	}
	inline := e.value[bucketSize:]
	if len(inline) < pageHeader || binary.NativeEndian.Uint16(inline[8:]) != flagLeaf {
		return errors.New("inline bucket is no leaf")
	}
	return p.leaves(inline, nil, nil, inlineDepth)
}

// freelist marks the free pages as seen.
func (p *pages) freelist(id uint64) error {
	page, err := p.take(id)
	if err != nil {
		return fmt.Errorf("freelist: %w", err)
	}
	if binary.NativeEndian.Uint16(page[8:]) != flagFreelist {
		return fmt.Errorf("page %d is no freelist", id)
	}
	count, ids := uint64(binary.NativeEndian.Uint16(page[10:])), page[pageHeader:]
	if count == countOverflow {
		count, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return fmt.Errorf("freelist of %d pages is too long", count)
	}
	for i := range count {
		free := binary.NativeEndian.Uint64(ids[i*8:])
		if free < 2 || free >= p.high || p.seen[free] {
			return fmt.Errorf("page %d cannot be free", free)
		}
		p.seen[free] = true
	}
	return nil
}

// element is one entry of a branch (child) or leaf (flags, value).
type element struct {
	key, value []byte
	child      uint64
	flags      uint32
}

// room returns the number of elements, for which the page must have room.
func room(page []byte) (int, error) {
	count := int(binary.NativeEndian.Uint16(page[10:]))
	if pageHeader+count*elementSize > len(page) {
		return 0, fmt.Errorf("page %d has no room for %d elements", binary.NativeEndian.Uint64(page), count)
	}
	return count, nil
}

func branchElement(page []byte, i int) (element, error) {
	at := page[pageHeader+i*elementSize:]
	pos, size := binary.NativeEndian.Uint32(at), binary.NativeEndian.Uint32(at[4:])
	key, _, err := cut(at, pos, size, 0)
	return element{key: key, child: binary.NativeEndian.Uint64(at[8:])}, err
}

func leafElement(page []byte, i int) (element, error) {
	at := page[pageHeader+i*elementSize:]
	pos, keySize, size := binary.NativeEndian.Uint32(at[4:]), binary.NativeEndian.Uint32(at[8:]), binary.NativeEndian.Uint32(at[12:])
	key, value, err := cut(at, pos, keySize, size)
	return element{key: key, value: value, flags: binary.NativeEndian.Uint32(at)}, err
}

// cut returns key and value of an element; their place counts from its head.
func cut(at []byte, pos, keySize, valueSize uint32) (key, value []byte, err error) {
	begin := uint64(pos)
	middle := begin + uint64(keySize)
	end := middle + uint64(valueSize)
	if keySize == 0 || end > uint64(len(at)) {
		return nil, nil, fmt.Errorf("element of %d + %d bytes does not fit", keySize, valueSize)
	}
	return at[begin:middle], at[middle:end], nil
}

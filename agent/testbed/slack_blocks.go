package testbed

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Slack's limits, in UTF-16 units where they are lengths, as its servers count.
const (
	slackBlocks      = 50
	slackHeader      = 150
	slackSection     = 3000
	slackFields      = 10
	slackField       = 2000
	slackElements    = 10
	slackBlockID     = 255
	slackText        = 40000
	slackEditedText  = 4000
	slackAllBlocks   = 13200 // of a whole message; from experience, not documented
	slackMetadataMax = 8000
)

// SlackBlock is a block of one of the kinds that the agent uses.
type SlackBlock struct {
	Type     string      `json:"type"`
	BlockID  string      `json:"block_id,omitempty"`
	Text     *SlackText  `json:"text,omitempty"`
	Fields   []SlackText `json:"fields,omitempty"`
	Elements []SlackText `json:"elements,omitempty"`
}

// SlackText is a text object.
type SlackText struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Emoji    *bool  `json:"emoji,omitempty"`
	Verbatim *bool  `json:"verbatim,omitempty"`
}

// slackFault is a refusal in Slack's own word, with what it says beside it.
type slackFault struct{ code, detail string }

func (f *slackFault) Error() string { return f.code + ": " + f.detail }

func invalidBlocks(format string, args ...any) *slackFault {
	return &slackFault{"invalid_blocks", fmt.Sprintf(format, args...)}
}

// parseBlocks checks what Slack would check. No blocks are fine.
func parseBlocks(raw []byte) ([]SlackBlock, *slackFault) {
	if len(raw) == 0 {
		return nil, nil
	}
	var blocks []SlackBlock
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&blocks); err != nil {
		return nil, &slackFault{"invalid_blocks_format", err.Error()}
	}
	if len(blocks) > slackBlocks {
		return nil, invalidBlocks("no more than %d items allowed [json-pointer:/blocks]", slackBlocks)
	}
	ids, total := map[string]bool{}, 0
	for i, block := range blocks {
		if fault := block.check(); fault != nil {
			fault.detail += fmt.Sprintf(" [json-pointer:/blocks/%d]", i)
			return nil, fault
		}
		if block.BlockID != "" && ids[block.BlockID] {
			return nil, invalidBlocks("block_id %q is used twice", block.BlockID)
		}
		ids[block.BlockID] = true
		total += block.length()
	}
	if total > slackAllBlocks {
		return nil, &slackFault{"msg_blocks_too_long", fmt.Sprintf("%d characters", total)}
	}
	return blocks, nil
}

func (b SlackBlock) check() *slackFault {
	if units(b.BlockID) > slackBlockID {
		return invalidBlocks("block_id must be no more than %d characters", slackBlockID)
	}
	switch b.Type {
	case "header":
		return b.checkHeader()
	case "section":
		return b.checkSection()
	case "context":
		return b.checkContext()
	case "divider":
		return nil
	}
	return invalidBlocks("unsupported type: %s", b.Type)
}

func (b SlackBlock) checkHeader() *slackFault {
	if b.Text == nil || b.Text.Type != "plain_text" {
		return invalidBlocks("a header needs a plain_text")
	}
	return b.Text.check(slackHeader)
}

func (b SlackBlock) checkSection() *slackFault {
	if b.Text == nil && len(b.Fields) == 0 {
		return invalidBlocks("a section needs text or fields")
	}
	if len(b.Fields) > slackFields {
		return invalidBlocks("no more than %d fields allowed", slackFields)
	}
	for _, field := range b.Fields {
		if fault := field.check(slackField); fault != nil {
			return fault
		}
	}
	if b.Text == nil {
		return nil
	}
	return b.Text.check(slackSection)
}

func (b SlackBlock) checkContext() *slackFault {
	if len(b.Elements) == 0 || len(b.Elements) > slackElements {
		return invalidBlocks("a context needs 1 to %d elements", slackElements)
	}
	for _, element := range b.Elements {
		if fault := element.check(slackSection); fault != nil {
			return fault
		}
	}
	return nil
}

func (t SlackText) check(limit int) *slackFault {
	switch {
	case t.Type != "plain_text" && t.Type != "mrkdwn":
		return invalidBlocks("unsupported text type: %s", t.Type)
	case strings.TrimSpace(t.Text) == "":
		return invalidBlocks("must be more than 0 characters")
	case !utf8.ValidString(t.Text):
		return invalidBlocks("must be UTF-8")
	case units(t.Text) > limit:
		return invalidBlocks("must be less than %d characters", limit+1)
	case t.Type == "mrkdwn" && t.Emoji != nil:
		return invalidBlocks("emoji is not allowed in mrkdwn")
	case t.Type == "plain_text" && t.Verbatim != nil:
		return invalidBlocks("verbatim is not allowed in plain_text")
	}
	return nil
}

func (b SlackBlock) length() int {
	n := 0
	if b.Text != nil {
		n += units(b.Text.Text)
	}
	for _, text := range append(b.Fields[:len(b.Fields):len(b.Fields)], b.Elements...) {
		n += units(text.Text)
	}
	return n
}

var slackEventType = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_.]{0,254}$`)

// parseMetadata checks the shape. No metadata is fine.
func parseMetadata(raw string) (*SlackMetadata, *slackFault) {
	if raw == "" {
		return nil, nil
	}
	if len(raw) > slackMetadataMax {
		return nil, &slackFault{"metadata_too_large", fmt.Sprintf("%d bytes", len(raw))}
	}
	var metadata SlackMetadata
	decoder := json.NewDecoder(strings.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&metadata); err != nil {
		return nil, &slackFault{"invalid_metadata_format", err.Error()}
	}
	if !slackEventType.MatchString(metadata.EventType) || metadata.EventPayload == nil {
		return nil, &slackFault{"invalid_metadata_schema", "event_type and event_payload are needed"}
	}
	return &metadata, nil
}

// checkText looks at the text beside the blocks.
func checkText(text string, blocks []SlackBlock, limit int) *slackFault {
	switch {
	case strings.TrimSpace(text) == "" && len(blocks) == 0:
		return &slackFault{"no_text", "neither text nor blocks"}
	case units(text) > limit:
		return &slackFault{"msg_too_long", fmt.Sprintf("%d characters", units(text))}
	case !utf8.ValidString(text):
		return &slackFault{"invalid_payload", "must be UTF-8"}
	}
	return nil
}

func units(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}
